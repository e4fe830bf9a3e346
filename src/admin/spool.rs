//! What people ask of a running process's spool: `GET /spool`, `GET /spool/N`, `POST /spool/N/retry`, `POST /spool/N/drop`.
//!
//! No body is read and no key is asked for: who reaches the admin listener may do this, which is why it is on loopback by default. A web
//! page must not be able to: a POST with an `Origin` is refused.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;

use super::status::{Behind, Sources};
use crate::blocking;
use crate::spool::{AskError, Summary};

/// The routes.
pub fn router(behind: Behind) -> Router {
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

async fn list(State(behind): State<Behind>) -> Response {
    with_all(&behind, |all| json(StatusCode::OK, &all)).await
}

async fn show(State(behind): State<Behind>, Path(sequence): Path<u64>) -> Response {
    let one = |all: Vec<Summary>| match all.into_iter().find(|one| one.sequence == sequence) {
        Some(one) => json(StatusCode::OK, &one),
        None => no_such(sequence),
    };
    with_all(&behind, one).await
}

async fn retry(State(behind): State<Behind>, Path(sequence): Path<u64>, headers: HeaderMap) -> Response {
    let Some(sources) = allowed(&behind, &headers) else {
        return forbidden();
    };
    let spool = sources.spool.clone();
    match blocking::run(move || spool.retry(sequence)).await {
        Ok(Ok(batch)) => {
            sources.deliveries.take(batch, None);
            json(StatusCode::OK, &Done { done: format!("batch {sequence} is being delivered again") })
        }
        Ok(Err(error)) => failed(&error),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn discard(State(behind): State<Behind>, Path(sequence): Path<u64>, headers: HeaderMap) -> Response {
    let Some(sources) = allowed(&behind, &headers) else {
        return forbidden();
    };
    // Without a spool somebody waits for the batch; its deadline is near.
    if sources.spool.is_durable() && sources.deliveries.drop_batch(sequence) {
        tracing::warn!(sequence, "a person drops a batch that waits");
        return json(StatusCode::OK, &Done { done: format!("what is not stored of batch {sequence} is dropped") });
    }
    let spool = sources.spool.clone();
    match blocking::run(move || spool.drop_quarantined(sequence)).await {
        Ok(Ok(dropped)) => {
            let rows = dropped.total_rows();
            tracing::warn!(sequence, rows, "a person drops a batch in quarantine");
            json(StatusCode::OK, &Done { done: format!("batch {sequence} is dropped with {rows} rows") })
        }
        Ok(Err(error)) => failed(&error),
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

fn allowed<'a>(behind: &'a Behind, headers: &HeaderMap) -> Option<&'a Sources> {
    let from_a_page = headers.contains_key(header::ORIGIN);
    behind.get().filter(|_| !from_a_page)
}

fn forbidden() -> Response {
    (StatusCode::FORBIDDEN, "not while starting, and not from a web page\n").into_response()
}

fn no_such(sequence: u64) -> Response {
    (StatusCode::NOT_FOUND, format!("no batch {sequence} is in the spool\n")).into_response()
}

fn failed(error: &AskError) -> Response {
    let status = match error {
        AskError::NoSuchBatch(_) => StatusCode::NOT_FOUND,
        AskError::NothingToRetry(_) => StatusCode::CONFLICT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, format!("{error}\n")).into_response()
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_value(body) {
        Ok(value) => (status, Json(value)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
