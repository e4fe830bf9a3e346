//! What a stranger reaches at an address: the ports of the whole stack, and whether they let in who shows nothing.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};

use super::Finding;
use super::knock::{self, Seen, Transport};

/// Ports of the stack, what listens there, and what is to be done about it.
const PORTS: [(u16, &str, &str); 14] = [
    (4317, "the collector's OTLP over gRPC", "stop publishing it; otelgate takes OTLP"),
    (4318, "the collector's OTLP over HTTP", "stop publishing it; otelgate takes OTLP"),
    (8123, "ClickHouse over HTTP", "listen_host 127.0.0.1, or a private network; https on 8443"),
    (8443, "ClickHouse over HTTPS", "let only HyperDX and otelgate reach it"),
    (9000, "ClickHouse's native protocol", "listen_host 127.0.0.1, or a private network"),
    (9440, "ClickHouse's native protocol over TLS", "let only those reach it who use it"),
    (8080, "HyperDX's page", "put a proxy with TLS before it"),
    (8000, "HyperDX's API", "put a proxy with TLS before it"),
    (27017, "MongoDB, which asks nobody for a password by default", "stop publishing it; only the app uses it"),
    (
        4320,
        "HyperDX's OpAMP, which hands out ingestion keys",
        "stop publishing it; collectors and otelgate reach it privately",
    ),
    (8888, "the collector's metrics", "stop publishing it"),
    (13133, "the collector's health check", "stop publishing it"),
    (24225, "the collector's fluentd port, which takes logs without a key", "stop publishing it"),
    (9317, "otelgate's admin listener", "listen.admin: 127.0.0.1:9317"),
];

/// For a name's resolution.
const PATIENCE: Duration = Duration::from_secs(10);

/// What listens at this port of the stack; nothing of it at others.
pub(super) fn of_stack(port: u16) -> Option<&'static str> {
    PORTS.iter().find(|(known, ..)| *known == port).map(|(_, what, _)| *what)
}

/// Knocks at every port. Those in `own` are otelgate's.
pub(super) async fn look(host: &str, own: &[u16]) -> Vec<Finding> {
    if let Err(why) = is_there(host).await {
        return vec![Finding::cannot_tell("exposure", why, format!("looked for {host}"))];
    }
    let knocks = PORTS.iter().filter(|(port, ..)| !own.contains(port)).map(|&(port, ..)| {
        let host = host.to_owned();
        tokio::spawn(async move { (port, knock::at(&host, port).await) })
    });
    let mut found = Vec::new();
    for knock in knocks.collect::<Vec<_>>() {
        // A task ends badly only when the process ends.
        let Ok((port, seen)) = knock.await else { continue };
        found.push(judge(host, port, seen));
    }
    found
}

/// Whether there is a way from here: silence of ports that nobody could reach says nothing.
async fn is_there(host: &str) -> Result<(), String> {
    let addresses = match tokio::time::timeout(PATIENCE, lookup_host((host, 9))).await {
        Ok(Ok(addresses)) => addresses.collect::<Vec<_>>(),
        Ok(Err(error)) => return Err(format!("the name does not resolve: {error}")),
        Err(_) => return Err("the name does not resolve in time".to_owned()),
    };
    let mut why = "the name has no address".to_owned();
    for address in addresses {
        match has_route(address).await {
            Ok(()) => return Ok(()),
            Err(error) => why = format!("no way leads from here to {}: {error}", address.ip()),
        }
    }
    Err(why)
}

/// A datagram's socket that is connected sends nothing; the system only looks for a way.
async fn has_route(address: SocketAddr) -> std::io::Result<()> {
    let from: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    UdpSocket::bind(from).await?.connect(address).await
}

pub(super) fn judge(host: &str, port: u16, seen: Seen) -> Finding {
    let (_, what, mend) = PORTS.iter().find(|(known, ..)| *known == port).copied().unwrap_or((port, "something", ""));
    let ok = Finding::ok("exposure", format!("{port}: nobody answers"), format!("connected to {host}:{port}"));
    let lets_in = match port {
        4317 | 4318 => "takes telemetry of whoever comes, without a key",
        4320 => "answers whoever comes as it answers collectors",
        27017 => "names its databases to whoever comes, without a login",
        _ => "answers statements of whoever comes, without a password",
    };
    let over = |transport| match transport {
        Transport::Plain => "in plaintext",
        Transport::Tls => "over TLS",
    };
    match seen {
        Seen::Closed => ok,
        // What people are to reach, as they are to reach it.
        Seen::Open(Transport::Tls) if [8000, 8080].contains(&port) => {
            Finding { what: format!("{port} answers over TLS: usually {what}"), ..ok }
        }
        Seen::Open(transport) => ok.warning(format!("{port} answers {}: usually {what}", over(transport)), mend),
        Seen::LetsIn(transport) => ok.wrong(format!("{port}, {}, {lets_in}: {what}", over(transport)), mend),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Outcome;

    #[tokio::test]
    async fn of_a_name_that_nobody_has_nothing_is_told_once() {
        let found = look("no.such.invalid", &[]).await;
        let [finding] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(finding.outcome, Outcome::CannotTell, "{finding}");
        assert!(finding.what.contains("does not resolve"), "{finding}");
        assert_eq!(is_there("127.0.0.1").await, Ok(()));
    }
}
