//! One accepted connection, in a task of its own from the handshake to its end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::activity::{STALLED, Times, Verdict};
use super::handshake::{Handshakes, handshake};
use super::protocol;
use super::registry::Place;
use super::stream::Watched;
use super::tls::Tls;
use crate::config;
use crate::limited;
use crate::metrics::{Metrics, Reason};

/// After GOAWAY, a connection with nothing in flight for this long is closed: time to write the last answer, and for the client to see it.
const QUIET_AFTER_BOW: Duration = Duration::from_secs(1);

/// How long bytes may be on their way to a client whose network is silent before the connection counts as broken: a network
/// that died without FIN or RST would look alive, and an answer that was written into it as arrived.
pub(crate) const UNACKNOWLEDGED: Duration = Duration::from_secs(4);

/// What every connection is served with.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) builders: protocol::Builders,
    pub(super) limits: config::Listen,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) handshakes: Handshakes,
    pub(super) metrics: Arc<Metrics>,
    /// Turns true when the process stops.
    pub(super) stopping: watch::Receiver<bool>,
    /// Turns true when it is drained.
    pub(super) draining: watch::Receiver<bool>,
    /// All looks at connections go by it.
    pub(super) began: Instant,
}

/// Serves the connection that holds `place` until it ends.
pub(super) async fn run<H, F, B>(shared: Arc<Shared>, place: Place, tcp: TcpStream, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Answers are small and written whole; waiting for company (Nagle) only delays them.
    let _ = tcp.set_nodelay(true);
    end_when_silent(&tcp);
    let connection = Arc::clone(&place.connection);
    let ended = tokio::select! {
        () = connection.eviction() => None,
        stream = handshake(&shared, tcp, &place) => stream,
    };
    let Some(stream) = ended else { return };
    connection.activity.http_begins();

    let service = service_fn(|request| {
        let (connection, handler, shared) = (Arc::clone(&connection), handler.clone(), Arc::clone(&shared));
        async move {
            let forwarders = shared.limits.forwarded.as_ref();
            Ok::<_, Infallible>(protocol::serve(connection, forwarders, request, handler).await)
        }
    });
    let builder = shared.builders.of(stream.alpn());
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&connection)));
    let mut serving = pin!(builder.serve_connection(io, service));
    let mut watch = Watch::new(&shared, &place);
    loop {
        tokio::select! {
            biased;
            // How it ended is the client's business: a broken connection is nothing to log.
            _ = serving.as_mut() => {
                if connection.was_calmed() {
                    watch.record("empty_frames");
                }
                return;
            }
            () = connection.eviction() => return,
            next = watch.next() => match next {
                Next::Bow => serving.as_mut().graceful_shutdown(),
                Next::Close => return,
                Next::Look => {}
            },
        }
    }
}

/// Makes [`UNACKNOWLEDGED`] true, where the system can.
#[cfg(target_os = "linux")]
fn end_when_silent(tcp: &TcpStream) {
    let milliseconds = u32::try_from(UNACKNOWLEDGED.as_millis()).unwrap_or(u32::MAX);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(tcp, milliseconds);
}

#[cfg(not(target_os = "linux"))]
fn end_when_silent(_: &TcpStream) {}

/// What the connection's task does next.
enum Next {
    Look,
    Bow,
    Close,
}

/// Says when the connection has to go.
struct Watch<'a> {
    shared: &'a Shared,
    place: &'a Place,
    times: Times,
    stopping: watch::Receiver<bool>,
    /// For a connection that was there before: one that comes later is to hear why its request is not taken.
    draining: Option<watch::Receiver<bool>>,
    look_at: Instant,
    /// Why it is to go, and when at the latest, while a header may be on its way.
    leaves: Option<(&'static str, Instant)>,
    /// Once GOAWAY was said: since when, and by when the connection is closed whatever is in flight.
    bowed: Option<(Instant, Option<Instant>)>,
}

impl<'a> Watch<'a> {
    fn new(shared: &'a Shared, place: &'a Place) -> Self {
        let limits = &shared.limits;
        let times = Times {
            header: limits.header_timeout,
            stalled: limits.header_timeout.saturating_mul(STALLED),
            idle: limits.idle_timeout,
            first_key: limits.first_key_timeout,
            // Clients that came together do not go together.
            age: jitter(limits.max_connection_age),
            age_grace: limits.connection_age_grace,
        };
        let draining = Some(shared.draining.clone()).filter(|draining| !*draining.borrow());
        let stopping = shared.stopping.clone();
        Watch { shared, place, times, stopping, draining, look_at: Instant::now(), leaves: None, bowed: None }
    }

    async fn next(&mut self) -> Next {
        if self.bowed.is_some() {
            tokio::time::sleep_until(self.look_at).await;
            return self.after_bow();
        }
        if let Some((reason, at)) = self.leaves {
            tokio::time::sleep_until(at).await;
            return self.bow(reason, None);
        }
        let drained = async {
            match &mut self.draining {
                Some(draining) => drop(draining.wait_for(|draining| *draining).await),
                None => std::future::pending().await,
            }
        };
        let ends = tokio::select! {
            () = tokio::time::sleep_until(self.look_at) => None,
            () = self.place.connection.dismissal() => match *self.shared.draining.borrow() {
                true => Some("draining"),
                false => Some("failures"),
            },
            () = drained => Some("draining"),
            // An error means that the listeners are gone, which is a stop too.
            _ = self.stopping.wait_for(|stopping| *stopping) => Some("stopping"),
        };
        match ends {
            Some(reason) => self.leave(reason),
            None => self.verdict(),
        }
    }

    /// hyper closes a connection at once of whose next header something is missing, also where nothing came since the handshake: the client, which may have
    /// sent it, would find no answer. So it is waited for, and its answer is the last one.
    fn leave(&mut self, reason: &'static str) -> Next {
        if !self.place.connection.activity.header_comes() {
            return self.bow(reason, None);
        }
        self.place.connection.answer_once_more();
        self.leaves = Some((reason, Instant::now() + QUIET_AFTER_BOW));
        Next::Look
    }

    fn verdict(&mut self) -> Next {
        let activity = &self.place.connection.activity;
        if self.place.connection.is_no_longer_good(SystemTime::now()) {
            return self.bow("key_ended", Instant::now().checked_add(QUIET_AFTER_BOW));
        }
        let now = Instant::now();
        match activity.verdict(&self.times, now, together(self.shared.began, now, self.times.look())) {
            Verdict::Wait(until) => {
                self.look_at = until;
                Next::Look
            }
            Verdict::Close(reason) => {
                self.record(reason);
                Next::Close
            }
            // Nothing is in flight that could say `Connection: close`, and a request may be on its way: the next answer says it.
            Verdict::Bow("age", _) if !activity.is_http2() && activity.quiet_since().is_some() => {
                self.record("age");
                self.times.age = Duration::MAX;
                self.place.connection.answer_once_more();
                Next::Look
            }
            Verdict::Bow(reason, grace) => self.bow(reason, Instant::now().checked_add(grace)),
        }
    }

    fn bow(&mut self, reason: &'static str, by: Option<Instant>) -> Next {
        self.record(reason);
        let now = Instant::now();
        self.bowed = Some((now, by));
        self.look_at = by.map_or(now + QUIET_AFTER_BOW, |by| by.min(now + QUIET_AFTER_BOW));
        Next::Bow
    }

    fn after_bow(&mut self) -> Next {
        let now = Instant::now();
        let Some((since, by)) = self.bowed else {
            return Next::Look;
        };
        let quiet = self.place.connection.activity.quiet_since();
        let quiet_until = quiet.map(|quiet| quiet.max(since) + QUIET_AFTER_BOW);
        if [quiet_until, by].into_iter().flatten().any(|due| due <= now) {
            return Next::Close;
        }
        let again = now + QUIET_AFTER_BOW / 4;
        self.look_at = by.map_or(again, |by| by.min(again));
        Next::Look
    }

    fn record(&self, reason: &'static str) {
        let closed = &self.shared.metrics.connections_closed;
        closed.get_or_create(&Reason { reason }).inc();
        if matches!(reason, "no_key" | "header" | "frame" | "stalled" | "empty_frames") {
            limited!(info, ip = %self.place.connection.ip(), reason, "connection closed");
        }
    }
}

/// When a connection is looked at again that nothing is due for: after `pause`, or up to half of it sooner, at one of the moments that all connections
/// share. So many that idle wake the process up no more often than a few.
fn together(began: Instant, now: Instant, pause: Duration) -> Instant {
    let latest = now.saturating_duration_since(began).saturating_add(pause);
    let step = (pause / 2).as_nanos().max(1);
    let past = u64::try_from(latest.as_nanos() % step).unwrap_or_default();
    now + pause.saturating_sub(Duration::from_nanos(past))
}

/// `age` ± 10 %.
fn jitter(age: Duration) -> Duration {
    let seconds = age.as_secs_f64() * rand::random_range(0.9..=1.1);
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn idle_connections_are_looked_at_together_and_none_late() {
        let (began, pause) = (Instant::now(), Duration::from_secs(5));
        let looks = (0..1000).map(|centiseconds| {
            let now = began + Duration::from_millis(10) * centiseconds;
            let look = together(began, now, pause);
            assert!(look <= now + pause && look > now + pause / 2, "{:?}", look - now);
            look
        });
        assert_eq!(looks.collect::<BTreeSet<_>>().len(), 4, "in ten seconds, of a thousand connections");
        for pause in [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(1 << 30)] {
            assert!(together(began, began, pause) <= began + pause);
        }
    }
}
