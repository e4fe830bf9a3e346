//! Ten collectors behind one otelgate, of which half die under load and some come back: each acknowledged request arrives.

use std::sync::Arc;
use std::time::Duration;

use otelgate::signal::Signal;
use stack::{Certificates, Passage, Tunnel};

use super::told::{Taken, endpoint};
use super::{KEY, config};
use crate::support::client::{Call, Client, Protocol};
use crate::support::eventually;
use crate::support::requests::numbered;

const COLLECTORS: usize = 10;
const REQUESTS: u64 = 240;

fn holds(taken: &Taken, service: &str) -> bool {
    let taken = taken.lock().expect("no panic");
    taken.iter().any(|(_, body)| body.windows(service.len()).any(|window| window == service.as_bytes()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_ten_collectors_die_and_none_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::in_folder(folder.path()).expect("certificates");
    let (mut tunnels, mut taken) = (Vec::new(), Vec::new());
    for _ in 0..COLLECTORS {
        let (port, takes) = endpoint().await;
        tunnels.push(Tunnel::start(port).await.expect("a tunnel"));
        taken.push(takes);
    }
    let urls: Vec<String> = tunnels.iter().map(|tunnel| format!("http://127.0.0.1:{}", tunnel.port)).collect();
    let sections = format!(
        "spool: {{ dir: '{}', min_free_bytes: 0B }}\nbatch: {{ max_age: 50ms }}\n",
        folder.path().join("spool").display()
    );
    let config = config(folder.path(), &certificates, "many").forward_to(&urls, "http");
    let edge = config.section(&sections).start().await.unwrap_or_else(|error| panic!("{error:#}"));
    let client = Arc::new(Client::new(&edge.otlp[0], Some(&certificates.ca), true).expect("a client"));
    let arrived = |service: &str| taken.iter().any(|taken| holds(taken, service));
    for request in 0..REQUESTS {
        if request.is_multiple_of(24) {
            let number = usize::try_from(request / 24).expect("few");
            // The first of those that do well is taken while none is busy: so each that dies is one in use. Two come back.
            match number {
                1 | 3 | 5 | 7 | 9 => tunnels[number / 2].set(Passage::Closed),
                6 | 8 => tunnels[number / 2 - 3].set(Passage::Open),
                _ => {}
            }
        }
        let body = numbered(Signal::Logs, Protocol::Grpc, &format!("many-{request}."), request, 1);
        let answer = client.send(Call::export(Protocol::Grpc, Signal::Logs, KEY, body)).await;
        assert!(answer.accepted(Protocol::Grpc), "{answer:?}");
        // Exports go on meanwhile.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for request in 0..REQUESTS {
        let service = format!("many-{request}.");
        assert!(eventually(true, async || arrived(&service)).await, "{service} is lost");
    }
    let used = taken.iter().filter(|taken| !taken.lock().expect("no panic").is_empty()).count();
    assert!(used > 1, "nobody took over");
    edge.process.stop(Duration::from_secs(60)).await.expect("ends");
}
