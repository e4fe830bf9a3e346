//! What was read, so that it can be seen later whether it is still the same.
//!
//! Files are looked at instead of watched, and their bytes are compared: a ConfigMap's symlinks, an editor's rename and a bind mount each change a
//! file in a way of their own, and a file can change twice in one tick of its clock.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::Surroundings;

/// Surroundings that remember which files were read from them.
pub(crate) struct Recorder<'a> {
    surroundings: &'a dyn Surroundings,
    seen: RefCell<Seen>,
}

/// Files, and what stood in them; nothing of one that could not be read. Digests, since some hold secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen(BTreeMap<PathBuf, Option<[u8; 32]>>);

impl<'a> Recorder<'a> {
    /// Nothing read yet.
    pub(crate) fn new(surroundings: &'a dyn Surroundings) -> Self {
        Recorder { surroundings, seen: RefCell::default() }
    }

    /// What was read.
    pub(crate) fn into_seen(self) -> Seen {
        self.seen.into_inner()
    }
}

impl Seen {
    /// Whether these files still say the same. Blocks.
    pub(crate) fn is_current(&self, surroundings: &dyn Surroundings) -> bool {
        self.0.iter().all(|(path, seen)| digest(&surroundings.read(path)) == *seen)
    }

    /// Leaves these files to somebody else who looks at them.
    pub(crate) fn without(mut self, others: &[&Path]) -> Seen {
        self.0.retain(|path, _| !others.contains(&path.as_path()));
        self
    }
}

impl Surroundings for Recorder<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.surroundings.variable(name)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let read = self.surroundings.read(path);
        self.seen.borrow_mut().0.insert(path.to_owned(), digest(&read));
        read
    }

    fn resolve(&self, host: &str) -> io::Result<Vec<std::net::IpAddr>> {
        self.surroundings.resolve(host)
    }

    fn readable_by_others(&self, path: &Path) -> bool {
        self.surroundings.readable_by_others(path)
    }

    fn now(&self) -> SystemTime {
        self.surroundings.now()
    }
}

fn digest(read: &io::Result<Vec<u8>>) -> Option<[u8; 32]> {
    read.as_ref().ok().map(|bytes| Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Fake;

    #[test]
    fn a_file_that_changes_appears_or_goes_is_seen_and_another_is_not() {
        let files = || Fake::new().file("/a", "1").file("/b", "2");
        let before = files();
        let recorder = Recorder::new(&before);
        for path in ["/a", "/b", "/gone"] {
            let _ = recorder.read(Path::new(path));
        }
        let seen = recorder.into_seen();
        assert!(seen.is_current(&files()) && seen.is_current(&files().file("/other", "3")));
        for changed in [files().file("/a", "2"), files().file("/gone", ""), Fake::new().file("/a", "1")] {
            assert!(!seen.is_current(&changed));
        }
        assert!(seen.without(&[Path::new("/a")]).is_current(&files().file("/a", "2")));
    }
}
