//! keys.yaml, read again when it changes or a file that it names does, and at SIGHUP.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch::Receiver;
use tracing::{error, warn};

use super::{KeyRing, Source};
use crate::blocking;
use crate::config::{KeyRules, Recorder, Seen, Surroundings, read_keys};
use crate::metrics::{Metrics, Outcome};
use crate::rounds::{Changes, Rounds};

/// Where keys.yaml is and what it is read by; none: keys come from elsewhere.
pub(crate) type KeysPlace = Option<(PathBuf, KeyRules)>;

/// keys.yaml and what was last seen in it.
#[derive(Debug)]
pub(crate) struct KeysFile {
    place: KeysPlace,
    seen: Option<Seen>,
    metrics: Arc<Metrics>,
}

impl KeysFile {
    /// The file that the ring's keys were read from; the first look compares with what stands there by then, and loads
    /// it.
    pub(crate) fn new(place: KeysPlace, metrics: Arc<Metrics>) -> Self {
        KeysFile { place, seen: None, metrics }
    }

    /// Whether the file is there to be read, and not as it was last seen.
    fn differs(&self, surroundings: &dyn Surroundings) -> bool {
        self.place.is_some() && self.seen.as_ref().is_none_or(|seen| !seen.is_current(surroundings))
    }

    /// Replaces the ring's keys by the file's, if it or a file that it names is not as it was last seen (`force`: even then). A file with a
    /// mistake, or none, leaves the ring as it is; every mistake is logged once.
    pub(crate) fn look(&mut self, ring: &KeyRing, surroundings: &dyn Surroundings, force: bool) {
        if !force && !self.differs(surroundings) {
            return;
        }
        let Some((path, rules)) = &self.place else { return };
        let recorder = Recorder::new(surroundings);
        let read = read_keys(path, rules, &recorder);
        self.seen = Some(recorder.into_seen());
        let outcome = match read {
            Ok((entries, warnings)) => {
                warnings.iter().for_each(|warning| warn!("{warning}"));
                ring.replace(Source::File, entries.into());
                "ok"
            }
            Err(mistakes) => {
                mistakes.0.iter().for_each(|mistake| error!("{mistake}"));
                error!(file = %path.display(), "the keys stay as they were: the file has mistakes");
                "failed"
            }
        };
        self.metrics.key_reloads.get_or_create(&Outcome { outcome }).inc();
    }
}

/// Looks at the file for ever: in each of `rounds`, and at once at SIGHUP and when its `place` changes. A key whose `value` stands in the
/// environment changes only with the process.
///
/// # Errors
/// The signal cannot be listened to.
pub(crate) async fn watch(
    file: KeysFile,
    rounds: Rounds,
    mut place: Receiver<KeysPlace>,
    ring: Arc<KeyRing>,
    surroundings: impl Surroundings + Clone + Send + 'static,
) -> std::io::Result<()> {
    let file = Arc::new(Mutex::new(file));
    let (looked_at, around) = (file.clone(), surroundings.clone());
    let mut changes = Changes::of(&rounds, move || looked_at.lock().differs(&around))?;
    loop {
        let force = tokio::select! {
            asked = changes.next() => asked,
            // Its sender lives as long as the process serves.
            Ok(()) = place.changed() => true,
        };
        let place = place.borrow_and_update().clone();
        let (file, ring, surroundings) = (file.clone(), ring.clone(), surroundings.clone());
        let look = move || {
            let mut file = file.lock();
            file.place = place;
            file.look(&ring, &surroundings, force);
        };
        // Reading a file can take long (a network file system), and must not hold up a reactor.
        blocking::run(look).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use parking_lot::Mutex;

    use super::*;
    use crate::config::testing::key_rules;

    /// One file whose text a test changes.
    #[derive(Clone, Default)]
    struct Changing(Arc<Mutex<Option<String>>>);

    impl Surroundings for Changing {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }

        fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
            let text = self.0.lock().clone();
            text.map(String::into_bytes).ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        fn readable_by_others(&self, _: &Path) -> bool {
            false
        }
    }

    fn text(keys: &[&str]) -> Option<String> {
        let keys: Vec<_> = keys.iter().map(|key| stack::Key::known(key, key)).collect();
        Some(stack::keys_yaml(&keys))
    }

    #[test]
    fn a_good_file_replaces_and_a_bad_one_does_not() {
        let (disk, ring) = (Changing::default(), KeyRing::default());
        let mut file = KeysFile::new(Some(("keys.yaml".into(), key_rules())), Arc::default());
        *disk.0.lock() = text(&["a", "b"]);
        file.look(&ring, &disk, false);
        let used = ring.find(b"a").unwrap();

        *disk.0.lock() = text(&["a"]);
        file.look(&ring, &disk, false);
        assert!(ring.find(b"b").is_none());
        assert!(Arc::ptr_eq(&used.state, &ring.find(b"a").unwrap().state));

        for bad in [Some("keys: [{ name: c }]".to_owned()), Some("keys: [".to_owned()), Some(String::new()), None] {
            *disk.0.lock() = bad;
            file.look(&ring, &disk, false);
            file.look(&ring, &disk, true);
            assert!(Arc::ptr_eq(&used, &ring.find(b"a").unwrap()));
        }

        *disk.0.lock() = text(&["c"]);
        file.look(&ring, &disk, false);
        assert!(ring.find(b"a").is_none() && ring.find(b"c").is_some());
    }
}
