//! keys.yaml as `otelgate keys` changes it: one change at a time, whole or not at all, with the file's owner and mode.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use super::{NewKey, NewKeyError};
use crate::config::{EditError, KeyEntry, KeysText, Surroundings};
use crate::state_file;

/// Why the file stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What stands in it.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// No key could be made.
    #[error(transparent)]
    New(#[from] NewKeyError),
}

/// keys.yaml, which nobody else changes by `otelgate keys` as long as this lives.
pub struct KeysYaml<'a> {
    /// Where the bytes lie: a link stays a link.
    path: PathBuf,
    /// What stands there; none when there is no file yet.
    text: Option<String>,
    surroundings: &'a dyn Surroundings,
    _lock: File,
}

/// A key that took the place of another.
#[derive(Debug)]
pub struct Rotated {
    /// The new key.
    pub key: NewKey,
    /// What the old one is called now.
    pub old_name: String,
    /// It is good until then.
    pub old_until: SystemTime,
    /// The new one is good until then, as the old one was.
    pub expires: Option<SystemTime>,
}

impl<'a> KeysYaml<'a> {
    /// Waits until nobody else changes the file, and reads it. It need not be there yet.
    ///
    /// # Errors
    /// [`ChangeError::Io`].
    pub fn open(path: &Path, surroundings: &'a dyn Surroundings) -> Result<KeysYaml<'a>, ChangeError> {
        let failed = |source| ChangeError::Io { path: path.to_owned(), source };
        let path = match fs::canonicalize(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            found => found.map_err(failed)?,
        };
        let folder = File::open(state_file::folder_of(&path)).map_err(failed)?;
        // Where locks are not to be had, two people at the same moment are all that this is about.
        let _ = flock(&folder, FlockOperation::LockExclusive);
        let text = match surroundings.read(&path) {
            Ok(bytes) => Some(String::from_utf8(bytes).map_err(|error| failed(io::Error::other(error)))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        Ok(KeysYaml { path, text, surroundings, _lock: folder })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its entries; limits that are not written are the defaults.
    ///
    /// # Errors
    /// [`ChangeError::Edit`]: it has mistakes.
    pub fn entries(&self) -> Result<Vec<KeyEntry>, ChangeError> {
        Ok(self.read()?.entries().to_vec())
    }

    /// Adds a new key at the end. A file that is not there is made.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn add(&self, name: &str) -> Result<NewKey, ChangeError> {
        let key = NewKey::generate(name)?;
        self.write(&self.read()?.with_new(name, key.sha256())?)?;
        Ok(key)
    }

    /// Disables a key: it is refused from the next look at the file on, whichever source has it too. Returns the names of its predecessors that are
    /// still good.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn revoke(&self, name: &str) -> Result<Vec<String>, ChangeError> {
        let keys = self.read()?;
        self.write(&keys.with_disabled(name)?)?;
        let predecessor = format!("{name}.old-");
        let good = |entry: &&KeyEntry| entry.enabled && entry.expires.is_none_or(|expires| SystemTime::now() < expires);
        let old = keys.entries().iter().filter(|entry| entry.name.starts_with(&predecessor)).filter(good);
        Ok(old.map(|entry| entry.name.clone()).collect())
    }

    /// Gives a name a new key; the old one is good for `grace` longer.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn rotate(&self, name: &str, grace: Duration) -> Result<Rotated, ChangeError> {
        let key = NewKey::generate(name)?;
        let until = SystemTime::now().checked_add(grace).unwrap_or(SystemTime::UNIX_EPOCH);
        let keys = self.read()?;
        let expires = keys.entries().iter().find(|entry| entry.name == name).and_then(|entry| entry.expires);
        let (text, old) = keys.with_rotated(name, key.sha256(), until)?;
        self.write(&text)?;
        Ok(Rotated { key, old_name: old.name, old_until: old.expires.unwrap_or(until), expires })
    }

    fn read(&self) -> Result<KeysText<'_>, ChangeError> {
        Ok(KeysText::read(&self.path, self.text.as_deref().unwrap_or("keys: []\n"), self.surroundings)?)
    }

    fn write(&self, text: &str) -> Result<(), ChangeError> {
        let written = || {
            // An editor takes no lock.
            let now = match self.surroundings.read(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                now => Some(now?),
            };
            if now.as_deref() != self.text.as_ref().map(|text| text.as_bytes()) {
                return Err(io::Error::other("was changed by somebody else at this moment; do it again"));
            }
            // A new one belongs to whom the folder belongs: root makes it for the user that otelgate runs as.
            let (like, mode) = match fs::metadata(&self.path) {
                Ok(file) => (file.clone(), file.mode() & 0o7777),
                Err(_) => (fs::metadata(state_file::folder_of(&self.path))?, 0o600),
            };
            state_file::replace_as(&self.path, text.as_bytes(), mode, (like.uid(), like.gid()))
        };
        written().map_err(|source| ChangeError::Io { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::config::Process;
    use crate::keys::KeyRing;

    #[test]
    fn a_file_is_made_changed_and_keeps_its_mode_and_its_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("keys.yaml"), folder.path().join("link.yaml"));
        let open = |path: &Path| KeysYaml::open(path, &Process).unwrap();
        let first = open(&path).add("shop").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("keys.yaml", &link).unwrap();
        let rotated = open(&link).rotate("shop", Duration::from_secs(3600)).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        let ring = KeyRing::new(open(&path).entries().unwrap());
        let valid = |key: &NewKey| ring.find(key.expose().as_bytes()).unwrap().is_valid(SystemTime::now());
        assert!(valid(&first) && valid(&rotated.key));
        assert_eq!(rotated.old_name, "shop.old-1");
        assert_eq!(open(&path).revoke("shop").unwrap(), ["shop.old-1"]);
        let ring = KeyRing::new(open(&path).entries().unwrap());
        let valid = |key: &NewKey| ring.find(key.expose().as_bytes()).unwrap().is_valid(SystemTime::now());
        assert!(valid(&first) && !valid(&rotated.key));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside it");
    }

    #[test]
    fn two_changes_at_once_are_both_there_and_an_editors_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.yaml");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let path = &path;
                scope.spawn(move || KeysYaml::open(path, &Process).unwrap().add(&format!("key-{number}")).unwrap());
            }
        });
        let open = KeysYaml::open(&path, &Process).unwrap();
        assert_eq!(open.entries().unwrap().len(), 8);
        fs::write(&path, "keys: []\n").unwrap();
        assert!(matches!(open.add("late"), Err(ChangeError::Io { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "keys: []\n");
    }
}
