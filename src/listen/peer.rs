//! What a request knows of the connection it came over.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Waker;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::activity::Activity;
use super::client::{ClientCertificate, NoLongerGood};
use super::length::LengthSearch;
use super::registry::{self, Registry};
use crate::keys::{Refused, Standing};
use crate::network::Network;
use crate::proxied::Forwarders;

/// Bytes that a connection without a valid key may have sent since its last request was answered; more stay in the
/// socket. It covers the largest HTTP/1.1 header, and HTTP/2's with the first frame of a body.
pub(super) const BYTES_WITHOUT_KEY: usize = 64 * 1024;

/// Who sent a request, and over which connection: in each request's extensions.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// The client's address; IPv4 mapped into IPv6 is IPv4 here.
    pub(crate) ip: IpAddr,
    connection: Arc<Connection>,
    written: Arc<Written>,
    said_length: bool,
    /// Others send over the same connection.
    shared: bool,
}

/// How far an answer has come.
#[derive(Debug, Default)]
struct Written {
    /// Its last byte was handed over.
    whole: AtomicBool,
    /// Bytes of the connection that were written before its last ones.
    after: AtomicU64,
}

impl Peer {
    pub(super) fn new(connection: &Arc<Connection>) -> Self {
        let said_length = connection.length.lock().is_said();
        Peer {
            ip: connection.ip(),
            connection: Arc::clone(connection),
            written: Arc::default(),
            said_length,
            shared: false,
        }
    }

    /// The same, of whom the proxy at the other end says that it is.
    pub(super) fn forwarded(mut self, forwarders: Option<&Forwarders>, headers: &HeaderMap) -> Self {
        if let Some(forwarders) = forwarders.filter(|forwarders| forwarders.include(self.ip)) {
            self.ip = forwarders.client(self.ip, headers);
            self.shared = true;
        }
        self
    }

    /// A peer without a connection, for a request that did not come over one; its answer never counts as arrived.
    pub(crate) fn unconnected(ip: IpAddr) -> Self {
        Self::new(&Arc::new(Connection::new(ip, 0, registry::nowhere())))
    }

    /// This connection has shown a valid key: it may stay, its bodies are read, and it is one of that key's from now on.
    pub(crate) fn mark_authenticated(&self, key: &Arc<Standing>) {
        self.connection.mark_authenticated(key);
    }

    /// Ends this connection in order with what is in flight, unless it has shown a valid key or a proxy passes other clients' requests on over it;
    /// whether it does.
    pub(crate) fn dismiss(&self) -> bool {
        let dismissed = !self.shared && !self.connection.activity.authenticated();
        if dismissed {
            self.send_away();
        }
        dismissed
    }

    /// One more answer for which no key was asked: how long it waits. A proxy's connection is not one client's, and never waits.
    pub(crate) fn wait_for_nothing(&self) -> Duration {
        match self.shared {
            true => Duration::ZERO,
            false => self.connection.answered.wait_for_nothing(self.connection.activity.authenticated()),
        }
    }

    /// Ends this connection in order with what is in flight.
    pub(crate) fn send_away(&self) {
        self.connection.dismissal.notify_one();
    }

    /// What stands for the names of the client's certificate; nothing where none was shown.
    ///
    /// # Errors
    /// It was good when the connection began, and no longer is.
    pub(crate) fn certificate(&self) -> Result<&[[u8; 32]], NoLongerGood> {
        self.connection.certificate.get().map_or(Ok(&[]), ClientCertificate::names)
    }

    /// Whether this request's head over HTTP/1.1 had a `Content-Length`, as far as it came after the answer before it: hyper hides the one that stands
    /// beside a `Transfer-Encoding`.
    pub(crate) fn said_length(&self) -> bool {
        self.said_length
    }

    /// Follows what becomes of this request's answer.
    pub(crate) fn answer(&self) -> Answer {
        Answer { connection: Arc::clone(&self.connection), written: Arc::clone(&self.written) }
    }

    /// The answer's last bytes are about to be handed over: whatever was written of the connection until now is before them.
    pub(super) fn answer_ends(&self) {
        self.written.after.store(self.connection.written.load(Ordering::Acquire), Ordering::Release);
    }

    /// The answer's last byte was handed over.
    pub(crate) fn answer_written(&self) {
        self.written.whole.store(true, Ordering::Release);
    }
}

#[cfg(test)]
impl Peer {
    /// The connection ends, for tests of those who follow answers.
    pub(crate) fn break_off(&self) {
        self.connection.closed.store(true, Ordering::Release);
    }
}

/// What became of one request's answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    connection: Arc<Connection>,
    written: Arc<Written>,
}

impl Answer {
    /// Whether the answer was written whole, and its connection is open until now or was closed by its client in order, with all of the answer
    /// acknowledged. Asked later than [`UNACKNOWLEDGED`](super::UNACKNOWLEDGED)
    /// after the answer was given, `true` says that the client's machine (or a proxy before it) has it; `false` says that it may
    /// not: the connection or the stream broke, or the answer is still being written.
    pub(crate) fn arrived(&self) -> bool {
        let whole = self.written.whole.load(Ordering::Acquire);
        whole && (!self.connection.closed.load(Ordering::Acquire) || self.was_acknowledged())
    }

    /// Whether the connection is gone and the answer may not have arrived by then: it never will.
    pub(crate) fn is_broken(&self) -> bool {
        self.connection.closed.load(Ordering::Acquire) && !self.was_acknowledged()
    }

    /// Whether the client said goodbye in order when it had acknowledged everything up to this answer's end.
    fn was_acknowledged(&self) -> bool {
        let acknowledged = self.connection.acknowledged.load(Ordering::Acquire);
        self.written.whole.load(Ordering::Acquire) && acknowledged > self.written.after.load(Ordering::Acquire)
    }
}

/// One open connection, shared by its task, its requests and the registry.
#[derive(Debug)]
pub(super) struct Connection {
    ip: IpAddr,
    /// Whose it is, when a proxy passes it on.
    client: OnceLock<IpAddr>,
    /// For whom it counts.
    network: OnceLock<Network>,
    /// Grows with each connection accepted.
    pub(super) number: u64,
    pub(super) activity: Activity,
    /// What the client showed in the handshake.
    pub(super) certificate: OnceLock<ClientCertificate>,
    registry: Weak<Registry>,
    closed: AtomicBool,
    /// Bytes of HTTP that were written.
    written: AtomicU64,
    /// How many of them the client had acknowledged when it ended the connection in order; 0 while it has not.
    acknowledged: AtomicU64,
    eviction: Notify,
    dismissal: Notify,
    has_place: AtomicBool,
    /// Bytes read since the last answer, counted only until a valid key was shown.
    unanswered_bytes: AtomicUsize,
    reader: Mutex<Option<Waker>>,
    /// The valid key that was shown last.
    key: Mutex<Option<Arc<Standing>>>,
    /// Looks for a length in HTTP/1.1's heads.
    length: Mutex<LengthSearch>,
    /// Over HTTP/1.1 the next answer is the last.
    last_answer: AtomicBool,
    /// It sent too many frames that carry nothing.
    calmed: AtomicBool,
    /// Answers that nobody paid for.
    answered: Refused,
}

impl Connection {
    pub(super) fn new(ip: IpAddr, number: u64, registry: Weak<Registry>) -> Self {
        Connection {
            ip: ip.to_canonical(),
            client: OnceLock::new(),
            network: OnceLock::new(),
            number,
            activity: Activity::new(),
            certificate: OnceLock::new(),
            registry,
            closed: AtomicBool::new(false),
            written: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            eviction: Notify::new(),
            dismissal: Notify::new(),
            has_place: AtomicBool::new(true),
            unanswered_bytes: AtomicUsize::new(0),
            reader: Mutex::new(None),
            key: Mutex::new(None),
            length: Mutex::default(),
            last_answer: AtomicBool::new(false),
            calmed: AtomicBool::new(false),
            answered: Refused::new(),
        }
    }

    /// Who sends over it.
    pub(super) fn ip(&self) -> IpAddr {
        *self.client.get().unwrap_or(&self.ip)
    }

    /// The address at the other end of the socket.
    pub(super) fn peer(&self) -> IpAddr {
        self.ip
    }

    /// A proxy passes it on for this client.
    pub(super) fn is_of(&self, client: IpAddr) {
        // Nobody else sets it.
        let _ = self.client.set(client);
    }

    /// It was counted for this network.
    pub(super) fn counts_for(&self, network: Network) {
        let _ = self.network.set(network);
    }

    /// For whom it was counted.
    pub(super) fn network(&self) -> Option<Network> {
        self.network.get().copied()
    }

    pub(super) fn mark_authenticated(self: &Arc<Self>, key: &Arc<Standing>) {
        let before = {
            let mut held = self.key.lock();
            // All that happens for every request but the first.
            if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, key)) {
                return;
            }
            held.replace(key.clone())
        };
        if let Some(registry) = self.registry.upgrade() {
            registry.authenticated(self, before.as_deref(), key);
        }
        if self.activity.authenticate() {
            self.wake_reader();
        }
    }

    /// The key that was shown last.
    pub(super) fn key(&self) -> Option<Arc<Standing>> {
        self.key.lock().clone()
    }

    /// Whether what let this connection in, its key or its certificate, no longer would.
    pub(super) fn is_no_longer_good(&self, now: SystemTime) -> bool {
        let ended = self.key.lock().as_ref().is_some_and(|key| !key.is_good(now));
        ended || self.certificate.get().is_some_and(|certificate| certificate.names().is_err())
    }

    /// Whether more may be read now; if not, the waker is called when it may.
    pub(super) fn may_read(&self, waker: &Waker) -> bool {
        let may = || self.activity.authenticated() || self.unanswered_bytes.load(Ordering::Acquire) < BYTES_WITHOUT_KEY;
        if may() {
            return true;
        }
        *self.reader.lock() = Some(waker.clone());
        // Asked again: what changed before the waker was left there would wake nobody.
        may()
    }

    /// These bytes were read.
    pub(super) fn bytes_came(&self, bytes: &[u8]) {
        if !self.activity.authenticated() {
            self.unanswered_bytes.fetch_add(bytes.len(), Ordering::AcqRel);
        }
        let begins = self.activity.bytes_came();
        if !self.activity.is_http2() {
            let mut length = self.length.lock();
            if begins {
                *length = LengthSearch::default();
            }
            length.read(bytes);
        }
    }

    /// It is told to be calm, and ends.
    pub(super) fn calm(&self) {
        self.calmed.store(true, Ordering::Release);
    }

    /// Whether it was.
    pub(super) fn was_calmed(&self) -> bool {
        self.calmed.load(Ordering::Acquire)
    }

    /// The next answer is the last one, if the connection is HTTP/1.1.
    pub(super) fn answer_once_more(&self) {
        self.last_answer.store(true, Ordering::Release);
    }

    /// Whether the answer that is about to be written is the last one.
    pub(super) fn is_last_answer(&self) -> bool {
        self.last_answer.load(Ordering::Acquire)
    }

    /// A request was answered, or nobody waits for its answer any more; what it had sent is no longer held.
    pub(super) fn request_ends(&self) {
        self.activity.request_ends();
        if !self.activity.authenticated() {
            self.unanswered_bytes.store(0, Ordering::Release);
            self.wake_reader();
        }
    }

    /// `count` bytes were handed to TLS or the socket.
    pub(super) fn bytes_went(&self, count: usize) {
        self.written.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::AcqRel);
    }

    /// The client ended the connection in order, when it had acknowledged everything that was written.
    pub(super) fn acknowledged(&self) {
        self.acknowledged.store(self.written.load(Ordering::Acquire), Ordering::Release);
    }

    fn wake_reader(&self) {
        if let Some(waker) = self.reader.lock().take() {
            waker.wake();
        }
    }

    /// Makes the connection's task end at once.
    pub(super) fn evict(&self) {
        self.eviction.notify_one();
    }

    /// Waits until the connection is to end at once.
    pub(super) async fn eviction(&self) {
        self.eviction.notified().await;
    }

    /// Waits until the connection is to end in order.
    pub(super) async fn dismissal(&self) {
        self.dismissal.notified().await;
    }

    /// Whether it counts among the open connections.
    pub(super) fn has_place(&self) -> bool {
        self.has_place.load(Ordering::Acquire)
    }

    #[cfg(test)]
    pub(super) fn is_evicted(&self) -> bool {
        !self.has_place()
    }

    /// Whether the place was still held; it no longer is.
    pub(super) fn give_place_back(&self) -> bool {
        self.has_place.swap(false, Ordering::AcqRel)
    }

    pub(super) fn closed(&self) {
        self.closed.store(true, Ordering::Release);
    }
}
