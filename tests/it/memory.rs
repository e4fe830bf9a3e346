//! Memory comes back after one large request; what it holds of the keys that were presented, and who may look.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use otelgate::signal::Signal;
use stack::Gateway;
use stack::cost::{peak_memory, resident_memory};

use crate::support::client::{Call, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::{MOMENT, logs, numbered, text};
use crate::support::{clickhouse, eventually, skipped};

const GUESS: &str = "guessed-key-8d1f5b";
const PAGE: usize = 4096;
const MIB: u64 = 1 << 20;

/// Where in the memory of a process these bytes are, and what stands around them.
fn places(pid: u32, wanted: &str) -> io::Result<Vec<String>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut memory = File::open(format!("/proc/{pid}/mem"))?;
    let address = |text| u64::from_str_radix(text, 16).map_err(io::Error::other);
    let mut found = Vec::new();
    for region in maps.lines().filter(|region| region.contains(" rw")) {
        let Some((begin, end)) = region.split(' ').next().and_then(|range| range.split_once('-')) else { continue };
        let (begin, end) = (address(begin)?, address(end)?);
        let mut bytes = vec![0; usize::try_from(end - begin).map_err(io::Error::other)?];
        memory.seek(SeekFrom::Start(begin))?;
        // A region may have gone meanwhile.
        if memory.read_exact(&mut bytes).is_err() {
            continue;
        }
        for page in (0..bytes.len()).step_by(PAGE) {
            let until = |more: usize| &bytes[page..(page + PAGE + more).min(bytes.len())];
            // Most of it is nothing, which is compared faster than it is searched.
            if *until(0) == [0; PAGE] {
                continue;
            }
            if let Some(at) = memchr::memmem::find(until(wanted.len() - 1), wanted.as_bytes()) {
                let around = &bytes[(page + at).saturating_sub(60)..page + at + wanted.len()];
                found.push(format!("{region}: {}", around.escape_ascii()));
            }
        }
    }
    Ok(found)
}

/// More of them hold twice as much of what a load needs (docs/decisions/0013-allocator.md). The option is built in by .cargo/config.toml.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[tokio::test]
async fn the_allocator_has_an_arena_for_each_core() {
    let mut command = tokio::process::Command::new(stack::binary("otelgate").expect("it was built"));
    let output =
        command.arg("--version").env("_RJEM_MALLOC_CONF", "confirm_conf:true").output().await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.lines().any(|line| line.ends_with("Set conf value: narenas_ratio:1")), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_presented_key_is_wiped_when_its_connection_has_ended() {
    let Edge { gateway, files, certificates, .. } =
        &Edge::start(clickhouse().await, Setup { name: "memory", ..Setup::default() }).await;
    // Another one of the same configuration, into which one may look.
    let environment = [("CLICKHOUSE_PASSWORD", files.password.as_str()), ("OTELGATE_CORE_DUMPS", "true")];
    let open = Gateway::start(&files.config, &environment, Some(&files.log)).await.expect("it starts");
    let pid = open.process.pid().expect("running");
    for key in [KEY, GUESS] {
        for http2 in [true, false] {
            let client =
                crate::support::client::Client::new(&open.otlp[0], Some(&certificates.ca), http2).expect("a client");
            for protocol in Protocol::ALL.into_iter().filter(|protocol| http2 || *protocol != Protocol::Grpc) {
                let body = numbered(Signal::Logs, protocol, "memory", 0, 1);
                let answer = client.send(Call::export(protocol, Signal::Logs, key, body)).await;
                assert_eq!(answer.status == 401, key == GUESS && protocol != Protocol::Grpc, "{answer:?}");
            }
            // Without this one what follows would show nothing: HTTP/2 remembers headers for as long as a connection lives.
            match places(pid, key) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    skipped("this user may not read the memory of a process that it started");
                    return;
                }
                found => assert!(!http2 || !found.expect("read").is_empty(), "{key}"),
            }
        }
        let left = eventually(Vec::new(), async || places(pid, key).expect("read")).await;
        assert!(left.is_empty(), "{key}: {left:#?}");
    }
    drop((open, gateway));
}

/// The memory of a process that may not be dumped belongs to root in `/proc`, whoever runs it.
#[tokio::test]
async fn who_runs_it_may_not_look_into_it() {
    const NOBODY: u32 = 65_534;
    let folder = tempfile::tempdir().expect("a folder");
    let files = stack::Config::new(folder.path(), "").write().expect("written");
    let mut command = files.command().expect("built");
    command.args(["keys", "hash"]).stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
    if rustix::process::getuid().is_root() {
        command.uid(NOBODY);
    }
    let running = match command.spawn() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            skipped("nobody but this user may start what was built");
            return;
        }
        running => running.expect("it starts"),
    };
    let path = format!("/proc/{}/mem", running.id().expect("running"));
    let owner = eventually(0, async || fs::metadata(&path).expect("running").uid()).await;
    assert_eq!(owner, 0);
}

/// docs/limits.md names both figures.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[tokio::test]
async fn a_log_of_two_million_keys_leaves_the_process_small() {
    let clickhouse = clickhouse().await;
    let edge = Edge::start(clickhouse, Setup { name: "large", ..Setup::default() }).await;
    let pid = edge.gateway.process.pid().expect("running");
    let mut body = "{".to_owned();
    for key in 0..2_000_000 {
        let comma = if key == 0 { "" } else { "," };
        write!(body, "{comma}\"k{key}\":1").expect("text");
    }
    body.push('}');
    let record = LogRecord { time_unix_nano: MOMENT, body: Some(text(&body)), ..LogRecord::default() };
    let call = Call::export(Protocol::HttpProtobuf, Signal::Logs, KEY, logs("large", vec![record]));
    let answer = edge.client(true).send(call).await;
    assert!(answer.accepted(Protocol::HttpProtobuf), "{answer:?}");

    let stored = format!("SELECT sum(length(Body)) FROM {}.otel_logs", edge.database);
    let stored = eventually(body.len() as u64, async || clickhouse.number(&stored).await.unwrap_or(0)).await;
    assert_eq!(stored, body.len() as u64, "{}", edge.logged());
    assert!(peak_memory(pid).expect("running") > 100 * MIB, "it needed little: nothing is shown");
    let resident = async || resident_memory(pid).expect("running") / MIB;
    let small = eventually(true, async || resident().await < 64).await;
    assert!(small, "{} MiB stay", resident().await);
    edge.stop().await;
}
