//! Records that do not get smaller by compression, beside those that do.

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use otelgate::signal::Signal;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::clickhouse;
use crate::support::client::{Call, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::{MOMENT, attribute, logs, text};

/// The bodies fill more than one frame of ClickHouse's compressed format; the other columns lie in frames that do get smaller.
const RECORDS: u64 = 400;
const BODY_BYTES: usize = 4 << 10;

#[tokio::test]
async fn noise_is_stored_whatever_the_compression() {
    let clickhouse = clickhouse().await;
    for name in ["lz4", "zstd", "none"] {
        let sections = format!("    compression: {name}\n");
        let database = format!("compressed_{name}");
        let edge = Edge::start(clickhouse, Setup { name: &database, sections: &sections, ..Setup::default() }).await;
        let call = Call::export(Protocol::Grpc, Signal::Logs, KEY, noise());
        let answer = edge.client(true).send(call).await;
        assert!(answer.accepted(Protocol::Grpc), "{name}: {answer:?}");
        let question = format!("SELECT count(), sum(length(Body)), uniqExact(Body) FROM {}.otel_logs", edge.database);
        let stored = clickhouse.query(&question, "TabSeparated").await.expect("an answer");
        let bytes = RECORDS as usize * BODY_BYTES;
        assert_eq!(stored.trim(), format!("{RECORDS}\t{bytes}\t{RECORDS}"), "{name}");
        edge.stop().await;
    }
}

fn noise() -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(1);
    let mut body = || -> String { (0..BODY_BYTES).map(|_| char::from(rng.random_range(b'!'..=b'~'))).collect() };
    let record = |number| LogRecord {
        time_unix_nano: MOMENT + number,
        body: Some(text(&body())),
        attributes: (0..20).map(|place| attribute(&format!("key.{place}"), text("the same in every record"))).collect(),
        ..LogRecord::default()
    };
    logs("noise", (0..RECORDS).map(record).collect())
}
