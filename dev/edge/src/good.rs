//! Somebody who only wants to send: what becomes of them is what an attack is judged by.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use otlp_client::{Call, Client, Protocol};
use prost::Message;
use tokio::task::JoinSet;

use crate::rig::{GOOD, Server};

/// Between two requests, whether the one before was answered or not.
const EVERY: Duration = Duration::from_millis(20);

/// What an application of an SDK waits for, by default, before it takes an export for failed (OTLP exporter specification, `OTEL_EXPORTER_OTLP_TIMEOUT`).
const PATIENCE: Duration = Duration::from_secs(10);

/// How they fared.
#[derive(Debug, Default)]
pub(crate) struct Fared {
    pub(crate) requests: usize,
    /// Refused, or not answered in time.
    pub(crate) errors: usize,
    /// The first of them.
    pub(crate) error: Option<String>,
    times: Vec<Duration>,
}

impl Fared {
    /// So many percent were answered within this.
    pub(crate) fn milliseconds(&self, percent: usize) -> f64 {
        let place = (self.times.len() * percent / 100).min(self.times.len().saturating_sub(1));
        self.times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }
}

/// Sends fifty requests of ten log records a second for this long, over gRPC, and waits for their answers; on a thread of its own, so that it does not stand in line behind the
/// attackers before it comes to the server.
pub(crate) async fn send(server: &Server, time: Duration) -> Result<Fared> {
    let server = server.clone();
    let (done, fared) = tokio::sync::oneshot::channel();
    // Not one of the runtime's, which are the attackers'.
    std::thread::spawn(move || {
        let alone =
            || tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(fares(&server, time));
        // Who no longer waits needs no answer.
        drop(done.send(alone()));
    });
    fared.await?
}

async fn fares(server: &Server, time: Duration) -> Result<Fared> {
    let client = Arc::new(Client::new(&format!("http://{}", server.grpc), None, true)?);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    let record = LogRecord { time_unix_nano: u64::try_from(now)?, ..Default::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![record; 10], ..Default::default() }];
    let request = ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..Default::default() }] };
    let call = Call::export(Protocol::Grpc, "logs", GOOD, request.encode_to_vec());
    let (mut tasks, mut fared) = (JoinSet::new(), Fared::default());
    let ends = tokio::time::Instant::now() + time;
    let mut ticks = tokio::time::interval(EVERY);
    while tokio::time::Instant::now() < ends {
        ticks.tick().await;
        let (client, call) = (client.clone(), call.clone());
        tasks.spawn(async move {
            let began = Instant::now();
            let answer = tokio::time::timeout(PATIENCE, client.try_send(call)).await;
            let answer = answer.map_err(|_| "no answer in time".to_owned())?.map_err(|error| format!("{error:#}"))?;
            answer.refusal(Protocol::Grpc).map_or(Ok(began.elapsed()), Err)
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        fared.requests += 1;
        match outcome? {
            Ok(took) => fared.times.push(took),
            Err(error) => {
                fared.errors += 1;
                fared.error.get_or_insert(error);
            }
        }
    }
    fared.times.sort_unstable();
    Ok(fared)
}
