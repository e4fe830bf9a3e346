//! A configuration and its keys.yaml, with a zero byte between them: taken, or refused with mistakes that can be shown.
#![no_main]

use std::io;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use otelgate::config::{Surroundings, load, load_keys_place, load_places};

struct Files<'a> {
    config: &'a [u8],
    keys: &'a [u8],
}

impl Surroundings for Files<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "SET").then(|| "value".to_owned())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path.file_name().and_then(|name| name.to_str()) {
            Some("otelgate.yaml") => Ok(self.config.to_vec()),
            Some("keys.yaml") => Ok(self.keys.to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn readable_by_others(&self, _: &Path) -> bool {
        false
    }
}

fuzz_target!(|data: &[u8]| {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (config, keys) = data.split_at(at);
    let files = Files { config, keys: keys.get(1..).unwrap_or_default() };
    let path = Path::new("/etc/otelgate/otelgate.yaml");
    match load(path, &files) {
        Ok(loaded) => drop(format!("{loaded:?}")),
        Err(mistakes) => assert!(!mistakes.to_string().is_empty()),
    }
    drop((load_places(path, &files), load_keys_place(path, &files)));
});
