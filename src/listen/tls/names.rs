//! Which certificate a client is shown: the one that is for the name it asks for (SNI, RFC 6066 section 3).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::files::Pair;

/// The certificates, by the names that they are for.
#[derive(Debug)]
pub(super) struct ByName {
    all: Vec<Arc<Pair>>,
    places: HashMap<String, usize>,
}

impl ByName {
    /// Of two that are for one name the first is shown.
    pub(super) fn new(all: Vec<Arc<Pair>>) -> ByName {
        let mut places = HashMap::new();
        for (place, pair) in all.iter().enumerate() {
            for name in &pair.names {
                places.entry(name.clone()).or_insert(place);
            }
        }
        ByName { all, places }
    }

    /// The one for this name, exactly or by a wildcard, which stands for one label; else the first.
    fn of(&self, name: Option<&str>) -> Option<&Arc<Pair>> {
        let name = name.map(str::to_ascii_lowercase).unwrap_or_default();
        let wildcard = || self.places.get(&format!("*.{}", name.split_once('.')?.1));
        let place = self.places.get(&name).or_else(wildcard).copied().unwrap_or_default();
        self.all.get(place)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.of(hello.server_name())?.shown(SystemTime::now()))
    }
}
