//! `POST /drain`: the order to take no request any more, to deliver everything, and to end. `GET /drain`: how far it is.
//!
//! The order may be given again, which changes nothing; so who waits for the end asks by giving it. The process stays a moment after its end to
//! say that it came.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::sync::watch;

use super::status::{Behind, SinkStatus, Sources, json};
use crate::blocking;

/// How long the end waits for who wants to hear of it.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long its answer may take to be written.
const WRITTEN: Duration = Duration::from_millis(200);
/// How often what is left is looked at.
const EVERY: Duration = Duration::from_millis(200);

/// How far the drain is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// Nobody ordered it.
    #[default]
    Serving,
    /// Readiness is off; balancers have time to see it, and requests are still taken.
    Leaving,
    /// No request is taken, and what is there is delivered.
    Delivering,
    /// Everything is delivered, and the process ends.
    Delivered,
    /// The end was told to who asked.
    #[serde(rename = "delivered")]
    Told,
}

/// The order, and how far it is carried out; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drain(watch::Sender<Stage>);

impl Drain {
    /// Sets the stage, unless a later one is reached.
    pub(crate) fn reach(&self, stage: Stage) {
        self.0.send_if_modified(|now| {
            let later = stage > *now;
            if later {
                *now = stage;
            }
            later
        });
    }

    /// Waits for the order.
    pub(crate) async fn ordered(&self) {
        // It is there for as long as this is.
        let _ = self.0.subscribe().wait_for(|stage| *stage >= Stage::Leaving).await;
    }

    /// Whether it was ordered.
    pub(crate) fn is_ordered(&self) -> bool {
        *self.0.borrow() >= Stage::Leaving
    }

    /// Waits a moment for somebody to ask, who is told that everything is delivered.
    pub(crate) async fn told(&self) {
        self.reach(Stage::Delivered);
        let mut stage = self.0.subscribe();
        if tokio::time::timeout(LAST_WORDS, stage.wait_for(|stage| *stage == Stage::Told)).await.is_ok() {
            tokio::time::sleep(WRITTEN).await;
        }
    }
}

/// How it stands.
#[derive(Debug, Serialize)]
struct Progress {
    stage: Stage,
    /// Rows that are on their way to the sink.
    waiting: u64,
    /// Rows that wait for a person to mend something.
    held: u64,
    /// Rows in quarantine: they stay in the spool's folder.
    quarantined: u64,
    /// Why rows are held, a line a table.
    why: Vec<String>,
    /// How the sink does.
    sink: SinkStatus,
}

impl Sources {
    /// Returns when everything that was accepted is delivered, or in quarantine.
    pub(crate) async fn delivered(&self) {
        while !self.spool.waiting().is_empty() || self.deliveries.oldest_ms().is_some() {
            tokio::time::sleep(EVERY).await;
        }
    }

    fn progress(&self, stage: Stage) -> Progress {
        let status = self.status();
        let held = status.tables.iter().filter(|(_, table)| table.parts_held > 0);
        let why = held.map(|(name, table)| format!("{name}: {}", table.last_error.as_deref().unwrap_or("held")));
        let rows = &status.rows;
        Progress {
            stage,
            waiting: rows.waiting,
            held: rows.held,
            quarantined: rows.quarantined,
            why: why.collect(),
            sink: status.sink,
        }
    }
}

/// The routes.
pub(super) fn router(behind: Behind, drain: Drain) -> Router {
    Router::new().route("/drain", get(answer).post(answer)).with_state((behind, drain))
}

async fn answer(State((behind, drain)): State<(Behind, Drain)>, method: Method) -> Response {
    if behind.get().is_none() {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response();
    }
    if method == Method::POST && !drain.is_ordered() {
        tracing::info!("a person has this process drained");
        drain.reach(Stage::Leaving);
    }
    let stage = *drain.0.borrow();
    let progress = blocking::run(move || behind.get().map(|sources| sources.progress(stage))).await;
    if stage == Stage::Delivered {
        drain.reach(Stage::Told);
    }
    match progress {
        Ok(Some(progress)) => json(StatusCode::OK, &progress),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
