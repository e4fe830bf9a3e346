//! Tokens of an OpenID Connect issuer as keys: those that are true pass, and no other.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::Ordering;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use otelgate::signal::Signal;
use serde_json::{Value, json};
use stack::Certificates;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::client::{Call, Client, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::issuer::{Issuer, Signer, now, source};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually, get_text};

async fn status(client: &Client, signal: Signal, token: &str) -> u16 {
    let body = numbered(signal, Protocol::HttpProtobuf, "oidc", 0, 1);
    let bearer = format!("Bearer {token}");
    client.send(Call::export(Protocol::HttpProtobuf, signal, &bearer, body)).await.status
}

async fn logs(client: &Client, token: &str) -> u16 {
    status(client, Signal::Logs, token).await
}

const SECTIONS: &str = "batch: { max_age: 50ms }\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::too_many_lines, reason = "one story")]
async fn true_tokens_pass_and_forged_ones_do_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::in_folder(folder.path()).expect("certificates");
    let (issuer, _running) = Issuer::start(&certificates, "127.0.0.1:0").await;
    let [rsa, ec, ed] = [
        Signer::new("rsa", Algorithm::RS256),
        Signer::new("ec", Algorithm::ES256),
        Signer::new("ed", Algorithm::EdDSA),
    ];
    let symmetric = json!({ "kty": "oct", "kid": "oct", "alg": "HS256", "k": BASE64URL_NOPAD.encode(b"a secret for everybody to see.....") });
    issuer.publish(&[rsa.jwk(), ec.jwk(), ed.jwk(), symmetric, json!("nonsense")]);
    let more = "max_names: 4, signals: [logs], rules: [ { claim: scope, value: all, signals: [logs, traces], limits: { requests_per_second: 7 } } ]";
    let source = source(&issuer.url, Some(&certificates.ca), more);
    let setup = Setup { name: "oidc", key_source: &source, sections: SECTIONS, ..Setup::default() };
    let edge = Edge::start(clickhouse().await, setup).await;
    let client = edge.client(true);

    for signer in [&rsa, &ec, &ed] {
        let token = signer.sign(&issuer.claims());
        assert_eq!(eventually(200, || logs(&client, &token)).await, 200, "{}", signer.id);
        assert_eq!(status(&client, Signal::Traces, &token).await, 403, "not its signal");
    }
    let audiences = rsa.sign(&issuer.with(&json!({ "aud": ["else", "otelgate"], "nbf": null })));
    assert_eq!(logs(&client, &audiences).await, 200);
    assert_eq!(logs(&client, KEY).await, 200, "a key of keys.yaml beside tokens");
    let ruled = rsa.sign(&issuer.with(&json!({ "scope": "some all", "sub": "ruled" })));
    assert_eq!(status(&client, Signal::Traces, &ruled).await, 200);
    // The issuer's clock is a little ahead, or behind.
    for claims in [json!({ "exp": now() - 20 }), json!({ "nbf": now() + 20 })] {
        assert_eq!(logs(&client, &ec.sign(&issuer.with(&claims))).await, 200, "{claims}");
    }

    let stranger = Signer::new("rsa", Algorithm::RS256);
    let unsigned = |alg: &str| {
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        format!("{}.{}.", part(&json!({ "alg": alg, "typ": "JWT", "kid": "rsa" })), part(&issuer.claims()))
    };
    let hs256 = |secret: &[u8], id: &str| {
        let header = Header { kid: Some(id.to_owned()), ..Header::new(Algorithm::HS256) };
        encode(&header, &issuer.claims(), &EncodingKey::from_secret(secret).expect("a secret")).expect("a token")
    };
    let good = rsa.sign(&issuer.claims());
    let (head, signature) = good.rsplit_once('.').expect("three parts");
    let other = rsa.sign(&issuer.with(&json!({ "sub": "admin" })));
    let forged = [
        ("none", unsigned("none")),
        ("None", unsigned("None")),
        ("no signature", format!("{head}.")),
        ("the public key as a secret", hs256(rsa.pem.as_bytes(), "rsa")),
        ("the public key as a secret, by another id", hs256(rsa.pem.as_bytes(), "ec")),
        ("a symmetric key of the set", hs256(b"a secret for everybody to see.....", "oct")),
        ("another's signature", stranger.sign(&issuer.claims())),
        ("another token's signature", format!("{}.{signature}", other.rsplit_once('.').expect("three parts").0)),
        ("another key's id", ec.sign_as("rsa", &issuer.claims())),
        ("a path as its id", rsa.sign_as("../../../../dev/null", &issuer.claims())),
        ("a query as its id", rsa.sign_as("rsa' OR '1'='1", &issuer.claims())),
        ("no id where there are several keys", {
            encode(&Header::new(Algorithm::RS256), &issuer.claims(), &rsa.key).expect("a token")
        }),
        ("another issuer", rsa.sign(&issuer.with(&json!({ "iss": "https://evil.example" })))),
        ("an issuer that begins alike", rsa.sign(&issuer.with(&json!({ "iss": format!("{}/", issuer.url) })))),
        ("no issuer", rsa.sign(&issuer.with(&json!({ "iss": null })))),
        ("another audience", rsa.sign(&issuer.with(&json!({ "aud": "else" })))),
        ("no audience", rsa.sign(&issuer.with(&json!({ "aud": null })))),
        ("over", rsa.sign(&issuer.with(&json!({ "exp": now() - 120 })))),
        ("no end", rsa.sign(&issuer.with(&json!({ "exp": null })))),
        ("an end that is no number", rsa.sign(&issuer.with(&json!({ "exp": "never" })))),
        ("not yet", rsa.sign(&issuer.with(&json!({ "nbf": now() + 300 })))),
        ("no name", rsa.sign(&issuer.with(&json!({ "sub": null })))),
        ("a name that is no text", rsa.sign(&issuer.with(&json!({ "sub": ["shop"] })))),
        ("huge", rsa.sign(&issuer.with(&json!({ "more": "x".repeat(9000) })))),
        ("an extension that must be understood", {
            let header = json!({ "alg": "RS256", "kid": "rsa", "crit": ["exp"], "exp": 1 });
            format!(
                "{}.{}",
                BASE64URL_NOPAD.encode(header.to_string().as_bytes()),
                good.split_once('.').expect("parts").1
            )
        }),
        ("nested", "eyJ".to_owned() + &"W".repeat(4000) + "." + &"W".repeat(2000) + ".x"),
        ("four parts", format!("{good}.x")),
    ];
    // Just fetched, so what is unknown is unknown.
    let fetches = issuer.fetches.load(Ordering::Relaxed);
    let mut refused = 0;
    for (what, token) in &forged {
        let answer = logs(&client, token).await;
        // A key id that is not known may be a new one, until the keys were fetched again.
        let awaited = what.ends_with("as its id") && answer == 503;
        assert!(answer == 401 || awaited, "{what}: {answer}");
        refused += usize::from(answer == 401);
    }
    assert!(refused >= forged.len() - 2);
    for number in 0..200 {
        let answer = logs(&client, &rsa.sign_as(&format!("guess-{number}"), &issuer.claims())).await;
        assert!(answer == 401 || answer == 503, "{answer}");
    }
    let fetched = issuer.fetches.load(Ordering::Relaxed) - fetches;
    assert!(fetched <= 3, "{fetched} fetches for 200 guesses");

    // Names are bounded: the fifth shares a key.
    for number in 0..4 {
        let token = ed.sign(&issuer.with(&json!({ "sub": format!("auth0|{number}") })));
        assert_eq!(logs(&client, &token).await, 200);
    }
    let (_, metrics) = get_text(&edge.gateway.admin, "/metrics").await;
    assert!(metrics.contains("otelgate_key_requests_total{key=\"other\"} 2\n"), "{metrics}");
    assert!(metrics.contains("otelgate_key_requests_total{key=\"auth0_1-"), "{metrics}");
    assert!(metrics.contains("otelgate_keys{source=\"oidc\",state=\"valid\"} "), "{metrics}");
    assert!(metrics.contains("otelgate_token_refusals_total{reason=\"audience\"} 2\n"), "{metrics}");
    let (_, shown) = get_text(&edge.gateway.admin, "/status").await;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["keys"]["ruled"]["entries"][0]["limits"]["requests_per_second"], 7, "{shown}");
    let log = edge.logged();
    for (what, token) in &forged {
        let (one, two) = (&token[..30.min(token.len())], token.get(token.len() / 2..).unwrap_or_default());
        assert!(!log.contains(one) && (two.len() < 9 || !log.contains(two)), "{what} is in the log");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_and_an_issuer_that_is_away_keeps_its_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::in_folder(folder.path()).expect("certificates");
    let (issuer, running) = Issuer::start(&certificates, "127.0.0.1:0").await;
    let [old, new] = [Signer::new("old", Algorithm::ES256), Signer::new("new", Algorithm::ES256)];
    // An issuer that calls itself another one is none.
    *issuer.calls_itself.lock() = "https://evil.example".to_owned();
    issuer.publish(&[old.jwk()]);
    let source = source(&issuer.url, Some(&certificates.ca), "refresh_interval: 1s, keys_max_age: 1h");
    let setup = Setup { name: "oidc_rotates", key_source: &source, sections: SECTIONS, ..Setup::default() };
    let edge = Edge::start(clickhouse().await, setup).await;
    let client = edge.client(true);
    let of_old = old.sign(&issuer.claims());
    assert_eq!(logs(&client, &of_old).await, 503, "come again");
    assert!(eventually(true, async || edge.logged().contains("another issuer")).await, "{}", edge.logged());
    assert_eq!(logs(&client, &of_old).await, 503);
    assert_eq!(logs(&client, "no-token-at-all").await, 401);
    issuer.calls_itself.lock().clone_from(&issuer.url);
    assert_eq!(eventually(200, || logs(&client, &of_old)).await, 200);
    // Another key beside it; then the first one is gone, with what it signed.
    let of_new = new.sign(&issuer.claims());
    issuer.publish(&[old.jwk(), new.jwk()]);
    assert_eq!(eventually(200, || logs(&client, &of_new)).await, 200);
    assert_eq!(logs(&client, &of_old).await, 200);
    issuer.publish(&[new.jwk()]);
    assert_eq!(eventually(401, || logs(&client, &of_old)).await, 401);
    assert_eq!(logs(&client, &of_new).await, 200);
    // Away: what is known counts, what is not is told to come again.
    running.abort();
    let said = eventually(true, async || edge.logged().matches("cannot be fetched").count() > 1).await;
    assert!(said, "{}", edge.logged());
    assert_eq!(logs(&client, &of_new).await, 200);
    assert_eq!(logs(&client, &new.sign(&issuer.with(&json!({ "sub": "till" })))).await, 200);
    assert_eq!(logs(&client, &old.sign_as("unknown", &issuer.claims())).await, 503);
    edge.stop().await;
}

/// A provider that is certified: `npm install --prefix FOLDER oidc-provider`, and `OIDC_PROVIDER=FOLDER`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certified_providers_tokens_are_keys() {
    let Some(folder) = std::env::var_os("OIDC_PROVIDER") else {
        #[allow(clippy::print_stderr, reason = "a skipped test is said aloud")]
        {
            eprintln!("SKIPPED: OIDC_PROVIDER does not name a folder with oidc-provider of npm (make test-oidc)");
        }
        return;
    };
    let script = Path::new(&folder).join("provider.mjs");
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/oidc/provider.mjs"), &script).expect("copied");
    let mut node = tokio::process::Command::new("node");
    let mut provider = node.arg(&script).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("node starts");
    let mut said = BufReader::new(provider.stdout.take().expect("piped")).lines();
    let url = loop {
        let line = said.next_line().await.expect("text").expect("the provider starts");
        if let Some(url) = line.strip_prefix("ready ") {
            break url.to_owned();
        }
    };
    let setup_source =
        source(&url, None, "name_prefix: op-, rules: [ { claim: scope, value: logs, signals: [logs] } ]");
    let setup = Setup { name: "oidc_certified", key_source: &setup_source, sections: SECTIONS, ..Setup::default() };
    let edge = Edge::start(clickhouse().await, setup).await;
    let client = edge.client(true);
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let form = format!("grant_type=client_credentials&scope=logs&resource=urn:otelgate:{algorithm}");
        let answer = reqwest::Client::new()
            .post(format!("{url}/token"))
            .basic_auth("shop", Some("shop-secret"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .expect("an answer");
        let answer: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
        let token = answer["access_token"].as_str().expect("a token");
        assert_eq!(eventually(200, || logs(&client, token)).await, 200, "{algorithm}");
        assert_eq!(status(&client, Signal::Metrics, token).await, 403, "{algorithm}");
    }
    let (_, metrics) = get_text(&edge.gateway.admin, "/metrics").await;
    assert!(metrics.contains("otelgate_key_requests_total{key=\"op-shop\"} "), "{metrics}");
    edge.stop().await;
}
