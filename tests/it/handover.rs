//! A restart that no client notices: the next otelgate takes the ports over, whatever was not answered by the old one is answered by it, and
//! clients that never repeat anything lose nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use otelgate::signal::Signal;

use crate::support::client::{Call, Client, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually, get};

/// Two free ports.
async fn ports() -> (u16, u16) {
    let free = async || tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (otlp, admin) = (free().await, free().await);
    (otlp.local_addr().expect("bound").port(), admin.local_addr().expect("bound").port())
}

/// Sends one request after another and repeats none, each over a connection of its own or all over one.
struct Stream {
    base: String,
    ca: PathBuf,
    name: String,
    protocol: Protocol,
    one_connection: bool,
}

impl Stream {
    fn client(&self) -> Client {
        Client::new(&self.base, Some(&self.ca), self.protocol == Protocol::Grpc).expect("a client")
    }

    async fn run(self, stop: Arc<AtomicBool>) -> u64 {
        let (mut client, mut sent) = (self.client(), 0);
        while !stop.load(Relaxed) {
            if !self.one_connection {
                client = self.client();
            }
            let body = numbered(Signal::Logs, self.protocol, &self.name, sent, 1);
            let answer = client.try_send(Call::export(self.protocol, Signal::Logs, KEY, body)).await;
            let answer = answer.unwrap_or_else(|error| panic!("{} was not answered: {error:?}", self.name));
            assert!(answer.accepted(self.protocol), "{}: {answer:?}", self.name);
            sent += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        sent
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_refused_while_one_otelgate_takes_over_from_another() {
    let clickhouse = clickhouse().await;
    let spool = tempfile::tempdir().unwrap();
    let sections = format!(
        "spool: {{ dir: \"{}\", min_free_bytes: 0MiB }}\nlimits: {{ requests_per_second: 100000 }}\n",
        spool.path().display()
    );
    let setup = Setup { name: "handover", sections: &sections, ports: ports().await, ..Setup::default() };
    let edge = Edge::start(clickhouse, setup).await;
    let stop = Arc::new(AtomicBool::new(false));
    let kinds =
        [(Protocol::HttpProtobuf, false), (Protocol::HttpJson, false), (Protocol::Grpc, false), (Protocol::Grpc, true)];
    let streams = kinds.into_iter().enumerate().map(|(number, (protocol, one_connection))| {
        let (base, ca) = (edge.gateway.otlp[0].clone(), edge.certificates.ca.clone());
        let stream = Stream { base, ca, name: format!("stream-{number}"), protocol, one_connection };
        tokio::spawn(stream.run(stop.clone()))
    });
    let streams: Vec<_> = streams.collect();
    let mut old = edge.gateway.process;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (next, ended) = tokio::join!(edge.files.start(), async {
            // The next one waits by then.
            tokio::time::sleep(Duration::from_millis(300)).await;
            old.stop(Duration::from_secs(60)).await
        });
        assert_eq!(ended.expect("ends in time").code(), Some(0));
        old = next.expect("the next otelgate starts").process;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Relaxed);
    let mut sent = 0;
    for stream in streams {
        sent += stream.await.expect("a stream that lost nothing");
    }
    assert!(sent > 100, "{sent}");
    let rows = format!("SELECT count() FROM {}.otel_logs", edge.database);
    let stored = eventually(sent, async || clickhouse.number(&rows).await.expect("a number")).await;
    assert_eq!(stored, sent);
    assert_eq!(old.stop(Duration::from_secs(60)).await.expect("ends in time").code(), Some(0));
}

#[tokio::test]
async fn a_port_that_is_not_given_up_is_an_error_that_says_what_to_do() {
    let setup = Setup { name: "handover_kept", ports: ports().await, ..Setup::default() };
    let edge = Edge::start(clickhouse().await, setup).await;
    let config =
        std::fs::read_to_string(&edge.files.config).unwrap().replacen("listen: {", "listen: { handover: 200ms,", 1);
    std::fs::write(&edge.files.config, config).unwrap();
    let error = format!("{:#}", edge.files.start().await.unwrap_err());
    assert!(error.contains("another otelgate has it") && error.contains("listen.handover"), "{error}");
    edge.stop().await;
}

/// What systemd does for a socket unit and its service: keeps the socket, and starts the service again when it ends.
const SUPERVISOR: &str = "
import os, signal, socket, sys
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])), backlog=1024)
listener.set_inheritable(True)
child, stopping = 0, False
def stop(*_):
    global stopping
    stopping = True
    os.kill(child, signal.SIGTERM)
signal.signal(signal.SIGTERM, stop)
while not stopping:
    child = os.fork()
    if child == 0:
        os.dup2(listener.fileno(), 3, inheritable=True)
        os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
        os.execv(sys.argv[3], sys.argv[3:])
    with open(sys.argv[2], 'w') as file:
        file.write(str(child))
    os.waitpid(child, 0)
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_systemd_keeps_refuses_nobody_between_two_processes() {
    let clickhouse = clickhouse().await;
    let folder = tempfile::tempdir().unwrap();
    let (otlp, admin) = ports().await;
    let sections = format!(
        "spool: {{ dir: \"{}\", min_free_bytes: 0MiB }}\nshutdown: {{ drain_delay: 0s }}\nlimits: {{ requests_per_second: 100000 }}\n",
        folder.path().join("spool").display()
    );
    let setup = Setup { name: "activation", sections: &sections, ports: (otlp, admin), ..Setup::default() };
    let edge = Edge::start(clickhouse, setup).await;
    let (ca, files) = (edge.certificates.ca.clone(), edge.files.clone());
    // It leaves its configuration, certificate and keys.
    edge.gateway.process.stop(Duration::from_secs(60)).await.expect("ends in time");

    let pid_file = folder.path().join("pid");
    let mut supervisor = tokio::process::Command::new("python3");
    supervisor.args(["-c", SUPERVISOR, &otlp.to_string()]).arg(&pid_file).arg(stack::binary("otelgate").unwrap());
    supervisor.args(["serve", "--config"]).arg(&files.config).env("CLICKHOUSE_PASSWORD", &files.password);
    let gateway = stack::Gateway::launch(&mut supervisor, Some(&files.log)).await.expect("python3 and otelgate start");
    let stop = Arc::new(AtomicBool::new(false));
    let stream = Stream {
        base: gateway.otlp[0].clone(),
        ca,
        name: "activated".to_owned(),
        protocol: Protocol::HttpProtobuf,
        one_connection: false,
    };
    let stream = tokio::spawn(stream.run(stop.clone()));
    let pid = || std::fs::read_to_string(&pid_file).unwrap();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = pid();
        let process = rustix::process::Pid::from_raw(before.parse().unwrap()).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        assert!(eventually(true, async || pid() != before).await, "started again");
        assert_eq!(eventually(200, || get(&gateway.admin, "/readyz")).await, 200);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Relaxed);
    let sent = stream.await.expect("a stream that lost nothing");
    let rows = format!("SELECT count() FROM {}.otel_logs", edge.database);
    assert_eq!(eventually(sent, async || clickhouse.number(&rows).await.expect("a number")).await, sent);
    gateway.process.stop(Duration::from_secs(60)).await.expect("ends in time");
}
