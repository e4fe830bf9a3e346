//! The request's path on one page, top to bottom. A newcomer reads this first.
//!
//! Each step takes what the step before it hands on, so a request that skipped a step does not compile. Every refusal, wherever it
//! comes from, leaves through [`Gateway::rescue`]: one place counts it, logs it and answers it.
//!
//! When the client goes away, the future of its request is dropped where it stands: before [`Lanes::keep`] nothing of it remains (an
//! uncommitted chunk rolls back, memory is given back); after, what was committed stays and is delivered, answered or not.

mod cors;
mod deadline;
mod door;
mod form;
mod greeting;
#[cfg(test)]
mod grpc_tests;
mod health;
mod measured;
mod own;
mod reflection;
mod request_id;
#[cfg(test)]
mod tests;
mod unread;
#[cfg(test)]
mod wire_tests;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;

use crate::admit::{Admission, Admitted, KeyInUse};
use crate::batch::{Coming, Kept, Lanes, Recognised};
use crate::config::{AllowedOrigins, RequestLimits};
use crate::keys::Key;
use crate::limited;
use crate::listen::{Answer, Peer};
use crate::metrics::{Metrics, OfKeyName, OfRefusal, Reason};
use crate::notes::Notes;
use crate::otlp::{self, BodyLimits, Call, Received};
use crate::readiness::Readiness;
use crate::reply::{self, Away, PartialSuccess, Refusal, ReplyBody};
use crate::signal::{Protocol, Signal};

use deadline::Deadline;
use door::Door;
use health::Health;
use measured::{InFlight, Measured, Outcome};
use reflection::Reflection;
use request_id::{RequestId, TraceParent};

/// All that a request meets on its way.
pub(crate) struct Gateway {
    admission: Admission,
    lanes: Arc<Lanes>,
    limits: RequestLimits,
    allowed_origins: ArcSwap<AllowedOrigins>,
    health: Health,
    reflection: Option<Reflection>,
    door: Door,
    measured: Measured,
    metrics: Arc<Metrics>,
    notes: Arc<Notes>,
}

/// What is known of a request so far, for the log and the metrics of its answer.
struct Seen {
    id: RequestId,
    /// The trace that it is part of.
    parent: Option<TraceParent>,
    call: Option<Call>,
    key: Option<KeyInUse>,
    /// Its uncompressed bytes and its records, once it is kept.
    size: (u64, u64),
}

impl Gateway {
    /// The page, put together.
    pub(crate) fn new(
        admission: Admission,
        lanes: Arc<Lanes>,
        limits: RequestLimits,
        allowed_origins: AllowedOrigins,
        (metrics, notes): (Arc<Metrics>, Arc<Notes>),
    ) -> Self {
        let health = Health::new(&services(&lanes));
        let allowed_origins = ArcSwap::from_pointee(allowed_origins);
        let (door, measured) = (Door::default(), Measured::default());
        Gateway { admission, lanes, limits, allowed_origins, health, reflection: None, door, measured, metrics, notes }
    }

    /// Takes over what may change while requests are served: each request is served by the one or the other.
    pub(crate) fn take_over(&self, allowed_origins: AllowedOrigins, max_failures_per_minute: u32) {
        self.allowed_origins.store(Arc::new(allowed_origins));
        self.admission.set_max_failures(max_failures_per_minute);
    }

    /// The same, which tells gRPC clients what it serves.
    ///
    /// # Errors
    /// The descriptors that were compiled in cannot be read: a fault of the build.
    pub(crate) fn reflecting(self) -> Result<Self, tonic_reflection::server::Error> {
        let reflection = Some(Reflection::new(&services(&self.lanes))?);
        Ok(Gateway { reflection, ..self })
    }

    /// Lets no request in from now on: each is told to come again, over another connection. Returns when all that were let in are answered.
    pub(crate) async fn shut(&self) {
        self.door.shut().await;
    }

    /// Keeps the answers of the gRPC health service in step with `readiness`, for as long as it is polled.
    pub(crate) fn follow(&self, readiness: Readiness) -> impl Future<Output = ()> + Send + use<> {
        self.health.clone().follow(readiness)
    }

    /// Answers one request. Its extensions hold the [`Peer`] that sent it.
    pub(crate) async fn serve<B>(&self, request: Request<B>) -> Response<ReplyBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        let id = RequestId::of(request.headers());
        let parent = TraceParent::of(request.headers());
        let seen = Seen { id: id.clone(), parent, call: None, key: None, size: (0, 0) };
        let mut response = self.answer(request, seen).await;
        id.say(response.headers_mut());
        response
    }

    async fn answer<B>(&self, request: Request<B>, seen: Seen) -> Response<ReplyBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        let (head, body) = request.into_parts();
        // Whom it is for and where it ends, in one way only: what follows on the connection would be another's guess.
        if let Err(refusal) = form::check(&head, &peer_of(&head)) {
            return self.rescue(&head, body, &seen, &refusal, true).await;
        }
        // Who asks how the process is has no key, and needs none.
        if health::is_asked(&head) {
            for_nothing(&head).await;
            return self.health.answer(Request::from_parts(head, body)).await;
        }
        if let Some(reflection) = &self.reflection
            && Reflection::is_asked(head.uri.path())
        {
            for_nothing(&head).await;
            return reflection.answer(Request::from_parts(head, body)).await;
        }
        if greeting::is_asked(&head) {
            for_nothing(&head).await;
            return greeting::answer();
        }
        let origins = self.allowed_origins.load_full();
        // A browser asks before it sends, and shows no key when it asks: it is told which origins may send, nothing else.
        let mut response = match cors::is_preflight(&head) {
            true => match cors::check(&origins, &head.headers) {
                Ok(()) => {
                    for_nothing(&head).await;
                    cors::preflight(&head.headers)
                }
                Err(refusal) => self.rescue(&head, body, &seen, &refusal, false).await,
            },
            false => self.measure(&head, body, &origins, seen).await,
        };
        cors::allow(&origins, &head.headers, response.headers_mut());
        response
    }

    /// Takes a request along the path, and answers it whatever became of it.
    async fn measure<B>(
        &self,
        head: &Parts,
        mut body: B,
        origins: &AllowedOrigins,
        mut seen: Seen,
    ) -> Response<ReplyBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let began = Instant::now();
        let Some(_inside) = self.door.enter() else {
            peer_of(head).send_away();
            return self.rescue(head, body, &seen, &draining(), true).await;
        };
        let _in_flight = InFlight::new(&self.metrics);
        let outcome = self.take(head, &mut body, origins, &mut seen).await;
        if let Some(call) = &seen.call {
            let became = match &outcome {
                Ok((_, None)) => Outcome::Accepted,
                Ok((_, Some(_))) => Outcome::Partial,
                Err(_) => Outcome::Refused,
            };
            self.measured.count(&self.metrics, call, became, began.elapsed());
        }
        self.note(head, &seen, began, outcome.as_ref().err());
        match outcome {
            Ok((call, partial)) => reply::accepted(call.protocol, call.signal, partial.as_ref()),
            Err(refusal) => self.rescue(head, body, &seen, &refusal, false).await,
        }
    }

    /// The path.
    async fn take<B>(
        &self,
        head: &Parts,
        body: &mut B,
        origins: &AllowedOrigins,
        seen: &mut Seen,
    ) -> Result<(Call, Option<PartialSuccess>), Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let peer = peer_of(head);
        let deadline = Deadline::of(head, self.limits.timeout);
        // A page of another origin is turned away whatever key it holds.
        cors::check(origins, &head.headers)?;
        // Path, method, content type and compression cost nothing to look at; a wrong one is told so, key or not.
        let call = *seen.call.insert(Call::of(head)?);
        self.lanes.takes(call.signal)?;
        // The key, before a byte of the body is read. From here on the connection is worth keeping.
        let certificate = peer.certificate().map_err(|_no_longer_good| Refusal::Unauthenticated)?;
        let authenticated = self.admission.authenticate(&head.headers, certificate, peer.ip)?;
        peer.mark_authenticated(&authenticated.key().standing);
        let key = seen.key.insert(authenticated.key().clone());
        self.count(key);
        // May it send this now: from this page, its signals, its requests a second, memory to begin with; and room for what it will bring.
        let admitted = self.admission.admit(authenticated, call.signal, &head.headers)?;
        self.lanes.room(key)?;
        let mut coming = self.lanes.expect(call.signal)?;
        // The body: gathered, inflated and transcoded within limits, every byte counted as it arrives.
        let limits = BodyLimits { max_bytes: self.limits.max_body_bytes, min_rate: self.limits.min_body_rate };
        let receiving = otlp::receive(admitted, &call, body, limits);
        let received = deadline.wait(coming.after(receiving)).await.ok_or(deadline.over(Refusal::TooSlow))??;
        let (kept, size) = self.keep(coming, received, peer.answer(), deadline).await?;
        seen.size = size;
        let partial = kept
            .rejected()
            .map(|rejected| PartialSuccess { rejected: rejected.records, message: rejected.why.to_string() });
        Ok((call, partial))
    }

    /// The path from where it is known what came, and its bytes and records when it is kept.
    async fn keep(
        &self,
        coming: Coming<'_>,
        received: Received<Admitted>,
        answer: Answer,
        deadline: Deadline,
    ) -> Result<(Kept, (u64, u64)), Refusal> {
        let (key, signal) = (received.admitted.key().clone(), received.call.signal);
        let mut size = (0, 0);
        let recognising = self.lanes.recognise(coming, received, answer);
        let keeping = match deadline.wait(recognising).await.ok_or(deadline.over(Refusal::TooSlow))?? {
            // The same bytes again, after an answer that may not have arrived: they join what was kept, and cost nothing more.
            Recognised::Repeat(ticket) => ticket,
            Recognised::Fresh(fresh) => {
                // Into the columns of an open chunk, uncommitted: only now is known how many records it holds.
                let encoding = self.lanes.encode(fresh);
                let mut encoded = deadline.wait(encoding).await.ok_or(deadline.over(Refusal::TooSlow))??;
                // What it costs its key. Refused, the chunk is as it was before.
                let (bytes, records) = (encoded.bytes(), encoded.records());
                let paid = self.admission.charge(encoded.admitted(), bytes, records)?;
                size = (paid.bytes(), paid.records());
                // A client that no longer waits is not to find its records there.
                if deadline.is_over() {
                    return Err(deadline.over(Refusal::TooSlow));
                }
                // Committed, and from here on kept or known not to be: on disk with a spool, in the sink without.
                self.lanes.keep(encoded, paid)
            }
        };
        let kept = deadline.wait(keeping.kept()).await.ok_or(deadline.over(nobody_knows()))??;

        key.state.counts.received(&self.metrics, &key.entry.name, signal, size);
        Ok((kept, size))
    }

    /// A request with this key came.
    fn count(&self, key: &Key) {
        key.state.seen(SystemTime::now());
        key.state.counts.request(&self.metrics, &key.entry.name);
        if key.vanished {
            let of = OfKeyName { key: key.entry.name.as_str().into() };
            self.metrics.vanished_key_uses.get_or_create(&of).inc();
        }
    }

    /// Every refusal ends here: counted, logged (never with a key, and a flood of them in a few lines), answered from the one table, and not faster than a key, or a connection
    /// without one, may be refused. Over HTTP/1.1 the connection ends with it when `last`.
    async fn rescue<B>(&self, head: &Parts, body: B, seen: &Seen, refusal: &Refusal, last: bool) -> Response<ReplyBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        self.metrics.refusals.get_or_create(&Reason { reason: refusal.name() }).inc();
        if let Some(key) = &seen.key {
            let of = OfRefusal { key: key.entry.name.as_str().into(), reason: refusal.name() };
            self.metrics.key_refusals.get_or_create(&of).inc();
        }
        if matches!(refusal, Refusal::Unauthenticated | Refusal::TooManyFailures) {
            self.metrics.authentication_failures.inc();
        }
        let peer = peer_of(head);
        seen.log(peer.ip, refusal);
        let wait = match &seen.key {
            Some(key) => key.state.refused.wait(body.size_hint().lower()),
            None => peer.wait_for_nothing(),
        };
        let mut response = reply::answer(refusal, Protocol::of(head));
        let last = last || (*refusal == Refusal::TooManyFailures && peer.dismiss());
        // Before the wait: what one request leaves unread over HTTP/2 stops all others of its connection, which may be other keys'.
        unread::discard(head, body, seen.key.is_some(), last, wait, response.headers_mut()).await;
        later(wait).await;
        response
    }
}

/// What anybody may ask costs nobody anything, and is not answered faster than the connection may have it.
async fn for_nothing(head: &Parts) {
    later(peer_of(head).wait_for_nothing()).await;
}

/// Lets an answer wait.
async fn later(wait: Duration) {
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}

/// OTLP's gRPC services that are served here.
fn services(lanes: &Lanes) -> Vec<&'static str> {
    Signal::ALL.into_iter().filter(|signal| lanes.takes(*signal).is_ok()).map(Signal::grpc_service).collect()
}

impl Seen {
    /// One line about a refusal, of a few a second. Three places, so that a flood of strangers does not silence what concerns those who have a key.
    fn log(&self, peer: IpAddr, refusal: &Refusal) {
        let key = self.key.as_ref().map_or("", |key| &key.entry.name);
        let signal = self.call.map_or("", |call| call.signal.name());
        let (request, trace) = (&self.id, self.parent.map(|parent| format!("{:032x}", parent.trace)));
        match (refusal, &self.key) {
            (Refusal::Unavailable { .. }, _) => {
                limited!(warn, %peer, key, signal, %request, trace, %refusal, "request refused");
            }
            (_, Some(_)) => limited!(info, %peer, key, signal, %request, trace, %refusal, "request refused"),
            (_, None) => {
                limited!(info, %peer, signal, %request, trace, %refusal, "request without a valid key refused");
            }
        }
    }
}

/// Who sent a request. Every listener says so; one that did not would share one address for its failures.
fn peer_of(head: &Parts) -> Peer {
    let peer = head.extensions.get::<Peer>().cloned();
    peer.unwrap_or_else(|| Peer::unconnected(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
}

/// Another gateway takes it: the connection that the client makes next may lead there.
fn draining() -> Refusal {
    Refusal::Unavailable { away: Away::Stopping, retry_after: std::time::Duration::from_secs(1) }
}

/// The client's time is over while its records were being kept: they may be, and it is told to come again.
fn nobody_knows() -> Refusal {
    Refusal::Unavailable { away: Away::Unknown, retry_after: std::time::Duration::from_secs(1) }
}
