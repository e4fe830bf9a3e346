//! Handshakes: who is let in, and what is said to who is not.

use std::sync::Arc;

use super::support::handshake;
use super::*;

#[tokio::test]
async fn alpn_chooses_the_version_and_plaintext_tells_them_apart() {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    let gateway = Gateway::start(limits(), ca.write(dir.path(), false)).await;
    for (alpn, version) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2),
        (&["http/1.1"], Version::HTTP_11),
        (&[], Version::HTTP_11),
        (&[], Version::HTTP_2),
    ] {
        let stream = ca.connect(&gateway, alpn, None).await.expect("TLS");
        let chosen = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        assert_eq!(chosen, alpn.first().map(|name| name.as_bytes().to_vec()));
        let mut client = Client::over(stream, version).await;
        let answer = client.post("/").await.expect("an answer");
        assert_eq!(answer, (StatusCode::OK, format!("{version:?} 127.0.0.1")));
    }
    let gateway = Gateway::plaintext(limits()).await;
    for version in BOTH {
        let mut client = gateway.client(version).await;
        let answer = client.post("/").await.expect("an answer");
        assert_eq!(answer, (StatusCode::OK, format!("{version:?} 127.0.0.1")));
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_come_blocks_nobody_and_ends() {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    let limits = config::Listen { handshake_timeout: LIMIT, ..limits() };
    let gateway = Gateway::start(limits, ca.write(dir.path(), false)).await;
    let mut silent = gateway.connect().await;
    let stream = ca.connect(&gateway, &["h2"], None).await.expect("TLS");
    let mut client = Client::over(stream, Version::HTTP_2).await;
    client.post("/").await.expect("an answer meanwhile");
    closed(&mut silent).await;
    let mut garbage = gateway.connect().await;
    garbage.write_all(b"\x16no record of TLS").await.expect("sent");
    closed(&mut garbage).await;
    for reason in ["timeout", "failed"] {
        let failed = &gateway.metrics.handshakes_failed;
        let count = failed.get_or_create(&Reason { reason }).get();
        assert_eq!(count, 1, "{reason}");
    }
    client.post("/").await.expect("an answer still");
}

#[tokio::test]
async fn plain_http_to_a_tls_port_is_told_so() {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    let gateway = Gateway::start(limits(), ca.write(dir.path(), false)).await;
    let mut plain = gateway.connect().await;
    let body = vec![b'x'; 1 << 20];
    let head = format!("POST /v1/logs HTTP/1.1\r\nhost: gateway\r\ncontent-length: {}\r\n\r\n", body.len());
    plain.write_all(head.as_bytes()).await.expect("sent");
    plain.write_all(&body).await.expect("sent");
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.expect("an answer, not a reset");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("This port speaks TLS"), "{answer}");
    assert!(answer.contains("content-type: text/plain"), "{answer}");

    let (mut client, connection) = h2::client::handshake(gateway.connect().await).await.expect("a preface");
    let request = ::http::Request::post("http://gateway/v1/logs").body(()).expect("a request");
    let (sent, ended) = tokio::join!(async { client.send_request(request, true)?.0.await }, connection);
    let error = sent.err().or(ended.err()).expect("no answer").to_string();
    assert!(error.contains("this port speaks TLS"), "{error}");
    let failed = &gateway.metrics.handshakes_failed;
    eventually(|| failed.get_or_create(&Reason { reason: "plain_http" }).get() == 2).await;
}

#[tokio::test]
async fn a_client_certificate_is_asked_for_when_configured() {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    let gateway = Gateway::start(limits(), ca.write(dir.path(), true)).await;
    for (own, admitted) in [(None, false), (Some(Ca::new().sign()), false), (Some(ca.sign()), true)] {
        // In TLS 1.3 the client is done before the server has looked at its certificate.
        let answer = match ca.connect(&gateway, &["http/1.1"], own).await {
            Ok(stream) => Client::over(stream, Version::HTTP_11).await.post("/").await.ok(),
            Err(_) => None,
        };
        assert_eq!(answer.is_some(), admitted);
    }
}

#[tokio::test]
async fn a_missing_client_certificate_is_told_whatever_the_client_had_sent() {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    let gateway = Gateway::start(limits(), ca.write(dir.path(), true)).await;
    let head = "POST /read HTTP/1.1\r\nhost: gateway\r\ncontent-length: 4194304\r\n\r\n";
    for (own, bytes, alert) in [
        (None, 0, "CertificateRequired"),
        (None, 100, "CertificateRequired"),
        (None, 4 << 20, "CertificateRequired"),
        (Some(Ca::new().sign()), 100, "fatal alert"),
    ] {
        let mut stream = ca.connect(&gateway, &["http/1.1"], own).await.expect("done before the server has looked");
        let request = [head.as_bytes(), &vec![b'x'; bytes]].concat();
        // What does not go out any more is no matter, as long as the reason comes in.
        let _ = stream.write_all(&request).await;
        let error = stream.read_to_end(&mut Vec::new()).await.expect_err("refused").to_string();
        assert!(error.contains(alert), "{bytes}: {error}");
    }
    let failed = &gateway.metrics.handshakes_failed;
    eventually(|| failed.get_or_create(&Reason { reason: "failed" }).get() == 4).await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart() {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    let gateway = Gateway::start(limits(), ca.write(dir.path(), false)).await;
    let shown = async || {
        let stream = ca.connect(&gateway, &["h2"], None).await.expect("TLS");
        stream.get_ref().1.peer_certificates().map(<[_]>::to_vec)
    };
    let tls = gateway.tls.clone().expect("TLS");
    let keeping = tokio::spawn(tls.keep_current(crate::rounds::Rounds::start().expect("a thread")));
    let before = shown().await;
    std::fs::write(dir.path().join("cert.pem"), "not yet whole").expect("written");
    assert_eq!(shown().await, before);
    ca.write(dir.path(), false);
    tokio::time::timeout(SOON, async {
        while shown().await == before {
            tokio::time::sleep(SHORT).await;
        }
    })
    .await
    .expect("the new certificate in time");
    keeping.abort();
}

#[tokio::test]
async fn handshakes_beyond_the_limit_are_closed_and_those_that_resume_are_not_counted() {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    // What is saved up is as much as there may be connections; what comes back in this test's time is little.
    for (limits, reason) in [
        (
            config::Listen { max_connections_per_ip: 3, max_handshakes_per_second_per_ip: 1, ..limits() },
            "handshakes_per_address",
        ),
        (config::Listen { max_connections: 3, max_handshakes_per_second: 1, ..limits() }, "handshakes"),
    ] {
        let gateway = Gateway::start(limits, ca.write(dir.path(), false)).await;
        let new = || Arc::new(ca.client(rustls::ALL_VERSIONS, None));
        let refused = || gateway.metrics.connections_refused.get_or_create(&Reason { reason }).get();
        let same = new();
        // Each is done before the next, so that it is not connections that are too many. A ticket is for one use and comes with the answer.
        for _ in 0..10 {
            let stream = handshake(gateway.connect().await, "gateway", Arc::clone(&same)).await.expect("resumed");
            let mut client = Client::over(stream, Version::HTTP_11).await;
            client.post("/").await.expect("an answer");
            drop(client);
            eventually(|| gateway.metrics.connections_open.get() == 0).await;
        }
        assert_eq!(refused(), 0);
        tokio::time::timeout(SOON, async {
            while refused() == 0 {
                let all = (0..3).map(|_| async { handshake(gateway.connect().await, "gateway", new()).await.is_ok() });
                for one in all {
                    one.await;
                }
            }
        })
        .await
        .expect("a fleet of new clients meets the limit");
        // A second later it is let in again.
        tokio::time::timeout(SOON, async {
            while handshake(gateway.connect().await, "gateway", new()).await.is_err() {
                tokio::time::sleep(SHORT).await;
            }
        })
        .await
        .expect("let in");
    }
}
