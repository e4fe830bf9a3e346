//! How often a request takes what it shares with others: those of its key, or all. That is what bounds a gateway with many cores (benches/README.md).

use opentelemetry_proto::tonic::common::v1::any_value::Value;

use super::*;

/// Log records with a text of so many bytes among them.
fn logs(protocol: Protocol, text: usize) -> Ask {
    let mut request = Samples::new(7).logs(10);
    let record = &mut request.resource_logs[0].scope_logs[0].log_records[0];
    record.body.as_mut().unwrap().value = Some(Value::StringValue("x".repeat(text)));
    let body = match protocol {
        Protocol::HttpJson => serde_json::to_vec(&request).unwrap(),
        _ => request.encode_to_vec(),
    };
    Ask::logs(protocol, 0).with_body(body).key("good")
}

fn gzip(ask: Ask) -> Ask {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &ask.body).unwrap();
    Ask { body: gzip.finish().unwrap().into(), ..ask.header("content-encoding", "gzip") }
}

/// Sends it; how often each account was taken, when all of it is given back.
async fn taken(gateway: &Gateway, ask: Ask, key: &[u8]) -> (Code, [usize; 3]) {
    gateway.admission.taken(key);
    let pieces = ask.body.chunks(16 << 10).map(Bytes::copy_from_slice).collect();
    let response = gateway.serve(ask.head.body(Pieces { left: pieces, ends: true }).unwrap()).await;
    let told = Told::read(ask.protocol, response).await;
    tokio::time::timeout(Duration::from_secs(60), async {
        while gateway.admission.memory().used() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("all of it is given back");
    (told.code, gateway.admission.taken(key))
}

#[tokio::test]
async fn a_request_takes_its_keys_limits_and_the_memory_twice() {
    let (gateway, _) = gateway();
    let plain = PROTOCOLS.map(|protocol| (protocol, false));
    for (protocol, gzipped) in plain.into_iter().chain([(Protocol::HttpProtobuf, true)]) {
        for text in [1, 200 << 10] {
            for round in 0..4 {
                let ask = logs(protocol, text);
                let ask = if gzipped { gzip(ask) } else { ask };
                let (code, taken) = taken(&gateway, ask, b"good").await;
                assert_eq!(code, Code::Ok);
                // How much memory its requests take as a rule, a key has to learn.
                let most = if round > 0 { [2; 3] } else { [2, usize::MAX, usize::MAX] };
                assert!(
                    std::iter::zip(taken, most).all(|(taken, most)| taken <= most),
                    "{protocol:?} {text}: {taken:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_refused_request_takes_no_more() {
    let (gateway, _) = gateway();
    let http = Protocol::HttpProtobuf;
    assert_eq!(taken(&gateway, logs(http, 1), b"good").await.0, Code::Ok);
    // Of the other key's requests nothing is known yet.
    let (known, new) = ([2; 3], [2, usize::MAX, usize::MAX]);
    for (ask, key, most) in [
        (logs(http, 1).with_body(b"\xff{nonsense".to_vec()), "good", known),
        (Ask::logs(http, 1001).key("good"), "good", new),
        (Ask::logs(http, 6).key("small"), "small", new),
        (Ask::logs(http, 1).key("small"), "small", known),
    ] {
        let (code, taken) = taken(&gateway, ask, key.as_bytes()).await;
        assert_ne!(code, Code::Ok);
        assert!(std::iter::zip(taken, most).all(|(taken, most)| taken <= most), "{key}: {taken:?}");
    }
}
