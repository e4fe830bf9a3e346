//! The clients: each sends one request after another, and each request again and again until it has an answer to it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use otlp_client::{Connection, Target};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::client::{Said, send};
use crate::requests::{Request, Requests};

/// Between two attempts to connect, and before a request goes again whose connection broke.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two requests of a client.
const REST: Duration = Duration::from_millis(15);

/// What became of a request, as its client knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was accepted: each of its records must be found once.
    Accepted,
    /// It was only ever refused, in a whole answer each time: none of its records may be found.
    Refused,
    /// It was refused after an attempt whose answer never came: all of its records may be found once, or none.
    Unknown,
}

/// What all clients were told.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Each request with its fate, without its body.
    pub requests: Vec<(Request, Fate)>,
    /// Answers that no client should ever get.
    pub wrong: Vec<String>,
    /// How often a request went again because no answer came.
    pub repeats: usize,
    /// How often a request was refused with advice to come again.
    pub refusals: usize,
}

/// The clients, running.
pub struct Crowd {
    shared: Arc<Shared>,
    clients: Vec<Arc<Handle>>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ledger: Mutex<Ledger>,
    in_flight: AtomicUsize,
    stop: AtomicBool,
}

/// What a fault does to one client.
#[derive(Default)]
struct Handle {
    sending: AtomicBool,
    cut: Notify,
    forget: AtomicBool,
    forgot: Notify,
}

/// One client.
pub struct Member {
    /// Where it sends.
    pub target: Target,
    /// What it sends.
    pub requests: Requests,
    /// It gives a request up when it is refused, whatever the advice.
    pub impatient: bool,
}

impl Crowd {
    /// Lets the members loose.
    pub fn start(members: Vec<Member>) -> Crowd {
        let shared = Arc::new(Shared::default());
        let clients: Vec<Arc<Handle>> = members.iter().map(|_| Arc::default()).collect();
        let tasks = members.into_iter().zip(&clients).map(|(member, handle)| {
            let client = Client { member, handle: handle.clone(), shared: shared.clone(), connection: None };
            tokio::spawn(client.run())
        });
        let tasks = tasks.collect();
        Crowd { shared, clients, tasks }
    }

    /// Requests that were sent and not answered.
    pub fn requests_in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// Cuts a client's connection before its answer; it is one that waits for an answer, if there is one.
    pub fn cut(&self, choice: usize) {
        let count = self.clients.len();
        let mut turn = (0..count).map(|offset| &self.clients[(choice + offset) % count]);
        if let Some(client) = turn.find(|client| client.sending.load(Ordering::Relaxed)) {
            client.cut.notify_one();
        }
    }

    /// Lets a client's next answer be lost on its last metre: the connection breaks when the answer has arrived, and the client
    /// has not seen it. Returns when that happened.
    pub async fn forget(&self, choice: usize) {
        let client = &self.clients[choice % self.clients.len()];
        client.forget.store(true, Ordering::Relaxed);
        client.forgot.notified().await;
    }

    /// How many records were accepted so far.
    pub fn accepted(&self) -> u64 {
        let ledger = self.shared.ledger();
        let accepted = ledger.requests.iter().filter(|(_, fate)| *fate == Fate::Accepted);
        accepted.map(|(request, _)| request.rows.values().sum::<u64>()).sum()
    }

    /// Lets every client bring its request to an end, and no further.
    ///
    /// # Errors
    /// A client does not come to an end, or panicked.
    pub async fn stop(self, patience: Duration) -> anyhow::Result<Ledger> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            tokio::time::timeout(patience, task)
                .await
                .map_err(|_| anyhow::anyhow!("a client got no final answer within {patience:?}"))??;
        }
        Ok(std::mem::take(&mut self.shared.ledger()))
    }
}

impl Shared {
    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Client {
    member: Member,
    handle: Arc<Handle>,
    shared: Arc<Shared>,
    connection: Option<Connection>,
}

impl Client {
    async fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let mut request = self.member.requests.make();
            let fate = self.bring(&request).await;
            request.body.clear();
            self.shared.ledger().requests.push((request, fate));
            tokio::time::sleep(REST).await;
        }
    }

    async fn bring(&mut self, request: &Request) -> Fate {
        let mut unanswered = false;
        loop {
            match self.attempt(request).await {
                Some(Said::Accepted) => return Fate::Accepted,
                Some(Said::Later(advice)) => {
                    self.shared.ledger().refusals += 1;
                    if self.member.impatient {
                        tokio::time::sleep(PAUSE).await;
                        return if unanswered { Fate::Unknown } else { Fate::Refused };
                    }
                    tokio::time::sleep(advice).await;
                }
                Some(Said::Never(why)) => {
                    self.shared.ledger().wrong.push(format!("{}: {why}", request.service));
                    return if unanswered { Fate::Unknown } else { Fate::Refused };
                }
                None => {
                    unanswered = true;
                    self.shared.ledger().repeats += 1;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// One attempt; no answer when the connection broke, by itself or by a fault.
    async fn attempt(&mut self, request: &Request) -> Option<Said> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await,
        };
        let answer = {
            let _in_flight = InFlight::new(&self.shared, &self.handle);
            tokio::select! {
                answer = send(&mut connection, &self.member.target, request) => answer.ok()?,
                () = self.handle.cut.notified() => return None,
            }
        };
        if self.handle.forget.swap(false, Ordering::Relaxed) {
            self.handle.forgot.notify_one();
            return None;
        }
        self.connection = Some(connection);
        Some(answer)
    }

    async fn connect(&self) -> Connection {
        loop {
            let attempt = tokio::time::timeout(Duration::from_secs(5), self.member.target.connect());
            if let Ok(Ok(connection)) = attempt.await {
                return connection;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Counts a request while it waits for its answer.
struct InFlight<'a>(&'a Shared, &'a Handle);

impl<'a> InFlight<'a> {
    fn new(shared: &'a Shared, handle: &'a Handle) -> Self {
        shared.in_flight.fetch_add(1, Ordering::Relaxed);
        handle.sending.store(true, Ordering::Relaxed);
        InFlight(shared, handle)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.1.sending.store(false, Ordering::Relaxed);
    }
}
