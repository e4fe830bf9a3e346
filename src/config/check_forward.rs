//! Section `sink.forward`: the collector, or any other OTLP endpoint, behind the gateway.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::rules::{is_loopback, secret};
use super::section::Section;
use super::value::{count, positive_size, positive_time, word};
use super::{Endpoint, Forward, ForwardCompression, ForwardProtocol, tls_files};
use crate::certificate::Purpose;

/// What gRPC servers take unless they are told otherwise.
const GRPC_DEFAULT: usize = 4 << 20;
/// An export request has to hold a record and what it belongs to.
const SMALLEST_MESSAGE: u64 = 64 << 10;

pub(super) fn forward(s: &Section<'_>) -> Forward {
    if !s.has("endpoint") {
        s.mistake("endpoint", "is missing; write for example http://collector:4317");
    }
    let protocol = s.or("protocol", ForwardProtocol::Grpc, protocol);
    let endpoints: Vec<_> = s.entries("endpoint", "url", |s| endpoint(s, protocol)).into_iter().flatten().collect();
    let token = s.has("token").then(|| secret(s, "token")).flatten();
    let far = |url: &&Uri| url.scheme_str() == Some("http") && !is_loopback(url);
    if let Some(url) = endpoints.iter().map(|endpoint| &endpoint.url).find(far) {
        let what = if token.is_some() { "token and telemetry travel" } else { "telemetry travels" };
        s.warning("endpoint", format!("{what} readable to {url}; use https, or a network that nobody else is on"));
    }
    refuse_pass_key(s);
    let ca_file = s.optional("ca_file", |text| s.reader.path(text));
    if let Some(file) = &ca_file {
        tls_files::check_ca(s, "ca_file", file);
    }
    Forward {
        zone: zone(s, &endpoints),
        endpoints,
        protocol,
        compression: s.or("compression", ForwardCompression::None, compression),
        token,
        ca_file,
        client_certificate: client_certificate(s),
        max_message_bytes: s.or("max_message_bytes", GRPC_DEFAULT, message_size),
        timeout: s.or("timeout", Duration::from_secs(30), positive_time),
        exports_per_signal: s.or("exports_per_signal", 4, count),
    }
}

fn endpoint(s: &Section<'_>, protocol: ForwardProtocol) -> Option<Endpoint> {
    let remedy = "write for example http://collector:4317";
    let (url, zone) = (s.required("url", remedy, |text| endpoint_url(text, protocol)), s.optional("zone", word));
    Some(Endpoint { url: url?, zone })
}

/// The zone that otelgate is in. One configuration may serve gateways of which some do not know theirs: `${env:ZONE:-}`.
fn zone(s: &Section<'_>, endpoints: &[Endpoint]) -> Option<String> {
    let zoned = endpoints.iter().any(|endpoint| endpoint.zone.is_some());
    if !s.has("zone") {
        if zoned {
            s.mistake("zone", "is missing; say which zone this otelgate is in, for example `zone: \"${env:ZONE}\"`");
        }
        return None;
    }
    let zone = (!s.is_absent("zone")).then(|| s.optional("zone", word)).flatten()?;
    if !endpoints.iter().any(|endpoint| endpoint.zone.as_ref() == Some(&zone)) {
        s.warning("zone", format!("no endpoint is in the zone {zone}; all of them are used alike"));
    }
    Some(zone)
}

/// An export request holds records of many keys and may lie on a disk, where no key is ever written.
fn refuse_pass_key(s: &Section<'_>) {
    if s.has("pass_key") && s.optional("pass_key", super::value::flag) != Some(false) {
        s.mistake(
            "pass_key",
            "cannot be honoured: one export holds records of many keys, and no key is kept once its request is checked; \
             give the collector a `token`, and tell clients apart by `resource` in keys.yaml",
        );
    }
}

fn client_certificate(s: &Section<'_>) -> Option<(PathBuf, PathBuf)> {
    let path = |name| s.optional(name, |text| s.reader.path(text));
    match (path("cert_file"), path("key_file")) {
        (Some(certificate), Some(key)) => {
            tls_files::check(s, &certificate, &key, Purpose::Client);
            Some((certificate, key))
        }
        (None, None) => None,
        (Some(_), None) => {
            s.mistake("key_file", "is missing; `cert_file` needs its private key");
            None
        }
        (None, Some(_)) => {
            s.mistake("cert_file", "is missing; `key_file` belongs to a certificate");
            None
        }
    }
}

fn endpoint_url(text: &str, protocol: ForwardProtocol) -> Result<Uri, String> {
    let wrong = || "is not a URL; write for example http://collector:4317".to_owned();
    let url: Uri = text.parse().map_err(|_| wrong())?;
    let authority = url.authority().ok_or_else(wrong)?;
    if authority.as_str().contains('@') {
        return Err("holds a user or password; what the collector wants to see is `token`".to_owned());
    }
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err("is neither http:// nor https://".to_owned());
    }
    if url.query().is_some() || protocol == ForwardProtocol::Grpc && url.path() != "/" {
        return Err("holds a path or query; over gRPC write scheme, host and port only".to_owned());
    }
    if url.path().contains("/v1/") {
        return Err("ends with a signal's path; leave out /v1/…, it is added for each signal".to_owned());
    }
    Ok(url)
}

fn protocol(text: &str) -> Result<ForwardProtocol, String> {
    match text {
        "grpc" => Ok(ForwardProtocol::Grpc),
        "http" => Ok(ForwardProtocol::Http),
        _ => Err("is not a protocol; known are grpc, http (protobuf bodies)".to_owned()),
    }
}

fn compression(text: &str) -> Result<ForwardCompression, String> {
    match text {
        "none" => Ok(ForwardCompression::None),
        "gzip" => Ok(ForwardCompression::Gzip),
        "zstd" => Ok(ForwardCompression::Zstd),
        _ => Err("is not a compression; known are none, gzip, zstd".to_owned()),
    }
}

fn message_size(text: &str) -> Result<usize, String> {
    let size = positive_size(text)?;
    if size < SMALLEST_MESSAGE {
        return Err("is too small; at least 64KiB, so that a record fits".to_owned());
    }
    // A gRPC message's length is a 32-bit number.
    u32::try_from(size).ok().and_then(|size| usize::try_from(size).ok()).ok_or_else(|| "is over 4 GiB".to_owned())
}
