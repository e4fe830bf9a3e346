//! The token that otelgate shows to the collector changes while otelgate runs.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use otelgate::signal::Signal;
use stack::Certificates;

use super::{KEY, config};
use crate::support::client::{Call, Client, Protocol};
use crate::support::eventually;
use crate::support::requests::numbered;

const TOKENS: [&str; 2] = ["first-token-77d1", "second-token-0b93"];

/// An OTLP/HTTP endpoint that takes what shows this token.
async fn guarded(token: Arc<Mutex<&'static str>>) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let answer = move |headers: HeaderMap| async move {
        let wanted = *token.lock().expect("no panic");
        let shown = headers.get("authorization").is_some_and(|shown| shown == wanted);
        if shown { StatusCode::OK } else { StatusCode::UNAUTHORIZED }
    };
    let router = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_token_is_shown_as_soon_as_its_file_has_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::in_folder(folder.path()).expect("certificates");
    let wanted = Arc::new(Mutex::new(TOKENS[0]));
    let port = guarded(wanted.clone()).await;
    let file = folder.path().join("token");
    fs::write(&file, TOKENS[0]).expect("written");
    let config = config(folder.path(), &certificates, "token")
        .forward(&format!("http://127.0.0.1:{port}"), "http")
        .sink(&format!("token: \"${{file:{}}}\"", file.display()))
        .section("batch: { max_age: 50ms, deadline: 1s }");
    let files = config.write().expect("configuration");
    let edge = files.start().await.unwrap_or_else(|error| panic!("{error:#}"));
    let client = Client::new(&edge.otlp[0], Some(&certificates.ca), true).expect("a client");
    let status = async || {
        let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "token", 0, 1);
        client.send(Call::export(Protocol::HttpProtobuf, Signal::Logs, KEY, body)).await.status
    };
    let logged = || fs::read_to_string(&files.log).unwrap_or_default();
    assert_eq!(status().await, 200);
    *wanted.lock().expect("no panic") = TOKENS[1];
    assert_eq!(eventually(503, &status).await, 503, "{}", logged());
    fs::write(&file, TOKENS[1]).expect("written");
    assert_eq!(eventually(200, &status).await, 200, "{}", logged());
    let logged = logged();
    assert!(logged.contains("\"changes\":\"sink.forward.token\""), "{logged}");
    assert!(TOKENS.iter().all(|token| !logged.contains(token)), "{logged}");
    edge.process.stop(Duration::from_secs(60)).await.expect("ends");
}
