//! Several addresses: which one is used now, and which one took an insert whose outcome is unknown.
//!
//! One server is used until it fails; then the next. An insert that it holds for a person is tried on the others first, and the first that
//! takes it is used from then on. An insert whose outcome is unknown stays with the server that may have it, because
//! only there can it be looked for, unless the servers are replicas that share their tokens.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Uri;
use parking_lot::Mutex;
use tokio::time::Instant;

/// What nobody asked about for so long was given up; an attempt that old is over everywhere.
const FORGOTTEN: Duration = Duration::from_secs(60 * 60);

/// The addresses.
#[derive(Debug)]
pub(super) struct Servers {
    all: Vec<Uri>,
    current: AtomicUsize,
    doubts: Mutex<HashMap<String, Doubt>>,
    /// Those that did not answer when they were last spoken to.
    away: Mutex<BTreeSet<usize>>,
    since: Instant,
}

/// The last attempt of an insert whose outcome is unknown.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    server: usize,
    at: Instant,
    /// The server said that it is over.
    over: bool,
}

/// What is known about the attempts under a token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempts {
    /// None that may be running is younger than this.
    pub(super) last: Instant,
    /// None of them is running.
    pub(super) over: bool,
}

impl Servers {
    pub(super) fn new(all: Vec<Uri>) -> Servers {
        Servers {
            all,
            current: AtomicUsize::new(0),
            doubts: Mutex::default(),
            away: Mutex::default(),
            since: Instant::now(),
        }
    }

    /// The address with this number; numbers come from this type only.
    pub(super) fn uri(&self, server: usize) -> &Uri {
        &self.all[server % self.all.len()]
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The server that is used now.
    pub(super) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// The servers that an insert may go to, the next one after one that holds it: only where the token may be already, unless the table
    /// is replicated; otherwise all, the current one first.
    pub(super) fn for_insert(&self, token: &str, replicated: bool) -> Vec<usize> {
        match self.doubt(token) {
            Some(doubt) if !replicated => vec![doubt.server],
            _ => self.all_from_current(),
        }
    }

    /// All servers, the current one first.
    pub(super) fn all_from_current(&self) -> Vec<usize> {
        let current = self.current();
        (current..current + self.all.len()).map(|server| server % self.all.len()).collect()
    }

    /// A server took what the current one did not: it is used from now on. False when it is used already.
    pub(super) fn prefer(&self, server: usize) -> bool {
        self.current.swap(server, Ordering::Relaxed) != server
    }

    /// A server did not answer.
    pub(super) fn is_away(&self, server: usize) {
        self.away.lock().insert(server);
    }

    /// A server answered. True when it did not before.
    pub(super) fn is_back(&self, server: usize) -> bool {
        self.away.lock().remove(&server)
    }

    /// Those that did not answer when they were last spoken to.
    pub(super) fn away(&self) -> Vec<usize> {
        self.away.lock().iter().copied().collect()
    }

    /// A server failed: the next one is used, unless somebody has moved on already.
    pub(super) fn failed(&self, server: usize) -> bool {
        let next = (server + 1) % self.all.len();
        next != server && self.current.compare_exchange(server, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// An attempt under this token ended without an answer.
    pub(super) fn doubted(&self, token: &str, server: usize) {
        self.doubt_again(token, Doubt { server, at: Instant::now(), over: false });
    }

    /// An attempt under this token ended with an answer that says nothing about its rows.
    pub(super) fn answered(&self, token: &str, server: usize) {
        let over = self.doubt(token).is_none_or(|before| before.over);
        self.doubt_again(token, Doubt { server, at: Instant::now(), over });
    }

    fn doubt_again(&self, token: &str, doubt: Doubt) {
        let mut doubts = self.doubts.lock();
        doubts.retain(|_, doubt| doubt.at.elapsed() < FORGOTTEN);
        doubts.insert(token.to_owned(), doubt);
    }

    /// What became of the token is known, or it is not used any more.
    pub(super) fn settled(&self, token: &str) {
        self.doubts.lock().remove(token);
    }

    /// The last attempt under this token, if this process made it.
    fn doubt(&self, token: &str) -> Option<Doubt> {
        self.doubts.lock().get(token).copied()
    }

    /// What is known about the attempts under this token. Those of an earlier process are older than this one.
    pub(super) fn last_attempt(&self, token: &str) -> Attempts {
        let doubt = self.doubt(token);
        doubt.map_or(Attempts { last: self.since, over: false }, |doubt| Attempts { last: doubt.at, over: doubt.over })
    }

    /// Where a token's rows may lie: the server that took the last attempt, or, when an earlier process made it, any.
    pub(super) fn suspects(&self, token: &str) -> Vec<usize> {
        match self.doubt(token) {
            Some(doubt) => vec![doubt.server],
            None => (0..self.all.len()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Servers {
        let uri = |host: &str| format!("http://{host}:8123").parse().unwrap();
        Servers::new(["a", "b", "c"].map(uri).to_vec())
    }

    #[tokio::test]
    async fn a_server_is_used_until_it_fails() {
        let servers = three();
        assert_eq!(servers.for_insert("t", false), [0, 1, 2]);
        assert!(servers.failed(0));
        assert!(!servers.failed(0), "two inserts that fail together move on once");
        assert_eq!(servers.current(), 1);
        servers.failed(1);
        servers.failed(2);
        assert_eq!(servers.current(), 0);
        assert!(servers.prefer(2) && !servers.prefer(2));
        assert_eq!(servers.for_insert("t", false), [2, 0, 1]);
    }

    #[tokio::test]
    async fn a_server_comes_back_once() {
        let servers = three();
        servers.is_away(1);
        servers.is_away(1);
        assert_eq!(servers.away(), [1]);
        assert!(servers.is_back(1) && !servers.is_back(1));
    }

    #[tokio::test]
    async fn doubt_stays_with_the_server_that_may_have_it() {
        let servers = three();
        servers.doubted("t", 0);
        servers.failed(0);
        assert_eq!(servers.for_insert("t", false), [0]);
        assert_eq!(servers.for_insert("t", true), [1, 2, 0]);
        assert_eq!(servers.suspects("t"), [0]);
        servers.answered("t", 0);
        assert!(!servers.last_attempt("t").over, "the one before may still run");
        servers.answered("answered", 1);
        assert!(servers.last_attempt("answered").over && servers.suspects("answered") == [1]);
        assert_eq!(servers.suspects("from an earlier process"), [0, 1, 2]);
        servers.settled("t");
        assert_eq!(servers.for_insert("t", false), [1, 2, 0]);
    }
}
