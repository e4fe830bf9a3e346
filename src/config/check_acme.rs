//! Section `tls.acme`: certificates that are ordered.

use std::net::SocketAddr;
use std::path::PathBuf;

use data_encoding::BASE64URL_NOPAD;
use http::Uri;

use super::rules::{is_loopback, secret};
use super::section::Section;
use super::value::{address, word};
use super::{Acme, Challenge, Eab, Listen, tls_files};

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// The fewest bytes of a key of HMAC with SHA-256, by which an account is bound (RFC 7518 section 3.2).
const HS256: usize = 32;
/// Where directories look for an answer in TLS.
const HTTPS: u16 = 443;

/// The section.
pub(super) fn acme(s: &Section<'_>, listen: &Listen) -> Option<Acme> {
    let domains = s.list("domains", domain);
    if domains.is_none() && !s.has("domains") {
        s.mistake("domains", "is missing; name those by which clients come: [telemetry.example.com]");
    }
    let email = s.optional("email", |text| match text.split_once('@') {
        Some((name, host)) if !name.is_empty() && !host.is_empty() => word(text),
        _ => Err("is no address; write for example ops@example.com".to_owned()),
    });
    let ca_file = s.optional("ca_file", |text| s.reader.path(text));
    if let Some(file) = &ca_file {
        tls_files::check_ca(s, "ca_file", file);
    }
    let acme = Acme {
        domains: domains.unwrap_or_default(),
        email,
        directory: s.or("directory", LETS_ENCRYPT.to_owned(), directory),
        ca_file,
        cache_dir: s.or("cache_dir", PathBuf::new(), |text| s.reader.path(text)),
        challenge: challenge(s, listen),
        eab: s.has("eab").then(|| s.section("eab", eab)).flatten(),
    };
    (!acme.domains.is_empty()).then_some(acme)
}

fn domain(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(plain) && !label.starts_with('-')
    };
    if text.starts_with("*.") {
        return Err("is a wildcard, which takes a challenge in the DNS; name each host".to_owned());
    }
    let good = text.len() <= 253 && text.split('.').all(label) && text.parse::<std::net::IpAddr>().is_err();
    good.then(|| text.to_ascii_lowercase())
        .ok_or_else(|| "is no domain; write for example telemetry.example.com".to_owned())
}

fn directory(text: &str) -> Result<String, String> {
    let good = |uri: &Uri| match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(_)) => true,
        (Some("http"), Some(_)) => is_loopback(uri),
        _ => false,
    };
    let uri = text.parse::<Uri>().ok().filter(good);
    uri.map(|_| text.to_owned())
        .ok_or_else(|| format!("is no https URL of a directory; write for example {LETS_ENCRYPT}"))
}

/// In TLS where the directory finds an OTLP listener at its port, else over HTTP.
fn challenge(s: &Section<'_>, listen: &Listen) -> Challenge {
    let over_http = s.optional("http", address);
    let in_tls = listen.otlp.iter().any(|address| address.port() == HTTPS) && !s.has("http");
    let in_tls = s.or("challenge", in_tls, |text| match text {
        "tls-alpn-01" => Ok(true),
        "http-01" => Ok(false),
        _ => Err("is not done here; write tls-alpn-01 or http-01".to_owned()),
    });
    if in_tls && s.has("http") {
        s.mistake("http", "is for http-01, and `challenge` is tls-alpn-01; keep one of them");
    }
    if in_tls {
        Challenge::TlsAlpn01
    } else {
        Challenge::Http01(over_http.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 80))))
    }
}

fn eab(s: &Section<'_>) -> Option<Eab> {
    let key_id = s.required("key_id", "the directory's owner has it", word);
    let hmac_key = secret(s, "hmac_key");
    if !s.has("hmac_key") {
        s.mistake("hmac_key", "is missing; the directory's owner has it");
    }
    match hmac_key.as_ref().map(|key| BASE64URL_NOPAD.decode(key.expose().as_bytes())) {
        Some(Err(_)) => s.mistake("hmac_key", "is not base64url without padding, as directories hand it out"),
        Some(Ok(key)) if key.len() < HS256 => {
            s.mistake("hmac_key", "is shorter than 32 bytes, which RFC 7518 section 3.2 forbids; ask the directory's owner for another one");
        }
        Some(Ok(_)) | None => {}
    }
    Some(Eab { key_id: key_id?, hmac_key: hmac_key? })
}
