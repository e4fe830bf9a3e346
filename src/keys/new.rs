//! A new key, from the operating system's randomness.

use std::fmt;

use data_encoding::HEXLOWER;
use rand::TryRng;
use rand::rngs::{SysError, SysRng};

use crate::config::{self, Secret, key_name};

/// What `otelgate keys new` prints: the key, which is nowhere else, and its entry for keys.yaml.
#[derive(Debug)]
pub struct NewKey {
    name: String,
    key: Secret,
}

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub enum NewKeyError {
    /// The name cannot stand in keys.yaml.
    #[error("the name {0}")]
    Name(String),
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system: {0}")]
    Randomness(SysError),
}

impl NewKey {
    /// A key of 256 random bits, behind a prefix by which scanners find keys in places where none should be.
    ///
    /// # Errors
    /// A name that keys.yaml would refuse, or no randomness.
    pub fn generate(name: &str) -> Result<Self, NewKeyError> {
        let name = key_name(name).map_err(|wrong| NewKeyError::Name(format!("`{name}` {wrong}")))?;
        let mut random = [0; 32];
        SysRng.try_fill_bytes(&mut random).map_err(NewKeyError::Randomness)?;
        Ok(NewKey { name, key: Secret::new(format!("otg_{}", HEXLOWER.encode(&random))) })
    }
}

impl NewKey {
    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key itself, to be shown once.
    pub fn expose(&self) -> &str {
        self.key.expose()
    }

    /// What keys.yaml holds of it.
    pub(super) fn sha256(&self) -> [u8; 32] {
        config::digest_of(self.key.expose().as_bytes())
    }
}

/// What keys.yaml holds of a key that somebody has: the hex digits of its SHA-256.
///
/// # Errors
/// It is not one that a request could present, or is short enough to be guessed.
pub fn digest_of(key: &str) -> Result<String, String> {
    if !super::is_presentable(key.as_bytes()) || key.len() < 16 {
        return Err("is not a key: 16 to 1024 visible ASCII characters without spaces".to_owned());
    }
    Ok(HEXLOWER.encode(&config::digest_of(key.as_bytes())))
}

impl fmt::Display for NewKey {
    /// The entry's lines are indented as keys.yaml wants them under its `keys:`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.expose();
        writeln!(f, "# The key, shown only now. A client sends it as the header `authorization: <key>`.")?;
        writeln!(f, "key: {key}\n")?;
        writeln!(f, "# Its entry, for the list `keys:` of keys.yaml.")?;
        writeln!(f, "  - name: {}\n    sha256: \"{}\"", self.name, HEXLOWER.encode(&self.sha256()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::read_keys;
    use crate::config::testing::{Fake, key_rules};
    use crate::keys::KeyRing;

    #[test]
    fn its_entry_finds_the_key() {
        let printed = NewKey::generate("checkout").unwrap().to_string();
        let key = printed.lines().find_map(|line| line.strip_prefix("key: ")).unwrap();
        let entry = &printed[printed.find("  - name").unwrap()..];
        assert!(key.starts_with("otg_") && key.len() == 68 && !entry.contains(key));
        let file = Fake::new().file("/keys.yaml", format!("keys:\n{entry}"));
        let (entries, _) = read_keys(Path::new("/keys.yaml"), &key_rules(), &file).unwrap();
        assert_eq!(KeyRing::new(entries).find(key.as_bytes()).unwrap().entry.name, "checkout");
    }

    #[test]
    fn no_two_are_the_same_and_names_are_checked() {
        let two = [(); 2].map(|()| NewKey::generate("a").unwrap().key);
        assert_ne!(two[0], two[1]);
        assert!(NewKey::generate("two words").is_err());
        assert!(!format!("{:?}", NewKey::generate("a").unwrap()).contains("otg_"));
    }
}
