//! Steps 3, 4 and 7: who sends (authenticate), may they send now (admit), and what it costs their key (charge).
//!
//! Each step takes the step's before it and hands on a type of its own with private fields, so a request that skipped a step
//! does not compile: [`Authenticated`] → [`Admitted`] → (receive, encode) → [`Paid`], without which nothing is kept.
//!
//! Invariants: the key is checked before a body byte is read; one key's excess never slows another key (every rate and
//! count is the key's own, memory has a share a key, and at long work keys take [`turns`]); nothing else here waits.

mod admitted;
mod failures;
mod memory;
mod presented;
mod turns;

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use http::header::ORIGIN;

use crate::config::{AllowedOrigins, RequestLimits};
use crate::keys::{Key, KeyRing};
use crate::reply::{Away, Refusal};
use crate::signal::Signal;

pub(crate) use admitted::Admitted;
use failures::Failures;
pub(crate) use memory::{MemoryAccount, Reservation};
use presented::{Presented, presented};
use turns::Turns;

/// Memory that a request costs before its body arrives, in bytes: its head, its task and the connection's buffers.
const REQUEST_OVERHEAD: u64 = 8 * 1024;

/// When a client comes again whose key may be known by then.
const NO_KEYS_RETRY: Duration = Duration::from_secs(5);

/// Everything that decides whether a request may come in.
#[derive(Debug)]
pub(crate) struct Admission {
    keys: Arc<KeyRing>,
    failures: Failures,
    memory: Arc<MemoryAccount>,
    turns: Turns,
}

/// A request whose key is known and valid. Nothing of its body was read.
#[derive(Debug)]
pub(crate) struct Authenticated {
    key: KeyInUse,
}

/// A request's own hold on its key, which all of the key's requests share: however often it is handed on, what they share is touched twice.
#[derive(Debug, Clone)]
#[expect(clippy::redundant_allocation, reason = "the outer count is the request's own")]
pub(crate) struct KeyInUse(Arc<Arc<Key>>);

/// Proof that a request's key paid what the request costs. Only [`Admission::charge`] makes one, so that to skip the charge does not compile.
#[derive(Debug)]
#[must_use = "what was paid for is to be kept"]
pub(crate) struct Paid {
    bytes: u64,
    records: u64,
}

impl Admission {
    /// After `max_failures_per_minute` failed authentications of an address, its next ones of that minute cost it the connection.
    pub(crate) fn new(keys: Arc<KeyRing>, max_failures_per_minute: u32, limits: &RequestLimits) -> Self {
        Admission {
            keys,
            failures: Failures::new(max_failures_per_minute, Instant::now()),
            memory: Arc::new(MemoryAccount::new(limits.max_memory, limits.max_memory_per_key)),
            turns: Turns::of_cores(),
        }
    }

    /// Allows another number of failed authentications a minute from now on.
    pub(crate) fn set_max_failures(&self, per_minute: u32) {
        self.failures.set_max(per_minute);
    }

    /// The process's account of request memory, for metrics.
    pub(crate) fn memory(&self) -> &Arc<MemoryAccount> {
        &self.memory
    }

    /// How often, since this was asked last, a key's limits, its memory and that of all were taken.
    #[cfg(test)]
    pub(crate) fn taken(&self, key: &[u8]) -> [usize; 3] {
        let key = self.keys.find(key).expect("a known key");
        [key.state.limiter.taken(), key.state.memory.taken(), self.memory.taken()]
    }

    /// Step 3: the headers name a valid key, or there is none in them and the client's certificate belongs to one; `certificate` are its names.
    /// A key in the headers decides alone, whatever certificate comes with it: a wrong one is a mistake to be heard, not to be covered.
    /// A valid key is never refused because of its address.
    ///
    /// # Errors
    /// [`Refusal::Unauthenticated`], the same for no, an unknown, an expired and a disabled key and for two keys that differ;
    /// [`Refusal::TooManyFailures`] when the address (an IPv6 /64 counts as one) failed too often in this minute; [`Refusal::Unavailable`]
    /// while a source of keys has never had one, or a token's issuer's keys are not here yet, since it may turn out to be valid.
    pub(crate) fn authenticate(
        &self,
        headers: &HeaderMap,
        certificate: &[[u8; 32]],
        peer: IpAddr,
    ) -> Result<Authenticated, Refusal> {
        let presented = match presented(headers) {
            Presented::Key(key) => self.keys.look_up(key).map_err(|_awaited| waiting())?,
            Presented::Nothing => self.keys.find_certificate(certificate),
            Presented::Unclear => None,
        };
        let (known, valid) = (presented.is_some(), presented.filter(|key| key.is_valid(SystemTime::now())));
        // A key that is known and no longer valid stays refused, whoever else may come in.
        match valid.or_else(|| self.keys.anonymous().filter(|_| !known)) {
            Some(key) => Ok(Authenticated { key: key.into() }),
            None if !known && self.keys.is_waiting() => Err(waiting()),
            None if self.failures.record(peer, Instant::now()) => Err(Refusal::TooManyFailures),
            None => Err(Refusal::Unauthenticated),
        }
    }

    /// Step 4: the key may be used from where the request comes, it may send this signal, there is memory for it to begin, and it is within its
    /// requests a second.
    ///
    /// # Errors
    /// [`Refusal::KeyOfOtherOrigins`], [`Refusal::SignalNotAllowed`], [`Refusal::OverLimit`] (work), [`Refusal::Unavailable`] (memory), [`Refusal::OverLimit`], checked
    /// in this order: a refusal that costs the key nothing comes first.
    pub(crate) fn admit(
        &self,
        authenticated: Authenticated,
        signal: Signal,
        headers: &HeaderMap,
    ) -> Result<Admitted, Refusal> {
        let Authenticated { key } = authenticated;
        if !comes_from(&key.entry.origins, headers) {
            return Err(Refusal::KeyOfOtherOrigins);
        }
        if !key.entry.signals.contains(&signal) {
            return Err(Refusal::SignalNotAllowed(signal));
        }
        let begin = |usual| Reservation::begin(self.memory.clone(), key.clone(), REQUEST_OVERHEAD, usual);
        let memory = key.state.limiter.admit(begin)?;
        Ok(Admitted::new(memory, self.turns.clone()))
    }

    /// Step 7: what an encoded request costs its key, its uncompressed bytes and its records, both or neither. What was charged stays charged
    /// when the request is later refused because the sink is away: the work was done.
    ///
    /// # Errors
    /// [`Refusal::OverLimit`] or [`Refusal::TooLarge`]; the encoded records are to be rolled back.
    pub(crate) fn charge(&self, admitted: &mut Admitted, bytes: u64, records: u64) -> Result<Paid, Refusal> {
        let did = admitted.did();
        admitted.key().state.limiter.pay(did, bytes, records)?;
        Ok(Paid { bytes, records })
    }
}

/// It may turn out to be valid.
fn waiting() -> Refusal {
    Refusal::Unavailable { away: Away::Keys, retry_after: NO_KEYS_RETRY }
}

impl Paid {
    /// Uncompressed bytes of the request.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Spans, log records or data points.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }
}

impl Authenticated {
    /// otelgate itself, which shows nobody a key.
    pub(crate) fn own(key: Arc<Key>) -> Self {
        Authenticated { key: key.into() }
    }

    /// Whose request it is.
    pub(crate) fn key(&self) -> &KeyInUse {
        &self.key
    }
}

impl From<Arc<Key>> for KeyInUse {
    fn from(key: Arc<Key>) -> Self {
        KeyInUse(Arc::new(key))
    }
}

impl Deref for KeyInUse {
    type Target = Key;

    fn deref(&self) -> &Key {
        &self.0
    }
}

/// A key with a list of origins is one that stands in web pages, where everybody can read it. Its requests say their origin, once, as browsers do.
fn comes_from(origins: &AllowedOrigins, headers: &HeaderMap) -> bool {
    if *origins == AllowedOrigins::Any {
        return true;
    }
    let mut written = headers.get_all(ORIGIN).iter();
    match (written.next(), written.next()) {
        (Some(origin), None) => origin.to_str().is_ok_and(|origin| origins.allow(origin)),
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::certificate::CertificateName;
    use crate::config::{KeyEntry, KeyLimits};
    use crate::keys::{Offer, Source};

    pub(crate) const LIMITS: KeyLimits = KeyLimits {
        requests_per_second: 2,
        bytes_per_second: 1 << 20,
        records_per_second: 1000,
        burst: Duration::from_secs(1),
    };

    pub(crate) const REQUEST: RequestLimits = RequestLimits {
        max_body_bytes: 1 << 20,
        max_records: 1000,
        max_column_bytes: 1 << 24,
        max_parts: 64,
        timeout: Duration::from_secs(5),
        min_body_rate: 1024,
        max_memory: 1 << 24,
        max_memory_per_key: 1 << 23,
    };

    /// The entry of a key that may send everything.
    pub(crate) fn entry(value: &str) -> KeyEntry {
        KeyEntry {
            name: format!("name of {value}"),
            sha256: Sha256::digest(value).into(),
            signals: Signal::ALL.into(),
            certificate: None,
            expires: None,
            resource: std::collections::BTreeMap::new(),
            origins: AllowedOrigins::Any,
            enabled: true,
            limits: LIMITS,
        }
    }

    fn admission(entries: Vec<KeyEntry>) -> Admission {
        Admission::new(Arc::new(KeyRing::new(entries)), 3, &REQUEST)
    }

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", value.parse().unwrap());
        headers
    }

    const NONE: &[[u8; 32]] = &[];

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn unknown_expired_and_disabled_are_told_the_same() {
        let now = SystemTime::now();
        let hour = Duration::from_secs(3600);
        let admission = admission(vec![
            KeyEntry { expires: Some(now - hour), ..entry("expired") },
            KeyEntry { enabled: false, ..entry("disabled") },
            KeyEntry { expires: Some(now + hour), ..entry("good") },
        ]);
        for (peer, value) in ["unknown", "expired", "disabled"].iter().enumerate() {
            let peer = IpAddr::from([10, 0, 0, u8::try_from(peer).unwrap()]);
            let refusal = admission.authenticate(&headers(value), NONE, peer).unwrap_err();
            assert_eq!(refusal, Refusal::Unauthenticated);
        }
        let good = admission.authenticate(&headers("Bearer good"), NONE, PEER).unwrap();
        assert_eq!(good.key().entry.name, "name of good");
    }

    #[test]
    fn a_valid_key_gets_through_from_an_address_that_failed_too_often() {
        let admission = admission(vec![entry("good")]);
        for _ in 0..3 {
            let refusal = admission.authenticate(&headers("bad"), NONE, PEER).unwrap_err();
            assert_eq!(refusal, Refusal::Unauthenticated);
        }
        assert_eq!(admission.authenticate(&HeaderMap::new(), NONE, PEER).unwrap_err(), Refusal::TooManyFailures);
        admission.authenticate(&headers("good"), NONE, PEER).unwrap();
    }

    #[test]
    fn admit_checks_signal_memory_and_requests() {
        let traces_only = KeyEntry { signals: [Signal::Traces].into(), ..entry("good") };
        let admission = admission(vec![traces_only]);
        let who = || admission.authenticate(&headers("good"), NONE, PEER).unwrap();
        assert_eq!(
            admission.admit(who(), Signal::Logs, &HeaderMap::new()).unwrap_err(),
            Refusal::SignalNotAllowed(Signal::Logs)
        );
        let mut first = admission.admit(who(), Signal::Traces, &HeaderMap::new()).unwrap();
        assert_eq!(admission.memory().used(), REQUEST_OVERHEAD);
        first.memory.grow(REQUEST.max_memory_per_key - REQUEST_OVERHEAD).unwrap();
        assert!(matches!(admission.admit(who(), Signal::Traces, &HeaderMap::new()), Err(Refusal::Unavailable { .. })));
        drop(first);
        admission.admit(who(), Signal::Traces, &HeaderMap::new()).unwrap();
        assert!(matches!(
            admission.admit(who(), Signal::Traces, &HeaderMap::new()),
            Err(Refusal::OverLimit { limit: "requests_per_second", .. })
        ));
        assert_eq!(admission.memory().used(), 0);
    }

    #[test]
    fn a_key_of_web_pages_is_good_from_its_own_pages_only() {
        let origins = crate::config::testing::origins(&["https://shop.example", "https://*.pages.example"]);
        let limits = KeyLimits { requests_per_second: 100, ..LIMITS };
        let admission = admission(vec![KeyEntry { origins, limits, ..entry("page") }]);
        let from = |origins: &[&str]| {
            let mut headers = headers("page");
            for origin in origins {
                headers.append(ORIGIN, origin.parse().unwrap());
            }
            let who = admission.authenticate(&headers, NONE, PEER).unwrap();
            admission.admit(who, Signal::Logs, &headers).map(drop)
        };
        for own in ["https://shop.example", "HTTPS://Shop.example:443", "https://a.pages.example"] {
            assert_eq!(from(&[own]), Ok(()), "{own}");
        }
        let shop = "https://shop.example";
        for others in
            [&["https://evil.example"][..], &["null"], &[""], &[], &[shop, "https://evil.example"], &[shop, shop]]
        {
            assert_eq!(from(others), Err(Refusal::KeyOfOtherOrigins), "{others:?}");
        }
    }

    #[test]
    fn while_no_key_was_ever_known_a_client_comes_again() {
        let ring = Arc::new(KeyRing::new(vec![KeyEntry { enabled: false, ..entry("disabled") }, entry("good")]));
        let admission = Admission::new(ring.clone(), 3, &REQUEST);
        ring.replace(Source::ClickStack, Offer { waiting: true, ..Offer::default() });
        for _ in 0..10 {
            let refusal = admission.authenticate(&headers("unknown"), NONE, PEER).unwrap_err();
            assert!(matches!(refusal, Refusal::Unavailable { away: Away::Keys, .. }));
        }
        admission.authenticate(&headers("good"), NONE, PEER).unwrap();
        assert_eq!(admission.authenticate(&headers("disabled"), NONE, PEER).unwrap_err(), Refusal::Unauthenticated);
    }

    #[test]
    fn open_ingestion_takes_whoever_presents_no_known_key() {
        let ring = Arc::new(KeyRing::new(vec![KeyEntry { enabled: false, ..entry("disabled") }, entry("good")]));
        let admission = Admission::new(ring.clone(), 3, &REQUEST);
        ring.replace(Source::ClickStack, Offer { anonymous: Some(entry("nobody's")), ..Offer::default() });
        let name =
            |headers: &HeaderMap| admission.authenticate(headers, NONE, PEER).map(|who| who.key().entry.name.clone());
        assert_eq!(name(&HeaderMap::new()).unwrap(), "name of nobody's");
        assert_eq!(name(&headers("unknown")).unwrap(), "name of nobody's");
        assert_eq!(name(&headers("good")).unwrap(), "name of good");
        assert_eq!(name(&headers("disabled")).unwrap_err(), Refusal::Unauthenticated);
    }

    #[test]
    fn a_certificate_counts_only_without_a_key_in_the_headers_and_never_as_one() {
        let name = |text: &str| CertificateName::parse(text).unwrap();
        let of = |text: &str| KeyEntry { certificate: Some(name(text)), sha256: name(text).digest(), ..entry(text) };
        let admission = admission(vec![of("spiffe://td/a"), of("DNS:b.example"), entry("good")]);
        let shown = [name("DNS:c.example").digest(), name("DNS:b.example").digest(), name("spiffe://td/a").digest()];
        let who = |headers: &HeaderMap, shown: &[[u8; 32]]| {
            admission.authenticate(headers, shown, PEER).map(|who| who.key().entry.name.clone())
        };
        assert_eq!(who(&HeaderMap::new(), &shown).unwrap(), "name of DNS:b.example");
        assert_eq!(who(&headers("good"), &shown).unwrap(), "name of good");
        for (headers, shown) in [
            (headers("bad"), &shown[..]),
            (headers(""), &shown),
            (HeaderMap::new(), &shown[..1]),
            (headers("spiffe://td/a"), NONE),
            (headers("DNS:b.example"), NONE),
        ] {
            assert!(who(&headers, shown).is_err(), "{headers:?}");
        }
    }
}
