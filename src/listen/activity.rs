//! What a connection has been doing, and when it has to go: the pure half of the watch over it.
//!
//! hyper's own timer for a request's header also runs while an HTTP/1.1 connection idles, so that it cannot tell 10 s for a header from
//! 5 min of silence. Here both are told apart: a header begins with the first byte that comes while nothing is being served. An
//! HTTP/2 connection sends frames of its own (PING, SETTINGS) while it idles, so there only the first header has a time;
//! later ones are bounded by the idle time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::Version;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::frames::Came;
use super::peer::Connection;

/// An answer that cannot be written for so many times as a header may take ends its connection: the client no longer reads.
pub(super) const STALLED: u32 = 3;
/// For how long a connection without a valid key may finish what is in flight, once its time is over.
const NO_KEY_GRACE: Duration = Duration::from_secs(1);

/// How long one connection may take for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// For a request's header.
    pub(super) header: Duration,
    /// For an answer to be taken.
    pub(super) stalled: Duration,
    /// Without a request.
    pub(super) idle: Duration,
    /// For the first valid key, from accept on.
    pub(super) first_key: Duration,
    /// In all, jitter included.
    pub(super) age: Duration,
    /// For what is in flight when the age is reached.
    pub(super) age_grace: Duration,
}

impl Times {
    /// A header and a blocked write can begin at any moment, so the next look is never further away.
    pub(super) fn look(&self) -> Duration {
        self.header.min(self.stalled) / 2
    }
}

/// What is to be done with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing; look again at this time at the latest.
    Wait(Instant),
    /// Close it now.
    Close(&'static str),
    /// Say GOAWAY or `Connection: close`, and close it after what is in flight, or after this grace.
    Bow(&'static str, Duration),
}

/// What a connection has been doing. Times are milliseconds since it was accepted, plus one; 0 is never.
#[derive(Debug)]
pub(super) struct Activity {
    accepted: Instant,
    authenticated: AtomicBool,
    /// Whether requests come over HTTP/2, known since the first one.
    http2: AtomicBool,
    in_flight: AtomicUsize,
    header_since: AtomicU64,
    idle_since: AtomicU64,
    write_blocked_since: AtomicU64,
    /// Since when a frame has begun, or moved, that has not ended.
    frame_since: AtomicU64,
    /// Answers over HTTP/2 of which something waits for the client's window: since when, and which.
    waiting: Mutex<BTreeSet<(u64, u64)>>,
    last_answer: AtomicU64,
}

/// One answer over HTTP/2, from when its head is given to when all of it is taken.
#[derive(Debug)]
pub(super) struct Waiting {
    connection: Arc<Connection>,
    place: Option<(u64, u64)>,
}

impl Waiting {
    /// An answer that is about to be written.
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        let mut waiting = Waiting { connection, place: None };
        waiting.given();
        waiting
    }

    /// More of it was asked for: all that was given is taken.
    pub(super) fn taken(&mut self) {
        if let Some(place) = self.place.take() {
            self.connection.activity.waiting.lock().remove(&place);
        }
    }

    /// More of it was given.
    pub(super) fn given(&mut self) {
        self.taken();
        let activity = &self.connection.activity;
        let place = (activity.now(), activity.last_answer.fetch_add(1, Ordering::Relaxed));
        activity.waiting.lock().insert(place);
        self.place = Some(place);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.taken();
    }
}

impl Activity {
    /// A connection accepted now.
    pub(super) fn new() -> Self {
        Activity {
            accepted: Instant::now(),
            authenticated: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            header_since: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            write_blocked_since: AtomicU64::new(0),
            frame_since: AtomicU64::new(0),
            waiting: Mutex::default(),
            last_answer: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        let millis = self.accepted.elapsed().as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX - 1) + 1
    }

    fn since(&self, stamp: &AtomicU64) -> Option<Instant> {
        self.at(stamp.load(Ordering::Relaxed))
    }

    fn at(&self, stamp: u64) -> Option<Instant> {
        Some(self.accepted + Duration::from_millis(stamp.checked_sub(1)?))
    }

    /// How old the connection is.
    pub(super) fn age(&self) -> Duration {
        self.accepted.elapsed()
    }

    /// Bytes of HTTP/2 were read.
    pub(super) fn frames_came(&self, came: Came) {
        if !came.half {
            self.frame_since.store(0, Ordering::Relaxed);
        } else if came.moved || self.frame_since.load(Ordering::Relaxed) == 0 {
            self.frame_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// The handshake is over; the first header may come.
    pub(super) fn http_begins(&self) {
        self.header_since.store(self.now(), Ordering::Relaxed);
        self.idle_since.store(self.now(), Ordering::Relaxed);
    }

    /// Bytes were read; whether they begin a header of HTTP/1.1.
    pub(super) fn bytes_came(&self) -> bool {
        let header_begins = self.in_flight.load(Ordering::Relaxed) == 0
            && !self.http2.load(Ordering::Relaxed)
            && self.header_since.load(Ordering::Relaxed) == 0;
        if header_begins {
            self.header_since.store(self.now(), Ordering::Relaxed);
        }
        header_begins
    }

    /// Whether requests come over HTTP/2, as far as one came.
    pub(super) fn is_http2(&self) -> bool {
        self.http2.load(Ordering::Relaxed)
    }

    /// A request's header is complete.
    pub(super) fn request_begins(&self, version: Version) {
        self.http2.store(version == Version::HTTP_2, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.header_since.store(0, Ordering::Relaxed);
        self.idle_since.store(0, Ordering::Relaxed);
    }

    /// A request was answered, or nobody waits for its answer any more.
    pub(super) fn request_ends(&self) {
        if self.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.idle_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Whether the last write found no room in the socket.
    pub(super) fn write_blocked(&self, blocked: bool) {
        let before = self.write_blocked_since.load(Ordering::Relaxed);
        match (before, blocked) {
            (0, true) => self.write_blocked_since.store(self.now(), Ordering::Relaxed),
            (0, false) | (_, true) => {}
            (_, false) => self.write_blocked_since.store(0, Ordering::Relaxed),
        }
    }

    /// A valid key was shown; whether it is the first time.
    pub(super) fn authenticate(&self) -> bool {
        // The load comes first because it is all that happens for every request but the first.
        !self.authenticated.load(Ordering::Acquire) && !self.authenticated.swap(true, Ordering::AcqRel)
    }

    /// Whether a valid key was shown.
    pub(super) fn authenticated(&self) -> bool {
        self.authenticated.load(Ordering::Acquire)
    }

    /// For how long nothing has been in flight; `None` while something is.
    pub(super) fn quiet_since(&self) -> Option<Instant> {
        (self.in_flight.load(Ordering::Relaxed) == 0).then(|| self.since(&self.idle_since)).flatten()
    }

    /// Whether a header is waited for that has begun to come, or is the first one.
    pub(super) fn header_comes(&self) -> bool {
        self.header_since.load(Ordering::Relaxed) != 0
    }

    /// What is to be done now; when nothing is, it is looked at again when something is due, `latest` at the latest.
    pub(super) fn verdict(&self, times: &Times, now: Instant, latest: Instant) -> Verdict {
        let first_key = (!self.authenticated()).then_some(self.accepted);
        let waiting = self.waiting.lock().first().copied();
        let rules = [
            (self.since(&self.write_blocked_since), times.stalled, Verdict::Close("stalled")),
            (waiting.and_then(|(since, _)| self.at(since)), times.stalled, Verdict::Close("stalled")),
            (self.since(&self.frame_since), times.header, Verdict::Close("frame")),
            (self.since(&self.header_since), times.header, Verdict::Close("header")),
            (first_key, times.first_key, Verdict::Bow("no_key", NO_KEY_GRACE)),
            // A header of HTTP/1.1 that has begun to come is no silence.
            (self.quiet_since().filter(|_| !self.header_comes()), times.idle, Verdict::Bow("idle", times.age_grace)),
            (Some(self.accepted), times.age, Verdict::Bow("age", times.age_grace)),
        ];
        let mut next = latest;
        for (since, limit, verdict) in rules {
            let Some(due) = since.and_then(|since| since.checked_add(limit)) else {
                continue;
            };
            if due <= now {
                return verdict;
            }
            next = next.min(due);
        }
        Verdict::Wait(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TIMES: Times = Times {
        header: Duration::from_secs(10),
        stalled: Duration::from_secs(30),
        idle: Duration::from_secs(300),
        first_key: Duration::from_secs(10),
        age: Duration::from_secs(1800),
        age_grace: Duration::from_secs(60),
    };

    fn verdict(activity: &Activity) -> Verdict {
        activity.verdict(&TIMES, Instant::now(), Instant::now() + TIMES.look())
    }

    async fn pass(seconds: u32) {
        tokio::time::advance(SECOND * seconds).await;
    }

    fn waits(activity: &Activity) -> bool {
        matches!(verdict(activity), Verdict::Wait(_))
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_valid_key_it_ends_though_requests_come() {
        let activity = Activity::new();
        activity.http_begins();
        pass(9).await;
        activity.request_begins(Version::HTTP_2);
        activity.request_ends();
        assert!(waits(&activity));
        pass(1).await;
        assert_eq!(verdict(&activity), Verdict::Bow("no_key", NO_KEY_GRACE));
        assert!(activity.authenticate());
        assert!(!activity.authenticate());
        assert!(waits(&activity));
    }

    #[tokio::test(start_paused = true)]
    async fn over_http1_a_slow_header_is_not_an_idle_connection() {
        let activity = Activity::new();
        activity.http_begins();
        activity.authenticate();
        activity.request_begins(Version::HTTP_11);
        pass(60).await;
        activity.bytes_came();
        assert!(waits(&activity), "a body may take its time");
        activity.request_ends();
        pass(299).await;
        assert!(waits(&activity), "silence is not a header");
        pass(1).await;
        assert_eq!(verdict(&activity), Verdict::Bow("idle", TIMES.age_grace));
        assert!(activity.bytes_came());
        assert!(waits(&activity), "a header has begun");
        activity.request_begins(Version::HTTP_11);
        activity.request_ends();
        activity.bytes_came();
        pass(9).await;
        activity.bytes_came();
        assert!(waits(&activity));
        pass(1).await;
        assert_eq!(verdict(&activity), Verdict::Close("header"));
    }

    #[tokio::test(start_paused = true)]
    async fn over_http2_only_the_first_header_has_a_time() {
        let activity = Activity::new();
        activity.authenticate();
        activity.http_begins();
        pass(10).await;
        assert_eq!(verdict(&activity), Verdict::Close("header"));
        activity.request_begins(Version::HTTP_2);
        activity.request_ends();
        activity.bytes_came();
        pass(200).await;
        assert!(waits(&activity));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_and_one_that_is_old_go() {
        let activity = Activity::new();
        activity.http_begins();
        activity.authenticate();
        activity.request_begins(Version::HTTP_2);
        activity.write_blocked(true);
        pass(20).await;
        activity.write_blocked(true);
        assert!(waits(&activity));
        pass(10).await;
        assert_eq!(verdict(&activity), Verdict::Close("stalled"));
        activity.write_blocked(false);
        assert!(waits(&activity));
        pass(1770).await;
        assert_eq!(verdict(&activity), Verdict::Bow("age", TIMES.age_grace));
    }
}
