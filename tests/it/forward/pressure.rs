//! A collector that is slow, that refuses because its memory is short, and that refuses what is too large.

use std::sync::Arc;
use std::time::Duration;

use otelgate::signal::Signal;
use stack::{Gateway, Passage, Tunnel, built_collector};

use super::{Behind, KEY, exports, metric, unknown};
use crate::support::client::{Answer, Call, Client, Protocol};
use crate::support::eventually;
use crate::support::requests::numbered;

/// A memory limiter that finds any use of memory too high.
const LIMITER: &str = "processors:\n  memory_limiter: { check_interval: 50ms, limit_mib: 2, spike_limit_mib: 1 }\n\
    service:\n  pipelines:\n    traces: { processors: [memory_limiter] }\n    \
    logs: { processors: [memory_limiter] }\n    metrics: { processors: [memory_limiter] }\n";

/// Receivers that take a quarter of what otelgate sends at once.
const SMALL_MESSAGES: &str = "receivers: { otlp: { protocols: { grpc: { max_recv_msg_size_mib: 1 }, http: { max_request_body_size: 1048576 } } } }\n";

async fn send(client: &Client, signal: Signal, service: &str, first: u64, records: u64) -> Answer {
    let body = numbered(signal, Protocol::Grpc, service, first, records);
    client.send(Call::export(Protocol::Grpc, signal, KEY, body)).await
}

async fn accepted(client: &Client, signal: Signal, service: &str, first: u64, records: u64) {
    let answer = send(client, signal, service, first, records).await;
    assert!(answer.accepted(Protocol::Grpc), "the spool takes it: {answer:?}");
}

async fn quarantined(edge: &Gateway, signal: Signal) -> u64 {
    metric(edge, &format!("otelgate_rows{{key=\"shop\",table=\"{signal}\",state=\"quarantined\"}} ")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_is_waited_for_and_too_slow_is_sent_again() {
    let Some(program) = built_collector() else { return };
    let behind = Behind::start(&program).await;
    for protocol in ["grpc", "http"] {
        let tunnel = Tunnel::start(behind.collector.port(protocol)).await.expect("a tunnel");
        let (slow, too_slow) = (format!("slow-{protocol}"), format!("too-slow-{protocol}"));
        let more = format!("    timeout: 3s\n{}", behind.spool(&slow));
        let edge = behind.edge_to(tunnel.port, &slow, protocol, &more).await;
        let client = behind.client(&edge, true);
        tunnel.set(Passage::Slow(Duration::from_millis(300)));
        for (round, signal) in (0..5).flat_map(|round| Signal::STABLE.map(|signal| (round, signal))) {
            accepted(&client, signal, &slow, round * 20, 20).await;
        }
        for signal in Signal::STABLE {
            assert_eq!(eventually((100, 100), || behind.rows(signal, &slow)).await, (100, 100), "{signal}");
            assert_eq!(unknown(&edge, signal).await, 0, "{signal}: every answer came in time");
        }
        tunnel.set(Passage::Slow(Duration::from_secs(5)));
        for signal in Signal::STABLE {
            accepted(&client, signal, &too_slow, 0, 100).await;
        }
        // Of any signal: an export that finds no open connection does not get as far.
        let missed = async || {
            let mut records = 0;
            for signal in Signal::STABLE {
                records += unknown(&edge, signal).await;
            }
            records > 0
        };
        assert!(eventually(true, missed).await, "no answer in time is an unknown outcome");
        tunnel.set(Passage::Open);
        tunnel.cut();
        for signal in Signal::STABLE {
            assert_eq!(eventually(100, async || behind.rows(signal, &too_slow).await.1).await, 100, "{signal}");
            let (rows, unknown) = (behind.rows(signal, &too_slow).await.0, unknown(&edge, signal).await);
            assert!(rows <= 100 + unknown, "{signal}: {rows} rows, {unknown} of unknown outcome");
        }
        edge.process.stop(Duration::from_secs(60)).await.expect("ends");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_its_memory_limiter_refuses_is_delivered_when_it_recovers() {
    let Some(program) = built_collector() else { return };
    let mut behind = Behind::start(&program).await;
    for protocol in ["grpc", "http"] {
        behind.collector.restart_with(LIMITER).await.expect("a collector with a memory limiter");
        let (kept, told) = (format!("kept-{protocol}"), format!("told-{protocol}"));
        let with_spool = behind.edge(&kept, protocol, "none", &behind.spool(&kept)).await;
        let without = behind.edge(&told, protocol, "none", "batch: { max_age: 50ms, deadline: 2s }\n").await;
        for signal in Signal::STABLE {
            accepted(&behind.client(&with_spool, true), signal, &kept, 0, 100).await;
            let answer = send(&behind.client(&without, true), signal, &told, 0, 100).await;
            assert_eq!(answer.grpc_status(), Some(14), "the client is to come again: {answer:?}");
            assert!(answer.text("grpc-status-details-bin").is_some(), "with advice when: {answer:?}");
        }
        for signal in Signal::STABLE {
            let retried = eventually(true, async || exports(&with_spool, signal, "retry").await > 1).await;
            assert!(retried, "{signal}: by the protocol's rules it is sent again");
            assert_eq!(quarantined(&with_spool, signal).await, 0, "{signal}");
        }
        behind.collector.restart_with("").await.expect("a collector that has recovered");
        for signal in Signal::STABLE {
            assert_eq!(eventually((100, 100), || behind.rows(signal, &kept)).await, (100, 100), "{signal}");
            assert_eq!(unknown(&with_spool, signal).await, 0, "{signal}: a refusal is no unknown outcome");
            assert_eq!(behind.rows(signal, &told).await, (0, 0), "{signal}: what was refused is not there");
        }
        for edge in [with_spool, without] {
            edge.process.stop(Duration::from_secs(60)).await.expect("ends");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_for_it_is_divided_down_to_requests() {
    let Some(program) = built_collector() else { return };
    let mut behind = Behind::start(&program).await;
    behind.collector.restart_with(SMALL_MESSAGES).await.expect("a collector that takes small messages");
    for protocol in ["grpc", "http"] {
        let name = format!("divided-{protocol}");
        let spool = behind.spool(&name).replace("100ms", "1s");
        let edge = behind.edge(&name, protocol, "none", &spool).await;
        let client = Arc::new(behind.client(&edge, true));
        let service = |number: u64| format!("{name}-{number}");
        // About 300 KiB each, but for one of more than 1 MiB.
        let requests = (0..8).map(|number| (number, if number == 5 { 40_000 } else { 6_000 }));
        let sending = requests.map(|(number, records)| {
            let (client, service) = (client.clone(), service(number));
            tokio::spawn(async move { accepted(&client, Signal::Logs, &service, 0, records).await })
        });
        for one in sending.collect::<Vec<_>>() {
            one.await.expect("accepted");
        }
        for number in (0..8).filter(|number| *number != 5) {
            let rows = eventually((6_000, 6_000), async || behind.rows(Signal::Logs, &service(number)).await).await;
            assert_eq!(rows, (6_000, 6_000), "{protocol} {number}");
        }
        assert_eq!(eventually(40_000, || quarantined(&edge, Signal::Logs)).await, 40_000, "{protocol}");
        assert_eq!(behind.rows(Signal::Logs, &service(5)).await, (0, 0), "{protocol}: the request that it refuses");
        assert!(exports(&edge, Signal::Logs, "refused").await > 1, "{protocol}: the whole was refused first");
        edge.process.stop(Duration::from_secs(60)).await.expect("ends");
    }
}
