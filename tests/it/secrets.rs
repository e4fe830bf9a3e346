//! Nothing that was written, by whatever way something went, holds a key, a token or a password.

use std::fs;
use std::path::Path;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use otelgate::signal::Signal;
use rustix::process::Signal as ProcessSignal;
use serde_json::json;
use stack::{Certificates, Redis};

use crate::support::client::{Call, Client, Protocol};
use crate::support::edge::{Edge, KEY, Setup, keys_yaml};
use crate::support::issuer::{Issuer, Signer, source};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually, get_text, otelgate};

const REDIS: &str = "redis-password-1b7e";
const ADMIN: &str = "admin-token-of-some-length-93c1";
const PASTED: &str = "otg_pasted-where-a-digest-belongs-77aa";
const GUESS: &str = "guessed-key-4c2d9e";
const FROM_FILE: &str = "key-that-lies-in-a-file-8e21";

async fn status(client: &Client, key: &str) -> u16 {
    let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "secrets", 0, 1);
    client.send(Call::export(Protocol::HttpProtobuf, Signal::Logs, key, body)).await.status
}

/// Every file below a folder but those that are there to hold a secret.
fn read_all(folder: &Path, but: &[&Path], into: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).expect("a folder").filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            read_all(&path, but, into);
        } else if !but.contains(&path.as_path()) {
            into.push((path.display().to_string(), fs::read(&path).unwrap_or_default()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::too_many_lines, reason = "one story")]
async fn no_secret_is_in_anything_that_was_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::in_folder(folder.path()).expect("certificates");
    let (issuer, _running) = Issuer::start(&certificates, "127.0.0.1:0").await;
    let (signer, stranger) = (Signer::new("a", Algorithm::ES256), Signer::new("a", Algorithm::ES256));
    issuer.publish(&[signer.jwk()]);
    let redis = match Redis::installed() {
        Some(program) => Some(Redis::start(program, folder.path(), Some((&certificates, REDIS))).await.expect("Redis")),
        None => None,
    };
    // A wrong password first: the server's words about it are not repeated either.
    let port = redis.as_ref().map_or(1, |redis| redis.port);
    let shared = |password: &str| {
        format!(
            "limits: {{ shared: {{ url: \"rediss://localhost:{port}\", ca_file: {}, password: \"{password}\" }} }}\n",
            certificates.ca.display()
        )
    };
    let wrong = "wrong-redis-password-0a5f";
    let key_file = folder.path().join("key.txt");
    fs::write(&key_file, FROM_FILE).expect("written");
    let more = format!("admin: {{ token: \"{ADMIN}\" }}\nspool: {{}}\n");
    let sections = shared(wrong) + &more;
    let source = source(&issuer.url, Some(&certificates.ca), "name_claim: sub");
    let setup = Setup { name: "secrets", key_source: &source, sections: &sections, ..Setup::default() };
    let edge = Edge::start(clickhouse().await, setup).await;
    let client = edge.client(true);
    let entry = format!("  - {{ name: filed, value: \"${{file:{}}}\" }}\n", key_file.display());
    fs::write(edge.keys_file(), keys_yaml(&[]) + &entry).expect("written");
    let good = signer.sign(&issuer.claims());
    let tokens = [
        good.clone(),
        stranger.sign(&issuer.claims()),
        signer.sign(&issuer.with(&json!({ "aud": "else" }))),
        signer.sign(&issuer.with(&json!({ "exp": 5 }))),
    ];
    assert_eq!(eventually(200, || status(&client, FROM_FILE)).await, 200);
    assert_eq!(eventually(200, || status(&client, &good)).await, 200);
    for key in tokens[1..].iter().map(String::as_str).chain([GUESS]) {
        assert_eq!(status(&client, key).await, 401);
    }
    // A key where a digest belongs, and where a certificate's name does.
    let pasted = [
        format!("sha256: {PASTED}"),
        format!("certificate: {PASTED}"),
        format!("{PASTED}: true"),
        format!("value: {PASTED}"),
    ];
    for line in &pasted {
        fs::write(edge.keys_file(), format!("keys: [ {{ name: a, {line} }} ]\n")).expect("written");
        let complaints = edge.logged().matches("the keys stay as they were").count();
        edge.gateway.process.signal(ProcessSignal::HUP).expect("running");
        let said =
            eventually(true, async || edge.logged().matches("the keys stay as they were").count() > complaints).await;
        assert!(said, "{line}: {}", edge.logged());
    }
    let mut written = Vec::new();
    let check = otelgate(&["check", "--config", edge.config().to_str().expect("UTF-8")]).await;
    written.push(("check".to_owned(), [check.stdout, check.stderr].concat()));
    fs::write(edge.keys_file(), keys_yaml(&[])).expect("written");
    for path in ["/metrics", "/status", "/readyz", "/spool", "/else"] {
        written.push((path.to_owned(), get_text(&edge.gateway.admin, path).await.1.into_bytes()));
    }
    assert!(redis.is_none() || edge.logged().contains("limits cannot be shared now"), "{}", edge.logged());
    // And with the right one.
    let config = fs::read_to_string(edge.config()).expect("read");
    fs::write(edge.config(), config.replace(wrong, REDIS)).expect("written");
    let edge = edge.start_again().await;
    let client = edge.client(true);
    assert_eq!(status(&client, KEY).await, 200);
    if redis.is_some() {
        let said = eventually(true, async || edge.logged().contains("limits are shared with the other replicas")).await;
        assert!(said, "{}", edge.logged());
    }
    written.push(("status".to_owned(), get_text(&edge.gateway.admin, "/status").await.1.into_bytes()));
    let (config, place) = (edge.config(), edge.config().parent().expect("a folder").to_owned());
    let ended = edge.gateway.process.stop(Duration::from_secs(60)).await.expect("ends");
    assert!(ended.success(), "{ended}");
    let own = [config.as_path(), edge.certificates.key.as_path(), edge.certificates.client_key.as_path()];
    read_all(&place, &own, &mut written);
    assert!(written.len() > 10, "{}", written.len());
    let signatures = tokens.iter().map(|token| token.rsplit('.').next().expect("parts"));
    let secrets = [KEY, REDIS, wrong, ADMIN, PASTED, GUESS, FROM_FILE, edge.files.password.as_str()]
        .into_iter()
        .chain(signatures);
    for secret in secrets {
        for (place, bytes) in &written {
            let found = bytes.windows(secret.len()).position(|window| window == secret.as_bytes());
            assert!(
                found.is_none(),
                "{secret} is in {place}: {}",
                String::from_utf8_lossy(&bytes[found.unwrap_or(0).saturating_sub(200)..])
            );
        }
    }
    assert!(edge.files.password.len() > 5 && !secretless(&written), "what is searched is there");
}

/// Whether nothing of what is searched was there at all.
fn secretless(written: &[(String, Vec<u8>)]) -> bool {
    !written.iter().any(|(place, bytes)| place.ends_with("otelgate.log") && bytes.len() > 1000)
}
