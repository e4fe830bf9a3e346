//! Where keys come from, and the ring in which a presented key is found.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};

use crate::admit::KeyState;
use crate::config::KeyEntry;

/// A key as the path sees it.
#[derive(Debug)]
pub struct Key {
    /// What keys.yaml says of it.
    pub entry: KeyEntry,
    /// What it has used. Shared by the old and the new [`Key`] when a reload did not change its digest and limits.
    pub state: Arc<KeyState>,
}

/// All keys by the SHA-256 of their value; replaced as a whole by a reload.
#[derive(Debug)]
pub struct KeyRing {
    keys: ArcSwap<HashMap<[u8; 32], Arc<Key>>>,
}

impl KeyRing {
    /// A ring of these keys, with nothing used.
    pub fn new(entries: impl IntoIterator<Item = KeyEntry>) -> Self {
        let keys = entries.into_iter().map(|entry| {
            let state = Arc::new(KeyState::new(&entry.limits));
            (entry.sha256, Arc::new(Key { entry, state }))
        });
        KeyRing { keys: ArcSwap::from_pointee(keys.collect()) }
    }

    /// The key whose digest is that of the presented bytes. Whether it is enabled and not expired is the caller's to check.
    pub fn find(&self, presented: &[u8]) -> Option<Arc<Key>> {
        let digest: [u8; 32] = Sha256::digest(presented).into();
        self.keys.load().get(&digest).cloned()
    }
}
