//! The own OTLP listeners, as a client meets them: which versions of TLS are spoken there.
//!
//! Asked with a ClientHello each, written by hand: no library that is in use offers what must not be spoken. The answer's first bytes tell, nothing is
//! agreed on and no certificate is looked at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Finding;

const PATIENCE: Duration = Duration::from_secs(2);
/// Name and number of each version.
const VERSIONS: [(&str, u16); 4] = [("TLS 1.0", 0x0301), ("TLS 1.1", 0x0302), ("TLS 1.2", 0x0303), ("TLS 1.3", 0x0304)];

/// Asks at each address.
pub(super) async fn look(addresses: &[SocketAddr], plaintext: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    for address in addresses {
        let address = reachable(*address);
        let mut offered = Vec::new();
        for (name, version) in VERSIONS {
            match offers(address, version).await {
                Some(true) => offered.push(name),
                Some(false) => {}
                None => break,
            }
        }
        let answers = TcpStream::connect(address).await.is_ok();
        found.push(judge(address, answers, plaintext, &offered));
    }
    found
}

pub(super) fn judge(address: SocketAddr, answers: bool, plaintext: bool, offered: &[&str]) -> Finding {
    let how = format!("began a handshake of each version with {address}");
    let ok = Finding::ok("TLS versions", format!("{address}: {}", offered.join(", ")), how.clone());
    if !answers {
        return Finding::cannot_tell("TLS versions", format!("nobody answers at {address}; is otelgate running?"), how);
    }
    match offered {
        [] if plaintext => Finding { what: format!("{address}: plaintext, as the configuration has it"), ..ok },
        [] => ok.wrong(
            format!("{address} speaks no TLS, though the configuration says so"),
            "who listens there? restart otelgate, or free the port",
        ),
        old if old.contains(&"TLS 1.0") || old.contains(&"TLS 1.1") => ok.wrong(
            format!("{address} speaks {}: the old ones are broken, and not otelgate's", old.join(", ")),
            "a proxy ends TLS there; allow TLS 1.2 and 1.3 only in it",
        ),
        new if !new.contains(&"TLS 1.3") => ok.warning(
            format!("{address} speaks no TLS 1.3, which otelgate does"),
            "a proxy ends TLS there; allow TLS 1.3 in it",
        ),
        _ => ok,
    }
}

/// An address that a client can connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Whether this version is agreed to; unknown where nobody answers.
async fn offers(address: SocketAddr, version: u16) -> Option<bool> {
    let mut stream = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await.ok()?.ok()?;
    stream.write_all(&hello(version)).await.ok()?;
    let mut answer = [0; 11];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await;
    let agreed = matches!(read, Ok(Ok(_)));
    // A record of the handshake (22) with a ServerHello (2): its own version, which for 1.3 is still 1.2's.
    let chosen = u16::from_be_bytes([answer[9], answer[10]]);
    Some(agreed && answer[0] == 22 && answer[5] == 2 && chosen == version.min(0x0303))
}

/// A ClientHello (RFC 5246, RFC 8446) that offers one version.
fn hello(version: u16) -> Vec<u8> {
    let with_length = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let extension = |kind: u16, body: &[u8]| [&kind.to_be_bytes()[..], &with_length(body)].concat();
    let modern = version == 0x0304;
    // For 1.3 its three; before, those with AES in GCM and CBC, for both kinds of keys.
    let ciphers: &[u16] = if modern {
        &[0x1301, 0x1302, 0x1303]
    } else {
        &[0xc02b, 0xc02f, 0xc02c, 0xc030, 0xc009, 0xc013, 0xc00a, 0xc014, 0x002f, 0x0035]
    };
    let ciphers: Vec<u8> = ciphers.iter().flat_map(|cipher| cipher.to_be_bytes()).collect();
    // Groups: x25519, P-256. Signatures: ECDSA and RSA with SHA-256, RSA-PSS, Ed25519, and SHA-1 for the old ones.
    let mut extensions = [
        extension(10, &with_length(&[0x00, 0x1d, 0x00, 0x17])),
        extension(11, &[1, 0]),
        extension(13, &with_length(&[4, 3, 4, 1, 8, 4, 8, 7, 5, 3, 2, 3, 2, 1])),
    ]
    .concat();
    if modern {
        let share = [&[0x00, 0x1d][..], &with_length(&rand::random::<[u8; 32]>())].concat();
        extensions.extend(extension(43, &[2, 3, 4]));
        extensions.extend(extension(51, &with_length(&share)));
    }
    let mut body = version.min(0x0303).to_be_bytes().to_vec();
    body.extend(rand::random::<[u8; 32]>());
    // No session.
    body.push(0);
    body.extend(with_length(&ciphers));
    // No compression.
    body.extend([1, 0]);
    body.extend(with_length(&extensions));
    let handshake = [&[1, 0][..], &with_length(&body)].concat();
    [&[22, 3, 1][..], &with_length(&handshake)].concat()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    /// A server of these versions.
    async fn serving(versions: &[&'static rustls::SupportedProtocolVersion]) -> SocketAddr {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a certificate");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(acceptor.accept(stream));
            }
        });
        address
    }

    #[tokio::test]
    async fn the_versions_of_a_real_server_are_found() {
        for (versions, offered) in [
            (&[&rustls::version::TLS12, &rustls::version::TLS13][..], [false, false, true, true]),
            (&[&rustls::version::TLS12], [false, false, true, false]),
            (&[&rustls::version::TLS13], [false, false, false, true]),
        ] {
            let address = serving(versions).await;
            for ((name, version), offered) in VERSIONS.into_iter().zip(offered) {
                assert_eq!(offers(address, version).await, Some(offered), "{name}");
            }
        }
    }
}
