//! What people ask of a running process's spool: `GET /spool`, `GET /spool/N`, `POST /spool/N/retry`, `POST /spool/N/drop`.
//!
//! No body is read. Who may give orders is decided before, in [`right`](super::right); two orders about one batch never meet, nor does one meet the
//! batch's end: the second is told so.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;

use super::status::{Behind, Sources, json};
use crate::blocking;
use crate::spool::{AskError, Summary};

/// The routes.
pub(crate) fn router(behind: Behind) -> Router {
    Router::new()
        .route("/spool", get(list))
        .route("/spool/{sequence}", get(show))
        .route("/spool/{sequence}/retry", post(retry))
        .route("/spool/{sequence}/drop", post(discard))
        .with_state(behind)
}

/// What an order did.
#[derive(Debug, Serialize)]
struct Done {
    /// In words.
    done: String,
}

/// The batch's number in the path.
struct Batch(u64);

impl<S: Send + Sync> FromRequestParts<S> for Batch {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Batch, Response> {
        let number = Path::<u64>::from_request_parts(parts, state).await;
        number.map(|Path(number)| Batch(number)).map_err(|_| {
            let why = "a batch is named by its number, as `otelgate spool list` shows it: /spool/7\n";
            (StatusCode::BAD_REQUEST, why).into_response()
        })
    }
}

async fn list(State(behind): State<Behind>) -> Response {
    with_all(&behind, |all| json(StatusCode::OK, &all)).await
}

async fn show(State(behind): State<Behind>, Batch(sequence): Batch) -> Response {
    let one = |all: Vec<Summary>| match all.into_iter().find(|one| one.sequence == sequence) {
        Some(one) => json(StatusCode::OK, &one),
        None => no_such(sequence),
    };
    with_all(&behind, one).await
}

async fn retry(State(behind): State<Behind>, Batch(sequence): Batch) -> Response {
    order(behind, move |sources| {
        let order = sources.spool.order(sequence)?;
        if sources.deliveries.has(sequence) {
            return Err(AskError::Waits(sequence));
        }
        sources.deliveries.take(order.retry()?, None);
        tracing::info!(sequence, "a person has a batch delivered again");
        Ok(format!("batch {sequence} is being delivered again"))
    })
    .await
}

async fn discard(State(behind): State<Behind>, Batch(sequence): Batch) -> Response {
    order(behind, move |sources| {
        let order = sources.spool.order(sequence)?;
        // Without a spool somebody waits for the batch; its deadline is near.
        if sources.spool.is_durable() && sources.deliveries.has(sequence) {
            if !sources.deliveries.drop_batch(sequence) {
                return Err(AskError::Ends(sequence));
            }
            tracing::warn!(sequence, "a person drops a batch that waits");
            return Ok(format!("what is not stored of batch {sequence} is dropped"));
        }
        let rows = order.drop_quarantined()?.total_rows();
        tracing::warn!(sequence, rows, "a person drops a batch in quarantine");
        let word = if rows == 1 { "row" } else { "rows" };
        Ok(format!("batch {sequence} is dropped with {rows} {word}"))
    })
    .await
}

/// Carries an order out on a thread that may wait for the disk, to its end also when its sender goes away.
async fn order(
    behind: Behind,
    carry_out: impl FnOnce(&Sources) -> Result<String, AskError> + Send + 'static,
) -> Response {
    let done = blocking::run(move || behind.get().map(carry_out)).await;
    match done {
        Ok(Some(Ok(done))) => json(StatusCode::OK, &Done { done }),
        Ok(Some(Err(error))) => failed(&error),
        Ok(None) => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// What waits, in the order of its delivery, then what is in quarantine.
async fn with_all(behind: &Behind, answer: impl FnOnce(Vec<Summary>) -> Response) -> Response {
    let Some(sources) = behind.get() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response();
    };
    let mut all = sources.deliveries.batches();
    let spool = Arc::clone(&sources.spool);
    match blocking::run(move || spool.quarantined()).await {
        Ok(Ok(quarantined)) => {
            all.extend(quarantined);
            answer(all)
        }
        Ok(Err(error)) => failed(&AskError::Io(error)),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn no_such(sequence: u64) -> Response {
    (StatusCode::NOT_FOUND, format!("no batch {sequence} is in the spool\n")).into_response()
}

fn failed(error: &AskError) -> Response {
    let status = match error {
        AskError::NoSuchBatch(_) => StatusCode::NOT_FOUND,
        AskError::NothingToRetry(_) | AskError::Busy(_) | AskError::Waits(_) | AskError::Ends(_) => {
            StatusCode::CONFLICT
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, format!("{error}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_number_is_said_in_words() {
        let app = Router::new().route("/spool/{sequence}", get(async |Batch(number): Batch| number.to_string()));
        let asked = async |path: &str| {
            let request = axum::http::Request::get(path).body(axum::body::Body::empty()).expect("a request");
            let answer = tower::ServiceExt::oneshot(app.clone(), request).await.expect("answered");
            let status = answer.status();
            let body = axum::body::to_bytes(answer.into_body(), 1024).await.expect("read");
            (status, String::from_utf8_lossy(&body).into_owned())
        };
        assert_eq!(asked("/spool/7").await, (StatusCode::OK, "7".to_owned()));
        let (status, why) = asked("/spool/abc").await;
        assert!(status == StatusCode::BAD_REQUEST && why.contains("by its number"), "{status} {why}");
    }
}
