//! The keys that ClickStack's app has told of, and those that it no longer tells of and that are good for a while longer.
//!
//! The app rotates a key without overlap: the old one vanishes the moment the new one is there, while clients still send it. So a vanished
//! key stays valid for a time of grace. What is known is kept on disk, as digests, so that a start while the app is away admits
//! what it admitted before.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::ingestion::{Ingestion, TeamKey};

/// What is known of the app's keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// What the app said last; `None` when it has never said anything that could be used.
    said: Option<Ingestion>,
    vanished: Vec<Vanished>,
}

/// A key that the app no longer tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Vanished {
    pub(super) key: TeamKey,
    /// It is refused from then on.
    pub(super) until: Instant,
}

impl Known {
    /// Takes what the app says now. True when it is news.
    pub(super) fn learn(&mut self, ingestion: Ingestion, now: Instant, grace: Duration) -> bool {
        if self.said.as_ref() == Some(&ingestion) {
            return false;
        }
        let is_in = |keys: &[TeamKey], key: &TeamKey| keys.iter().any(|other| other.sha256 == key.sha256);
        let (before, after) = (self.keys().to_vec(), keys_of(&ingestion).to_vec());
        let gone = before.into_iter().filter(|key| !is_in(&after, key));
        self.vanished.extend(gone.map(|key| Vanished { key, until: now + grace }));
        self.vanished.retain(|vanished| now < vanished.until && !is_in(&after, &vanished.key));
        self.said = Some(ingestion);
        true
    }

    /// Lets go of vanished keys whose time is over. True when there were any.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let before = self.vanished.len();
        self.vanished.retain(|vanished| now < vanished.until);
        self.vanished.len() != before
    }

    /// When the next vanished key's time is over.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.vanished.iter().map(|vanished| vanished.until).min()
    }

    /// The keys that the app tells of.
    pub(super) fn keys(&self) -> &[TeamKey] {
        self.said.as_ref().map_or(&[], keys_of)
    }

    pub(super) fn vanished(&self) -> &[Vanished] {
        &self.vanished
    }

    /// Whether the app does not enforce keys.
    pub(super) fn is_open(&self) -> bool {
        self.said == Some(Ingestion::Open)
    }

    /// Whether any key may yet turn out to be valid: the app has never told of one.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.said, None | Some(Ingestion::NoKeyYet)) && self.vanished.is_empty()
    }
}

fn keys_of(ingestion: &Ingestion) -> &[TeamKey] {
    match ingestion {
        Ingestion::Keys(keys) => keys,
        Ingestion::NoKeyYet | Ingestion::Open => &[],
    }
}

/// What is kept on disk: digests, never keys.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    version: u32,
    /// Hex of the 16 bytes by which the app knows this otelgate.
    instance_uid: String,
    /// Nothing was known yet when it is absent.
    ingestion: Option<KeptIngestion>,
    vanished: Vec<KeptVanished>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptIngestion {
    Keys(Vec<KeptKey>),
    NoKeyYet,
    Open,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptKey {
    team: usize,
    sha256: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptVanished {
    key: KeptKey,
    /// Milliseconds since 1970.
    until_ms: u64,
}

/// The form that [`Kept`] has now.
const VERSION: u32 = 1;

impl Kept {
    pub(super) fn new(instance_uid: [u8; 16], known: &Known) -> Kept {
        let wall = |until: Instant| wall_ms(SystemTime::now() + until.saturating_duration_since(Instant::now()));
        Kept {
            version: VERSION,
            instance_uid: HEXLOWER.encode(&instance_uid),
            ingestion: known.said.as_ref().map(|said| match said {
                Ingestion::Keys(keys) => KeptIngestion::Keys(keys.iter().map(KeptKey::new).collect()),
                Ingestion::NoKeyYet => KeptIngestion::NoKeyYet,
                Ingestion::Open => KeptIngestion::Open,
            }),
            vanished: known
                .vanished
                .iter()
                .map(|vanished| KeptVanished { key: KeptKey::new(&vanished.key), until_ms: wall(vanished.until) })
                .collect(),
        }
    }

    /// The id and what was known; a vanished key gets no more than `grace`, whatever the clock did meanwhile.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`]: the file is of another version or holds no digests.
    pub(super) fn restore(&self, grace: Duration) -> io::Result<([u8; 16], Known)> {
        let instance = unhex::<16>(&self.instance_uid).filter(|_| self.version == VERSION).ok_or(invalid())?;
        let said = match &self.ingestion {
            Some(KeptIngestion::Keys(keys)) => {
                Some(Ingestion::Keys(keys.iter().map(KeptKey::restore).collect::<io::Result<_>>()?))
            }
            Some(KeptIngestion::NoKeyYet) => Some(Ingestion::NoKeyYet),
            Some(KeptIngestion::Open) => Some(Ingestion::Open),
            None => None,
        };
        let (now, now_ms) = (Instant::now(), wall_ms(SystemTime::now()));
        let left = |until_ms: u64| Duration::from_millis(until_ms.saturating_sub(now_ms)).min(grace);
        let vanished = |one: &KeptVanished| Ok(Vanished { key: one.key.restore()?, until: now + left(one.until_ms) });
        let vanished = self.vanished.iter().map(vanished).collect::<io::Result<_>>()?;
        let mut known = Known { said, vanished };
        known.expire(now);
        Ok((instance, known))
    }
}

impl KeptKey {
    fn new(key: &TeamKey) -> Self {
        KeptKey { team: key.team, sha256: HEXLOWER.encode(&key.sha256) }
    }

    fn restore(&self) -> io::Result<TeamKey> {
        Ok(TeamKey { team: self.team, sha256: unhex::<32>(&self.sha256).ok_or(invalid())? })
    }
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

fn wall_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(600);

    fn key(team: usize, byte: u8) -> TeamKey {
        TeamKey { team, sha256: [byte; 32] }
    }

    fn keys(keys: &[TeamKey]) -> Ingestion {
        Ingestion::Keys(keys.to_vec())
    }

    #[tokio::test(start_paused = true)]
    async fn a_rotated_key_stays_for_its_grace_and_no_longer() {
        let (mut known, now) = (Known::default(), Instant::now());
        assert!(known.is_waiting());
        assert!(known.learn(keys(&[key(1, 1), key(2, 2)]), now, GRACE));
        assert!(!known.learn(keys(&[key(1, 1), key(2, 2)]), now, GRACE) && !known.is_waiting());
        assert!(known.learn(keys(&[key(1, 3), key(2, 2)]), now, GRACE));
        assert_eq!(known.vanished(), [Vanished { key: key(1, 1), until: now + GRACE }]);
        assert!(!known.expire(now + GRACE - Duration::from_millis(1)));
        assert!(known.expire(now + GRACE) && known.vanished().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_comes_back_is_no_longer_vanished() {
        let (mut known, now) = (Known::default(), Instant::now());
        known.learn(keys(&[key(1, 1)]), now, GRACE);
        known.learn(Ingestion::NoKeyYet, now, GRACE);
        assert!(!known.is_waiting() && known.vanished().len() == 1 && known.keys().is_empty());
        known.learn(keys(&[key(1, 1)]), now, GRACE);
        assert!(known.vanished().is_empty());
        known.learn(Ingestion::Open, now, Duration::ZERO);
        assert!(known.is_open() && known.vanished().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_comes_back() {
        let mut known = Known::default();
        known.learn(keys(&[key(1, 1), key(2, 2)]), Instant::now(), GRACE);
        known.learn(keys(&[key(1, 3)]), Instant::now(), GRACE);
        let text = serde_json::to_string(&Kept::new([7; 16], &known)).unwrap();
        let restored = |text: &str, grace| serde_json::from_str::<Kept>(text).unwrap().restore(grace);
        let (instance, again) = restored(&text, GRACE).unwrap();
        assert_eq!((instance, again.keys(), again.vanished().len()), ([7; 16], known.keys(), 2));
        assert!(again.vanished().iter().all(|vanished| vanished.until <= Instant::now() + GRACE));
        // A clock that was set back, or a shorter grace: never longer than the grace that is configured now.
        let (_, again) = restored(&text, Duration::from_secs(1)).unwrap();
        assert!(again.next_expiry().unwrap() <= Instant::now() + Duration::from_secs(1));
        assert!(restored(&text.replace("\"version\":1", "\"version\":2"), GRACE).is_err());
        assert!(restored(&text.replace("03", "3"), GRACE).is_err());
    }
}
