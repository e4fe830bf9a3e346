//! otelgate in front of a real collector, over TLS and with its token. These tests need the collector's program, and say so when it
//! has not been built (`dev/oracle/build-collector.sh`); those of `told`, `token` and `profiles` need none.

mod many;
mod mutual;
mod pressure;
mod profiles;
mod token;
mod told;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use otelgate::signal::Signal;
use stack::{BEARER, Certificates, ClickHouse, Config, Gateway, Key, PlainCollector, built_collector};

use crate::support::client::{Call, Client, Protocol};
use crate::support::compress::compress;
use crate::support::eventually;
use crate::support::requests::{numbered, table};

const KEY: &str = "forwarded-91c5d4";
const DATABASE: &str = "otel_test_forward";

/// ClickHouse with its tables, and a collector in front of it.
struct Behind {
    folder: tempfile::TempDir,
    clickhouse: ClickHouse,
    certificates: Certificates,
    collector: PlainCollector,
}

impl Behind {
    async fn start(program: &Path) -> Behind {
        let folder = tempfile::tempdir().expect("a folder");
        let clickhouse = ClickHouse::start(&folder.path().join("clickhouse"), 0).await.expect("ClickHouse");
        clickhouse.query(&format!("CREATE DATABASE {DATABASE}"), "TabSeparated").await.expect("a database");
        let certificates = Certificates::in_folder(folder.path()).expect("certificates");
        let config = config(folder.path(), &certificates, "tables").store(&clickhouse, DATABASE).keeping();
        let tables = config.start().await.unwrap_or_else(|error| panic!("{error:#}"));
        tables.process.stop(Duration::from_secs(60)).await.expect("ends");
        let collector = PlainCollector::start(program, folder.path(), &clickhouse, DATABASE, &certificates).await;
        Behind { collector: collector.expect("the collector"), folder, clickhouse, certificates }
    }

    async fn edge(&self, name: &str, protocol: &str, compression: &str, more: &str) -> Gateway {
        let to = self.collector.port(protocol);
        self.edge_to(to, name, protocol, &format!("    compression: {compression}\n{more}")).await
    }

    /// An edge that forwards to this port; `more` goes on with the section `sink.forward`.
    async fn edge_to(&self, port: u16, name: &str, protocol: &str, more: &str) -> Gateway {
        let config = config(self.folder.path(), &self.certificates, name)
            .forward(&format!("https://localhost:{port}"), protocol)
            .token(BEARER, &self.certificates.ca)
            .section(more);
        config.start().await.unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn client(&self, edge: &Gateway, http2: bool) -> Client {
        Client::new(&edge.otlp[0], Some(&self.certificates.ca), http2).expect("a client")
    }

    /// Sections of a configuration: a spool of this name, and batches that do not wait for long.
    fn spool(&self, name: &str) -> String {
        let folder = self.folder.path().join(format!("{name}-spool"));
        format!("spool: {{ dir: {} }}\nbatch: {{ max_age: 100ms }}\n", folder.display())
    }

    /// Rows of a service in a signal's table, and different records among them.
    async fn rows(&self, signal: Signal, service: &str) -> (u64, u64) {
        let from = format!("FROM {DATABASE}.{} WHERE ServiceName = '{service}'", table(signal));
        let different = self.number(&format!("SELECT uniqExact({}['seq']) {from}", attributes(signal))).await;
        (self.number(&format!("SELECT count() {from}")).await, different)
    }

    async fn number(&self, sql: &str) -> u64 {
        self.clickhouse.number(sql).await.expect("a number")
    }
}

/// A configuration whose sink has to be named.
fn config(folder: &Path, certificates: &Certificates, name: &str) -> Config {
    let key = Key::known("shop", KEY).with("resource: { tenant: shop }").unlimited();
    Config::new(folder, &format!("{name}-")).tls(certificates).key(&key)
}

fn attributes(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "SpanAttributes",
        Signal::Logs => "LogAttributes",
        Signal::Metrics | Signal::Profiles => "Attributes",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_protocol_in_and_out_and_every_compression() {
    let Some(program) = built_collector() else { return };
    let behind = Behind::start(&program).await;
    let mut sent = BTreeSet::new();
    for (protocol, compression) in
        ["grpc", "http"].into_iter().flat_map(|protocol| ["none", "gzip", "zstd"].map(|form| (protocol, form)))
    {
        let edge = behind.edge(&format!("{protocol}-{compression}"), protocol, compression, "").await;
        let mut calls = Vec::new();
        for (signal, incoming) in Signal::STABLE.into_iter().flat_map(|signal| Protocol::ALL.map(|how| (signal, how))) {
            let service = format!("{signal}-{incoming:?}-{protocol}-{compression}");
            let body = compress("gzip", &numbered(signal, incoming, &service, 0, 3));
            let client = behind.client(&edge, incoming == Protocol::Grpc);
            sent.insert(service);
            calls.push(tokio::spawn(async move {
                let answer = client.send(Call::export(incoming, signal, KEY, body).encoding("gzip")).await;
                assert!(answer.accepted(incoming), "{signal} {incoming:?}: {answer:?}");
            }));
        }
        for call in calls {
            call.await.expect("accepted");
        }
        edge.process.stop(Duration::from_secs(60)).await.expect("ends");
    }
    for signal in Signal::STABLE {
        let question = format!(
            "SELECT ServiceName FROM {DATABASE}.{} WHERE ResourceAttributes['tenant'] = 'shop' GROUP BY ServiceName \
             HAVING arraySort(groupArray({}['seq'])) = ['0', '1', '2']",
            table(signal),
            attributes(signal)
        );
        let stored = behind.clickhouse.query(&question, "TabSeparated").await.expect("an answer");
        let stored: BTreeSet<String> = stored.lines().map(str::to_owned).collect();
        let expected: BTreeSet<String> =
            sent.iter().filter(|service| service.starts_with(signal.name())).cloned().collect();
        assert_eq!(stored, expected, "{signal}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_least_once_across_kills_of_the_collector() {
    let Some(program) = built_collector() else { return };
    let mut behind = Behind::start(&program).await;
    let spool = behind.spool("kills");
    let edge = behind.edge("kills", "grpc", "none", &spool).await;
    let client = Arc::new(behind.client(&edge, true));
    let sender = tokio::spawn(async move {
        for round in 0..150_u64 {
            for signal in Signal::STABLE {
                let body = numbered(signal, Protocol::Grpc, "kills", round * 20, 20);
                let answer = client.send(Call::export(Protocol::Grpc, signal, KEY, body)).await;
                assert!(answer.accepted(Protocol::Grpc), "the spool takes it: {answer:?}");
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    });
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        behind.collector.kill().await.expect("killed");
        tokio::time::sleep(Duration::from_millis(500)).await;
        behind.collector.start_again().await.expect("starts again");
    }
    sender.await.expect("all accepted");
    for signal in Signal::STABLE {
        let different = eventually(3000, async || behind.rows(signal, "kills").await.1).await;
        assert_eq!(different, 3000, "{signal}: none is lost");
        let (rows, unknown) = (behind.rows(signal, "kills").await.0, unknown(&edge, signal).await);
        assert!(rows <= 3000 + unknown, "{signal}: {rows} rows, {unknown} of unknown outcome");
    }
    edge.process.stop(Duration::from_secs(60)).await.expect("ends");
}

/// Records of exports whose outcome was unknown.
async fn unknown(edge: &Gateway, signal: Signal) -> u64 {
    metric(edge, &format!("otelgate_forward_unknown_records_total{{signal=\"{signal}\"}} ")).await
}

/// Exports that ended like this.
async fn exports(edge: &Gateway, signal: Signal, outcome: &str) -> u64 {
    metric(edge, &format!("otelgate_inserts_total{{table=\"{signal}\",outcome=\"{outcome}\"}} ")).await
}

async fn metric(edge: &Gateway, name: &str) -> u64 {
    let text = reqwest::get(format!("{}/metrics", edge.admin)).await.expect("metrics").text().await.expect("text");
    text.lines().find_map(|line| line.strip_prefix(name)).map_or(0, |value| value.parse().expect("a number"))
}
