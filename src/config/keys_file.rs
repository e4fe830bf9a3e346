//! keys.yaml: who may send, what, and how much. The file holds digests, never a key.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use data_encoding::HEXLOWER_PERMISSIVE;

use super::remark::{Mistakes, Remark, Remarks};
use super::rules::{key_limits, origins, resource, signals};
use super::section::{Reader, Section};
use super::substitute::is_reference;
use super::value::{flag, name};
use super::{KeyEntry, KeyRules, Surroundings, digest_of};
use crate::certificate::CertificateName;

/// Reads keys.yaml by `rules`.
///
/// # Errors
/// Every mistake at once, each with its line.
pub(crate) fn read_keys(
    file: &Path,
    rules: &KeyRules,
    surroundings: &dyn Surroundings,
) -> Result<(Vec<KeyEntry>, Vec<Remark>), Mistakes> {
    let (keys, remarks) = check(file, rules, surroundings);
    let (keys, _, warnings) = remarks.into_result(keys)?;
    Ok((keys, warnings))
}

pub(super) fn check(file: &Path, rules: &KeyRules, surroundings: &dyn Surroundings) -> (Vec<KeyEntry>, Remarks) {
    let reader = Reader::new(file, surroundings);
    let keys = reader.document(&format!("; {HOW}"), |top| keys(top, rules));
    (keys.unwrap_or_default(), reader.into_remarks())
}

fn keys(top: &Section<'_>, rules: &KeyRules) -> Vec<KeyEntry> {
    if !top.has("keys") {
        top.mistake("keys", format!("is missing; {HOW}"));
    }
    let mut seen = Seen::default();
    let keys = top.sections("keys", |section| {
        let key = key(section, rules);
        seen.check(section, key.as_ref());
        key
    });
    if keys.is_empty() && top.has("keys") {
        top.warning("keys", NO_KEY);
    }
    keys.into_iter().flatten().collect()
}

/// What is said of a file whose entries are all absent, where there is no other source.
pub(super) fn no_key(file: &Path) -> Remark {
    of_the_whole(file, NO_KEY)
}

/// What is said of a file with certificates of clients, where none is asked for.
pub(super) fn no_certificate(file: &Path) -> Remark {
    of_the_whole(file, "names certificates of clients, and none is asked for: that takes tls.client_ca_file")
}

fn of_the_whole(file: &Path, message: &str) -> Remark {
    let mark = super::yaml::Mark { line: 1, column: 1 };
    Remark { file: file.display().to_string(), mark, path: "keys".to_owned(), message: message.to_owned() }
}

const NO_KEY: &str = "no key is listed, so every request is refused that has no key of another source";

const HOW: &str = "`otelgate keys new --name NAME` prints a key and its entry";

/// `None` after a mistake that leaves nothing to compare with the other keys, or where the key is a variable that may be absent and is.
fn key(s: &Section<'_>, rules: &KeyRules) -> Option<KeyEntry> {
    let name = s.required("name", "it stands in logs and metrics instead of the key", name);
    let certificate = certificate(s);
    let sha256 = if s.has("certificate") { certificate.as_ref().map(CertificateName::digest) } else { sha256(s) };
    let signals = signals(s);
    let expires = s.optional("expires", expires);
    let enabled = s.or("enabled", true, flag);
    let limits = s.section("limits", |section| key_limits(section, rules.limits, rules.largest));
    let (origins, resource) = (origins(s, &rules.pages), resource(s));
    Some(KeyEntry { name: name?, sha256: sha256?, certificate, signals, expires, enabled, limits, resource, origins })
}

/// The client certificate to which the entry belongs instead of to who presents a key.
fn certificate(s: &Section<'_>) -> Option<CertificateName> {
    if let Some(other) = ["sha256", "value"].into_iter().find(|name| s.has("certificate") && s.has(name)) {
        // Asked for once more, so that it is known.
        s.mistake("certificate", format!("and `{other}` are both set; keep one"));
    }
    // What stands there may be a key, so it is not repeated.
    let text = s.text("certificate")?;
    CertificateName::parse(&text.resolved).map_err(|wrong| s.mistake("certificate", wrong)).ok()
}

/// The digest, written or made of a value that stands elsewhere. Neither is ever shown: what stands here may be a key.
fn sha256(s: &Section<'_>) -> Option<[u8; 32]> {
    match (s.has("sha256"), s.has("value")) {
        (true, true) => {
            s.mistake("value", "and `sha256` are both set; keep one");
            None
        }
        (false, false) => {
            s.mistake_here(format!("has none of `sha256`, `value` and `certificate`; {HOW}"));
            None
        }
        (true, false) => {
            let digest = s.text("sha256").and_then(|text| parse_digest(&text.resolved));
            if digest.is_none() {
                s.mistake(
                    "sha256",
                    format!("is not the 64 hex digits of a key's SHA-256; never write the key itself; {HOW}"),
                );
            }
            digest
        }
        (false, true) => value(s),
    }
}

fn value(s: &Section<'_>) -> Option<[u8; 32]> {
    if s.is_absent("value") {
        return None;
    }
    let text = s.text("value")?;
    if !is_reference(&text.written) {
        s.mistake(
            "value",
            format!("is a plain key; replace it by `sha256` ({HOW}), or by \"${{env:NAME}}\" or \"${{file:PATH}}\", and change the key: whoever read this file knows it"),
        );
        return None;
    }
    let key = text.resolved.trim();
    if key.len() < 16 || !key.bytes().all(|b| b.is_ascii_graphic()) {
        s.mistake("value", "does not name a key: 16 or more visible ASCII characters without spaces");
        return None;
    }
    Some(digest_of(key.as_bytes()))
}

fn parse_digest(text: &str) -> Option<[u8; 32]> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}

fn expires(text: &str) -> Result<SystemTime, String> {
    let time: Result<jiff::Timestamp, _> = text.parse();
    time.map(SystemTime::from).map_err(|_| "is not a time; write for example 2027-06-01T00:00:00Z".to_owned())
}

/// Names and digests so far, with the line that had them first.
#[derive(Default)]
struct Seen {
    names: BTreeMap<String, usize>,
    digests: BTreeMap<[u8; 32], usize>,
}

impl Seen {
    fn check(&mut self, s: &Section<'_>, key: Option<&KeyEntry>) {
        let Some(key) = key else { return };
        let line = s.line();
        if let Some(first) = self.names.get(&key.name) {
            s.mistake("name", format!("`{}` is also the name of the key in line {first}", key.name));
        }
        if let Some(first) = self.digests.get(&key.sha256) {
            let name = if key.certificate.is_some() { "certificate" } else { "sha256" };
            s.mistake(name, format!("is the same key as the one in line {first}"));
        }
        self.names.entry(key.name.clone()).or_insert(line);
        self.digests.entry(key.sha256).or_insert(line);
    }
}
