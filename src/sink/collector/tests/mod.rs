//! The sink against an endpoint that says what it is told to say.

pub(crate) mod endpoint;

use std::net::SocketAddr;

use stack::Samples;
use tokio::net::TcpListener;

use self::endpoint::{Act, Endpoint, Seen, grpc_no, no, yes};
use super::*;
use crate::chunk::{Growth, PartName};
use crate::config::{ForwardCompression, ForwardProtocol, Secret};
use crate::memory::Memory;
use crate::otlp::{Compression, fuzzing};
use crate::reply::Refusal;

pub(crate) const PROTOCOLS: [ForwardProtocol; 2] = [ForwardProtocol::Grpc, ForwardProtocol::Http];

pub(crate) fn settings(protocol: ForwardProtocol, endpoints: &[SocketAddr]) -> config::Forward {
    config::Forward {
        endpoints: endpoints.iter().map(|address| in_zone(*address, None)).collect(),
        zone: None,
        protocol,
        compression: ForwardCompression::None,
        token: Some(Secret::new("Bearer of-the-collector")),
        ca_file: None,
        client_certificate: None,
        max_message_bytes: 4 << 20,
        timeout: Duration::from_secs(1),
        exports_per_signal: 4,
    }
}

fn in_zone(address: SocketAddr, zone: Option<&str>) -> config::Endpoint {
    config::Endpoint { url: format!("http://{address}").parse().unwrap(), zone: zone.map(str::to_owned) }
}

pub(crate) fn collector(settings: &config::Forward) -> Arc<Collector> {
    Collector::new(settings, &Rounds::start().unwrap(), Arc::default()).unwrap()
}

/// A part of three requests in two frames, and their bytes.
fn part(signal: Signal, collector: &Collector) -> (PartDelivery, Vec<Vec<u8>>) {
    let mut samples = Samples::new(9);
    let mut request = |records| match signal {
        Signal::Traces => samples.traces_bytes(records),
        Signal::Logs => samples.logs_bytes(records),
        Signal::Metrics | Signal::Profiles => samples.metrics_bytes(records),
    };
    let requests = vec![request(3), request(40), request(500)];
    let mut encoder = collector.encoder(signal);
    let mut sealed = Vec::new();
    for frame in [&requests[..2], &requests[2..]] {
        for request in frame {
            encoder.append(request, &Growth::default()).unwrap();
            encoder.commit();
        }
        sealed.extend(encoder.seal());
    }
    let delivery = PartDelivery {
        name: sealed[0].name.clone(),
        columns: sealed[0].columns.clone(),
        token: "t".into(),
        attempt: 0,
        rows: 543,
        body: sealed.into_iter().flat_map(|part| part.bytes).collect(),
        witnesses: Vec::new(),
        only_rows: None,
        shard: None,
    };
    (delivery, requests)
}

struct Unlimited;

impl Memory for Unlimited {
    fn grow(&mut self, _: u64) -> Result<(), Refusal> {
        Ok(())
    }

    fn shrink(&mut self, _: u64) {}
}

pub(crate) fn inflated(seen: &Seen, compression: ForwardCompression) -> Bytes {
    let grpc = seen.headers["content-type"] == "application/grpc";
    let flag = u8::from(compression != ForwardCompression::None);
    let body = match grpc {
        true => {
            assert_eq!((seen.body[0], &seen.body[1..5]), (flag, &(seen.body.len() as u32 - 5).to_be_bytes()[..]));
            seen.body.slice(5..)
        }
        false => seen.body.clone(),
    };
    let (name, compression) = match compression {
        ForwardCompression::None => return body,
        ForwardCompression::Gzip => ("gzip", Compression::Gzip),
        ForwardCompression::Zstd => ("zstd", Compression::Zstd),
    };
    assert_eq!(seen.headers[if grpc { "grpc-encoding" } else { "content-encoding" }], name);
    fuzzing::inflate_here(Unlimited, compression, body, 64 << 20).unwrap()
}

#[tokio::test]
async fn what_is_exported_is_what_was_sent() {
    for protocol in PROTOCOLS {
        for compression in [ForwardCompression::None, ForwardCompression::Gzip, ForwardCompression::Zstd] {
            for signal in Signal::STABLE {
                let endpoint = Endpoint::start([]).await;
                let collector = collector(&config::Forward { compression, ..settings(protocol, &[endpoint.address]) });
                let (mut part, requests) = part(signal, &collector);
                assert_eq!(collector.deliver(&part).await, Outcome::Delivered);
                part.only_rows = Some((3, 40));
                part.body.truncate(1);
                assert_eq!(collector.deliver(&part).await, Outcome::Delivered);
                let seen = endpoint.seen();
                assert!(inflated(&seen[0], compression) == requests.concat(), "{protocol:?} {compression:?} {signal}");
                assert!(inflated(&seen[1], compression) == requests[1], "one request alone");
                assert_eq!(seen[0].headers["authorization"], "Bearer of-the-collector");
                match protocol {
                    ForwardProtocol::Grpc => assert!(seen[0].path.ends_with("Service/Export")),
                    ForwardProtocol::Http => assert_eq!(seen[0].path, format!("/v1/{signal}")),
                }
            }
        }
    }
}

/// One letter an outcome.
fn letter(outcome: &Outcome) -> char {
    match outcome {
        Outcome::Delivered => 'd',
        Outcome::DeliveredBut { .. } => 'p',
        Outcome::Retry { .. } => 'r',
        Outcome::Unknown { .. } => 'u',
        Outcome::Hold { .. } => 'h',
        Outcome::Refused { .. } => 'x',
        Outcome::Doubtful { .. } | Outcome::TooMuch { .. } => '?',
    }
}

#[tokio::test]
async fn every_status_has_its_outcome() {
    let grpc: Vec<(Act, char)> =
        "uxxuhxhxxrrhxruh".chars().zip(1..).map(|(expected, code)| (grpc_no(code), expected)).collect();
    let http = [
        (400, 'x'),
        (401, 'h'),
        (403, 'h'),
        (404, 'h'),
        (413, 'x'),
        (429, 'r'),
        (500, 'x'),
        (502, 'u'),
        (503, 'r'),
        (504, 'u'),
    ];
    let http = http.map(|(status, expected)| (no(status, &[]), expected));
    for (protocol, cases) in PROTOCOLS.into_iter().zip([grpc, http.to_vec()]) {
        for (act, expected) in cases.into_iter().chain([(Act::Break, 'u'), (Act::Wait(Duration::from_secs(3)), 'u')]) {
            let endpoint = Endpoint::start([act.clone()]).await;
            let collector = collector(&settings(protocol, &[endpoint.address]));
            let (part, _) = part(Signal::Logs, &collector);
            let outcome = collector.deliver(&part).await;
            assert_eq!(letter(&outcome), expected, "{protocol:?} {outcome:?}");
            let unknown = collector.metrics.forward_unknown_records.get_or_create(&OfSignal { signal: "logs" }).get();
            assert_eq!(unknown, if expected == 'u' { 543 } else { 0 });
            assert!(!format!("{outcome:?}").contains("of-the-collector"));
            assert_eq!(collector.deliver(&part).await, Outcome::Delivered, "{protocol:?} after {outcome:?}");
        }
    }
}

#[tokio::test]
async fn what_an_earlier_process_tried_counts_as_unknown() {
    let collector = collector(&settings(ForwardProtocol::Grpc, &[]));
    let (mut part, _) = part(Signal::Logs, &collector);
    collector.tried_before(&part);
    part.only_rows = Some((3, 40));
    collector.tried_before(&part);
    let of = OfSignal { signal: "logs" };
    assert_eq!(collector.metrics.forward_unknown_records.get_or_create(&of).get(), 543 + 40);
}

#[tokio::test]
async fn a_partial_success_is_passed_on_and_counted() {
    for protocol in PROTOCOLS {
        let partial = [10, 7, 8, 5, 18, 3, b'w', b'h', b'y'];
        let endpoint = Endpoint::start([yes(protocol == ForwardProtocol::Grpc, &partial)]).await;
        let collector = collector(&settings(protocol, &[endpoint.address]));
        let (part, _) = part(Signal::Logs, &collector);
        let expected = Outcome::DeliveredBut { rejected: 5, why: "why".into() };
        assert_eq!(collector.deliver(&part).await, expected);
        let of = OfSignal { signal: "logs" };
        assert_eq!(collector.metrics.forward_rejected_records.get_or_create(&of).get(), 5);
    }
}

#[tokio::test]
async fn advice_is_passed_on() {
    let endpoint = Endpoint::start([no(503, &[("retry-after", "7")])]).await;
    let collector = collector(&settings(ForwardProtocol::Http, &[endpoint.address]));
    let (part, _) = part(Signal::Traces, &collector);
    let outcome = collector.deliver(&part).await;
    assert!(matches!(outcome, Outcome::Retry { after: Some(time), .. } if time.as_secs() == 7), "{outcome:?}");
}

#[tokio::test]
async fn nothing_is_sent_where_nobody_listens_and_another_endpoint_is_taken() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for protocol in PROTOCOLS {
        let alone = collector(&settings(protocol, &[gone]));
        let (part, _) = part(Signal::Metrics, &alone);
        assert_eq!(letter(&alone.deliver(&part).await), 'r');
        assert!(matches!(alone.ready().await, Condition::Out(_)));
        let endpoint = Endpoint::start([]).await;
        let both = collector(&settings(protocol, &[gone, endpoint.address]));
        for _ in 0..3 {
            assert_eq!(both.deliver(&part).await, Outcome::Delivered);
        }
        assert_eq!(
            (both.ready().await, endpoint.seen().len()),
            (Condition::Well, 3),
            "what was taken a moment ago is not asked again"
        );
    }
}

#[tokio::test]
async fn what_one_endpoint_wants_mended_goes_to_another_first() {
    for protocol in PROTOCOLS {
        let strange = Endpoint::start((0..2).map(|_| no(401, &[]))).await;
        let alone = collector(&settings(protocol, &[strange.address]));
        let (part, _) = part(Signal::Logs, &alone);
        assert_eq!(letter(&alone.deliver(&part).await), 'h');
        let endpoint = Endpoint::start([]).await;
        let both = collector(&settings(protocol, &[strange.address, endpoint.address]));
        assert_eq!(both.deliver(&part).await, Outcome::Delivered);
        assert_eq!(endpoint.seen().len(), 1);
    }
}

#[tokio::test]
async fn the_least_busy_endpoint_is_taken() {
    let slow = || (0..4).map(|_| Act::Wait(Duration::from_millis(300)));
    let endpoints = [Endpoint::start(slow()).await, Endpoint::start(slow()).await];
    let collector = collector(&settings(ForwardProtocol::Grpc, &[endpoints[0].address, endpoints[1].address]));
    let (part, _) = part(Signal::Logs, &collector);
    let all = (0..4).map(|_| {
        let (collector, part) = (collector.clone(), part.clone());
        tokio::spawn(async move { collector.deliver(&part).await })
    });
    for one in all.collect::<Vec<_>>() {
        assert_eq!(one.await.unwrap(), Outcome::Delivered);
    }
    assert_eq!(endpoints.map(|endpoint| endpoint.seen().len()), [2, 2]);
}

#[tokio::test]
async fn another_zone_is_taken_while_none_of_the_own_does_well() {
    let busy = || no(503, &[("retry-after", "4")]);
    let near = [Endpoint::start([busy()]).await, Endpoint::start([busy()]).await];
    let far = [Endpoint::start([]).await, Endpoint::start([]).await];
    let endpoints = [(&far[0], None), (&far[1], Some("b")), (&near[0], Some("a")), (&near[1], Some("a"))];
    let settings = config::Forward {
        endpoints: endpoints.map(|(endpoint, zone)| in_zone(endpoint.address, zone)).to_vec(),
        zone: Some("a".to_owned()),
        ..settings(ForwardProtocol::Http, &[])
    };
    let collector = collector(&settings);
    let (part, _) = part(Signal::Logs, &collector);
    let deliver = async || letter(&collector.deliver(&part).await);
    let seen = |endpoints: &[Endpoint; 2]| endpoints.each_ref().map(|endpoint| endpoint.seen().len());
    assert_eq!([deliver().await, deliver().await, deliver().await], ['r', 'r', 'd']);
    assert_eq!((seen(&near), seen(&far)), ([1, 1], [1, 0]), "its own zone first");
    let exports = |zone| collector.metrics.forward_exports.get_or_create(&OfZone { zone }).get();
    assert_eq!((exports("own"), exports("other")), (2, 1));
    while seen(&near) == [0, 0] {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(deliver().await, 'd');
    }
}

#[tokio::test]
async fn one_that_failed_is_left_alone() {
    let (bad, good) = (Endpoint::start([no(503, &[("retry-after", "30")])]).await, Endpoint::start([]).await);
    let collector = collector(&settings(ForwardProtocol::Http, &[bad.address, good.address]));
    let (part, _) = part(Signal::Logs, &collector);
    let outcomes = [collector.deliver(&part).await, collector.deliver(&part).await, collector.deliver(&part).await];
    assert_eq!(outcomes.each_ref().map(letter), ['r', 'd', 'd']);
    assert_eq!((bad.seen().len(), good.seen().len()), (1, 2));
}

#[tokio::test]
async fn readiness_asks_with_an_empty_request() {
    for protocol in PROTOCOLS {
        let grpc = protocol == ForwardProtocol::Grpc;
        let refusal = if grpc { grpc_no(16) } else { no(401, &[]) };
        let endpoint = Endpoint::start([refusal, yes(grpc, &[])]).await;
        let collector = collector(&settings(protocol, &[endpoint.address]));
        let out = collector.ready().await;
        assert!(matches!(&out, Condition::Out(why) if why.contains("because")), "{out:?}");
        assert_eq!((collector.ready().await, endpoint.seen().len()), (out, 1), "a moment later it is not asked again");
        tokio::time::sleep(ASK_PAUSE).await;
        assert_eq!(collector.ready().await, Condition::Well);
        assert_eq!(endpoint.seen()[0].body.len(), if grpc { 5 } else { 0 });
    }
}

#[tokio::test]
async fn rows_for_clickhouse_are_held() {
    let collector = collector(&settings(ForwardProtocol::Grpc, &[]));
    let (mut part, _) = part(Signal::Logs, &collector);
    part.name = PartName { table: "otel_logs".into(), partition: 20_000 };
    let outcome = collector.deliver(&part).await;
    assert!(matches!(&outcome, Outcome::Hold { why } if why.contains("sink.clickhouse")), "{outcome:?}");
}
