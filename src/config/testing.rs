//! Surroundings for tests: an environment and files that exist only in memory.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use super::Surroundings;

/// How a text is spoiled: where, how many characters go, and what comes instead.
pub(crate) type Cut = (f64, usize, String);

/// Any accident with a file that somebody edits.
pub(crate) fn cut() -> impl proptest::strategy::Strategy<Value = Cut> {
    (0.0..1.0f64, 0..8usize, "[-a-z0-9:{}\\[\\]\"'#&*!|>%@~ \\n\\t]{0,6}")
}

/// The text after these accidents.
pub(crate) fn spoiled(text: &str, cuts: &[Cut]) -> String {
    let mut text: Vec<char> = text.chars().collect();
    for (at, length, instead) in cuts {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let at = (at * text.len() as f64) as usize;
        let end = (at + length).min(text.len());
        text.splice(at..end, instead.chars());
    }
    text.into_iter().collect()
}

#[derive(Default)]
pub(crate) struct Fake {
    variables: HashMap<String, String>,
    files: HashMap<PathBuf, Vec<u8>>,
    public: HashSet<PathBuf>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Fake::default()
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    pub(crate) fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.into(), content.into());
        self
    }

    pub(crate) fn public(mut self, path: &str) -> Self {
        self.public.insert(path.into());
        self
    }
}

impl Surroundings for Fake {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let found = self.files.get(path).cloned();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        match host {
            "localhost" => Ok(vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]),
            "six.example" => Ok(vec![Ipv6Addr::LOCALHOST.into()]),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn readable_by_others(&self, path: &Path) -> bool {
        self.public.contains(path)
    }
}

/// What keys are read by where nothing is configured.
pub(crate) fn key_rules() -> super::KeyRules {
    let (limits, pages) = (super::rules::DEFAULT_LIMITS, super::AllowedOrigins::Any);
    super::KeyRules { limits, largest: super::Largest { body_bytes: 64 << 20, records: 200_000 }, pages }
}

/// A list of allowed origins.
pub(crate) fn origins(list: &[&str]) -> super::AllowedOrigins {
    super::AllowedOrigins::List(
        list.iter().map(|text| super::origin::Origin::parse(text).expect("an origin")).collect(),
    )
}

/// TLS with one certificate.
pub(crate) fn only_certificate(cert_file: PathBuf, key_file: PathBuf) -> super::Tls {
    let one =
        super::CertificateFiles { section: "tls".to_owned(), cert_file, key_file, ocsp_file: None, ordered: false };
    super::Tls::Files(super::TlsFiles {
        certificates: vec![one],
        client_ca_file: None,
        client_crl_file: None,
        min_version: super::TlsVersion::V1_2,
        acme: None,
    })
}
