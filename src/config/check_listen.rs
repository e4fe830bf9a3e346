//! Section `listen`: addresses, what connections may do, and who may speak for others.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderName, header};
use ipnet::IpNet;

use super::Listen;
use super::section::Section;
use super::value::{address, count, flag, network, positive_time, time};
use crate::proxied::Forwarders;

/// The section.
pub(super) fn listen(s: &Section<'_>) -> Listen {
    // An address that was reported already is not followed by what the default's address would be reported for.
    let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
    let default = if s.has("otlp") { Vec::new() } else { vec![any(4317), any(4318)] };
    let listen = Listen {
        otlp: s.list("otlp", |text| listener(s, text)).unwrap_or(default),
        admin: s.or("admin", SocketAddr::from(([127, 0, 0, 1], 9317)), |text| listener(s, text)),
        max_connections: s.or("max_connections", 10_000, count),
        max_connections_per_ip: s.or("max_connections_per_ip", 256, count),
        max_handshakes_per_second: s.or("max_handshakes_per_second", 1000, count),
        max_handshakes_per_second_per_ip: s.or("max_handshakes_per_second_per_ip", 50, count),
        handshake_timeout: s.or("handshake_timeout", Duration::from_secs(10), positive_time),
        header_timeout: s.or("header_timeout", Duration::from_secs(10), positive_time),
        idle_timeout: s.or("idle_timeout", Duration::from_secs(300), positive_time),
        first_key_timeout: s.or("first_key_timeout", Duration::from_secs(10), positive_time),
        max_connection_age: s.or("max_connection_age", Duration::from_secs(1_800), positive_time),
        connection_age_grace: s.or("connection_age_grace", Duration::from_secs(30), positive_time),
        max_concurrent_streams: s.or("max_concurrent_streams", 128, count),
        proxy_protocol: s.section("proxy_protocol", proxies),
        forwarded: s.has("forwarded").then(|| s.section("forwarded", forwarded)),
        handover: s.or("handover", Duration::from_secs(30), time),
        grpc_reflection: s.or("grpc_reflection", false, flag),
    };
    let mut seen = vec![listen.admin];
    for address in &listen.otlp {
        if address.port() != 0 && seen.contains(address) {
            s.mistake("otlp", format!("{address} is used twice; give each listener an address of its own"));
        }
        seen.push(*address);
    }
    if listen.max_connections_per_ip > listen.max_connections {
        s.mistake("max_connections_per_ip", format!("is more than max_connections ({})", listen.max_connections));
    }
    let handshakes = listen.max_handshakes_per_second;
    if listen.max_handshakes_per_second_per_ip > handshakes {
        let message = format!("is more than max_handshakes_per_second ({handshakes})");
        s.mistake("max_handshakes_per_second_per_ip", message);
    }
    listen
}

/// An address, or a name of this machine with a port. Of a name's addresses one counts, as where the collector listens: the first of IPv4, else the first.
fn listener(s: &Section<'_>, text: &str) -> Result<SocketAddr, String> {
    let (host, port) = match (address(text), text.rsplit_once(':')) {
        (Ok(address), _) => return Ok(address),
        (Err(_), Some((host, port))) if is_host(host) => (host, port.parse().map_err(|_| NO_ADDRESS)?),
        _ => return Err(NO_ADDRESS.to_owned()),
    };
    let all = s.reader.surroundings.resolve(host).map_err(|error| format!("has a name without an address: {error}"))?;
    let first = all.iter().find(|ip| ip.is_ipv4()).or(all.first());
    first.map(|ip| SocketAddr::new(*ip, port)).ok_or_else(|| "has a name without an address".to_owned())
}

const NO_ADDRESS: &str = "is neither an IP address with a port nor a name with one; write for example 0.0.0.0:4317, [::]:4317 or localhost:4317";

/// Not an address that was written wrongly.
fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    text.bytes().all(plain) && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Who is believed to be a proxy. Everybody would be nobody: each could say to be another.
fn proxies(s: &Section<'_>) -> Vec<IpNet> {
    let from = s.list("from", network).unwrap_or_default();
    if from.iter().any(|network| network.prefix_len() == 0) {
        s.mistake("from", "holds every address, so that every client could say to be another; name the balancer's own");
    }
    from
}

fn forwarded(s: &Section<'_>) -> Forwarders {
    let header = s.or("header", HeaderName::from_static("x-forwarded-for"), |text| match text {
        "x-forwarded-for" => Ok(HeaderName::from_static("x-forwarded-for")),
        "forwarded" => Ok(header::FORWARDED),
        _ => Err("is not known here; write x-forwarded-for or forwarded".to_owned()),
    });
    let from = proxies(s);
    if from.is_empty() {
        s.mistake("from", "is missing: without it nobody is believed; name the proxy's addresses");
    }
    Forwarders { from, header }
}
