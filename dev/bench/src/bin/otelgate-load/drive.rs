//! Sends the bodies, at a rate or as fast as the answers come, and counts what comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use otlp_client::{Connection, Signal, Target};
use tokio::task::JoinSet;

use crate::Args;
use crate::bodies::Bodies;

/// What a run did.
pub(crate) struct Outcome {
    /// From the first request that was due to the last answer.
    pub(crate) elapsed: Duration,
    pub(crate) requests: u64,
    /// Records of accepted requests, less those that `partial_success` rejects.
    pub(crate) records: u64,
    /// Uncompressed bytes of accepted requests.
    pub(crate) bytes: u64,
    pub(crate) rejected: u64,
    /// Refused or failed requests by status.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Latency of accepted requests, in microseconds.
    pub(crate) latency: Histogram<u64>,
}

/// What the workers share.
struct Clock {
    start: Instant,
    duration: Duration,
    /// Time between requests when there is a rate.
    interval: Option<Duration>,
    next: AtomicU64,
    accepted: AtomicU64,
}

impl Clock {
    /// The number of the next request and the moment at which it is due; none when the time is over.
    async fn next_due(&self) -> Option<(u64, Instant)> {
        let number = self.next.fetch_add(1, Relaxed);
        let due = match self.interval {
            Some(interval) => self.start + interval.mul_f64(number as f64),
            None => Instant::now(),
        };
        if due >= self.start + self.duration {
            return None;
        }
        tokio::time::sleep_until(due.into()).await;
        Some((number, due))
    }
}

/// Runs the load.
pub(crate) async fn run(args: &Args, target: &Arc<Target>, bodies: &Arc<Bodies>) -> Result<Outcome> {
    let connections = open(args, target).await?;
    let interval = args.rate.map(|rate| Duration::from_secs_f64(args.records as f64 / rate));
    let clock = Arc::new(Clock {
        start: Instant::now(),
        duration: args.duration,
        interval,
        next: AtomicU64::new(0),
        accepted: AtomicU64::new(0),
    });
    let mut workers = JoinSet::new();
    for connection in connections {
        workers.spawn(work(connection, target.clone(), args.signal, bodies.clone(), clock.clone(), args.timeout));
    }
    let progress = tokio::spawn(progress(clock.clone()));
    let mut outcome = Outcome::new()?;
    // Open until the last answer: a connection that closes early may have lost its answers, and a gateway that recognises repeats
    // would take the same body on another connection for one.
    let mut open = Vec::new();
    while let Some(worker) = workers.join_next().await {
        let (done, connection) = worker??;
        outcome.add(done)?;
        open.push(connection);
    }
    progress.abort();
    eprintln!();
    outcome.elapsed = clock.start.elapsed();
    Ok(outcome)
}

async fn open(args: &Args, target: &Target) -> Result<Vec<Connection>> {
    let mut connections = Vec::new();
    for _ in 0..args.connections {
        let first = target.connect().await?;
        for _ in 1..args.in_flight {
            connections.push(match first.share() {
                Some(connection) => connection,
                None => target.connect().await?,
            });
        }
        connections.push(first);
    }
    Ok(connections)
}

async fn work(
    mut connection: Connection,
    target: Arc<Target>,
    signal: Signal,
    bodies: Arc<Bodies>,
    clock: Arc<Clock>,
    timeout: Duration,
) -> Result<(Outcome, Connection)> {
    let mut outcome = Outcome::new()?;
    while let Some((number, due)) = clock.next_due().await {
        let body = bodies.get(number);
        outcome.requests += 1;
        match tokio::time::timeout(timeout, connection.send(&target, signal, body.fresh()?)).await {
            Ok(Ok(answer)) => match answer.refusal(target.protocol()) {
                None => {
                    let rejected = answer.rejected(target.protocol()).unwrap_or(0);
                    outcome.records += body.records.saturating_sub(rejected);
                    outcome.rejected += rejected;
                    outcome.bytes += body.uncompressed;
                    outcome.latency.saturating_record(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX));
                    clock.accepted.fetch_add(body.records, Relaxed);
                }
                Some(status) => outcome.refuse(status),
            },
            Ok(Err(error)) => {
                outcome.refuse(format!("connection: {error}"));
                reconnect(&mut connection, &target, &clock).await;
            }
            Err(_) => outcome.refuse("timed out".to_owned()),
        }
    }
    Ok((outcome, connection))
}

/// Opens the connection anew, trying until the time is over.
async fn reconnect(connection: &mut Connection, target: &Target, clock: &Clock) {
    while clock.start.elapsed() < clock.duration {
        match target.connect().await {
            Ok(new) => {
                *connection = new;
                return;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn progress(clock: Arc<Clock>) {
    let mut last = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let accepted = clock.accepted.load(Relaxed);
        let seconds = clock.start.elapsed().as_secs();
        eprint!(
            "\r{seconds} of {} s, {accepted} records accepted, {} a second   ",
            clock.duration.as_secs(),
            accepted - last
        );
        last = accepted;
    }
}

impl Outcome {
    fn new() -> Result<Outcome> {
        Ok(Outcome {
            elapsed: Duration::ZERO,
            requests: 0,
            records: 0,
            bytes: 0,
            rejected: 0,
            refused: BTreeMap::new(),
            latency: Histogram::new_with_bounds(1, 3_600_000_000, 3)?,
        })
    }

    fn refuse(&mut self, status: String) {
        *self.refused.entry(status).or_default() += 1;
    }

    fn add(&mut self, other: Outcome) -> Result<()> {
        self.requests += other.requests;
        self.records += other.records;
        self.bytes += other.bytes;
        self.rejected += other.rejected;
        for (status, count) in other.refused {
            *self.refused.entry(status).or_default() += count;
        }
        self.latency.add(&other.latency)?;
        Ok(())
    }
}
