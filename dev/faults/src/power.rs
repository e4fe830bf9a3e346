//! Power loss: an answer never leaves before what it promises is on the disk.
//!
//! The real program runs under `strace`, one request after another comes over a plain text connection, and the trace must show, for
//! each answer: the frame was written, then its file was synced, and where the file was new its folder was synced too, all of it
//! finished before the answer's first byte was handed to the kernel.

use std::fs;
use std::path::Path;
use std::process::Command as StdCommand;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use otlp_client::Protocol;
use stack::{ClickHouse, Process, binary};
use tokio::process::Command;

use crate::client::{self, Said, target};
use crate::requests::Requests;
use crate::rig::{Rig, Setup, Tables};

const CALLS: &str =
    "trace=openat,read,recvfrom,recvmsg,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync";
const REQUESTS: usize = 24;
/// Longer than an open batch waits before it is sealed, so that no seal of another batch is in a request's way.
const REST: Duration = Duration::from_millis(250);

/// What the trace shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Answers, each behind the sync of its frame.
    pub answers: usize,
    /// Those among them whose file was new.
    pub new_files: usize,
}

/// Runs the check; none where `strace` cannot trace here.
///
/// # Errors
/// An answer was early, or something does not start.
pub async fn run(clickhouse: &ClickHouse, folder: &Path) -> Result<Option<Checked>> {
    let works = StdCommand::new("strace").args(["-f", "-yy", "-o", "/dev/null", "true"]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: strace cannot trace here, so the order of writes, syncs and answers was not looked at");
        return Ok(None);
    }
    let setup = Setup {
        name: "power",
        tables: Tables::Window,
        plaintext: true,
        small_disk: false,
        trouble: false,
        shard_size: 0,
    };
    let mut rig = Rig::start(&[clickhouse], folder, setup).await?;
    rig.stop_gateway().await?;
    // No delivery writes into the files that are looked at.
    rig.proxy.cut_all(true);
    let trace = folder.join("power").join("strace.txt");
    let gateway = start(&rig, &trace).await?;
    let sent = send(&rig).await;
    let pid = fs::read_to_string(&trace)?.split_whitespace().next().context("an empty trace")?.to_owned();
    StdCommand::new("kill").args(["-KILL", &pid]).status()?;
    gateway.wait(Duration::from_secs(20)).await?;
    sent?;
    let calls = calls(&fs::read_to_string(&trace)?);
    look(&calls, rig.port, &rig.room.spool()).map(Some).with_context(|| format!("see {}", trace.display()))
}

async fn start(rig: &Rig, trace: &Path) -> Result<Process> {
    let mut command = Command::new("strace");
    command.args(["-f", "-yy", "-s", "512", "-e", CALLS, "-o"]).arg(trace).arg(binary("otelgate")?);
    command.args(["serve", "--config"]).arg(&rig.files.config).env("CLICKHOUSE_PASSWORD", &rig.files.password);
    Ok(Process::start(&mut command, Some(&rig.files.log), Duration::from_secs(60)).await?.0)
}

async fn send(rig: &Rig) -> Result<()> {
    let target = target(rig.port, &rig.key.key, Protocol::HttpProtobuf, false, None)?;
    let mut requests = Requests::new(0, Protocol::HttpProtobuf, 1);
    let mut connection = target.connect().await?;
    for _ in 0..REQUESTS {
        let said = client::send(&mut connection, &target, &requests.make()).await?;
        ensure!(said == Said::Accepted, "{said:?}");
        tokio::time::sleep(REST).await;
    }
    Ok(())
}

/// One system call: its text, and the lines of the trace on which it began and ended.
#[derive(Debug)]
struct Call {
    text: String,
    began: usize,
    ended: usize,
}

/// The calls of a trace that ended, in the order in which they began.
fn calls(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: Vec<(String, usize)> = Vec::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((thread, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(begin) = text.strip_suffix("<unfinished ...>") {
            unfinished.push((thread.to_owned(), calls.len()));
            calls.push(Call { text: begin.to_owned(), began: number, ended: usize::MAX });
        } else if text.starts_with("<... ") {
            let end = text.split_once("resumed>").map_or("", |(_, end)| end);
            let Some(at) = unfinished.iter().position(|(of, _)| of == thread) else { continue };
            let (_, place) = unfinished.swap_remove(at);
            calls[place].text = calls[place].text.trim_end().to_owned() + end;
            calls[place].ended = number;
        } else {
            calls.push(Call { text: text.to_owned(), began: number, ended: number });
        }
    }
    calls
}

impl Call {
    fn is(&self, names: &[&str]) -> bool {
        let name = self.text.split('(').next().unwrap_or_default();
        names.contains(&name)
    }

    /// The path or the connection of its first argument.
    fn of(&self) -> &str {
        let argument = self.text.split_once('<').map_or("", |(_, rest)| rest);
        // A connection's own text has a `>` in its middle: `TCP:[a->b]`.
        let end = argument.find(">,").or_else(|| argument.find(">)")).unwrap_or(0);
        &argument[..end]
    }

    fn result(&self) -> i64 {
        let text = self.text.rsplit_once(" = ").map_or("", |(_, result)| result);
        text.split(['<', ' ']).next().and_then(|number| number.parse().ok()).unwrap_or(-1)
    }
}

const WRITES: [&str; 5] = ["write", "writev", "pwrite64", "pwritev", "pwritev2"];
const SYNCS: [&str; 2] = ["fsync", "fdatasync"];

fn look(calls: &[Call], port: u16, spool: &Path) -> Result<Checked> {
    let connection = format!("TCP:[127.0.0.1:{port}->");
    let mut checked = Checked { answers: 0, new_files: 0 };
    let mut arrived = None;
    for call in calls.iter().filter(|call| call.of().starts_with(&connection)) {
        if call.is(&["read", "recvfrom", "recvmsg"]) && call.result() > 0 {
            arrived.get_or_insert(call.began);
        }
        if call.is(&["write", "writev", "sendto", "sendmsg"])
            && let Some(arrived) = arrived.take()
        {
            let new = one_answer(calls, arrived, call.began, spool)
                .with_context(|| format!("answer {} left too early", checked.answers + 1))?;
            checked.answers += 1;
            checked.new_files += usize::from(new);
        }
    }
    ensure!(checked.answers == REQUESTS, "{} answers in the trace, and {REQUESTS} requests sent", checked.answers);
    ensure!(checked.new_files > 0, "no file was new");
    Ok(checked)
}

/// The calls between a request's arrival and its answer; answers whether the frame's file was new.
fn one_answer(calls: &[Call], arrived: usize, answered: usize, spool: &Path) -> Result<bool> {
    let before = |call: &&Call| call.began > arrived && call.ended < answered;
    // A frame names its key, a note does not.
    let is_frame = |call: &&Call| call.is(&WRITES) && call.of().ends_with(".batch") && call.text.contains("faults");
    let frame = calls.iter().filter(before).find(is_frame).context("no frame was written before it")?;
    let file = frame.of();
    let synced = |after: &Call, path: &str| {
        let mut syncs = calls.iter().filter(before).filter(|call| call.is(&SYNCS) && call.of() == path);
        syncs.any(|sync| sync.began > after.ended && sync.result() == 0)
    };
    if !synced(frame, file) {
        bail!("{file} was written and not synced before it");
    }
    let creates = |call: &&Call| call.is(&["openat"]) && call.text.contains("O_CREAT") && call.text.contains(file);
    let Some(created) = calls.iter().filter(before).find(creates) else { return Ok(false) };
    if !synced(created, &spool.to_string_lossy()) {
        bail!("{file} is new, and its folder was not synced before it");
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
7 recvfrom(9<TCP:[127.0.0.1:4318->127.0.0.1:5]>, \"POST\", 4) = 4
8 openat(AT_FDCWD</>, \"/s/1.batch\", O_RDWR|O_CREAT|O_EXCL, 0600) = 12</s/1.batch>
8 writev(12</s/1.batch>, [{iov_base=\"faults\", iov_len=6}], 1 <unfinished ...>
7 epoll_wait(3) = 1
8 <... writev resumed>) = 6
8 fdatasync(12</s/1.batch> <unfinished ...>
7 epoll_wait(3) = 1
8 <... fdatasync resumed>) = 0
8 fsync(13</s>) = 0
7 writev(9<TCP:[127.0.0.1:4318->127.0.0.1:5]>, [{iov_base=\"HTTP/1.1 200 OK\"}], 1) = 15";

    fn without(line: &str) -> Result<bool> {
        let lines: Vec<&str> = TRACE.lines().filter(|one| !one.contains(line)).collect();
        let calls = calls(&lines.join("\n"));
        one_answer(&calls, 0, lines.len() - 1, Path::new("/s"))
    }

    #[test]
    fn an_early_answer_is_seen() {
        assert!(without("nothing").unwrap());
        assert!(without("fdatasync").is_err());
        assert!(without("fsync(13").is_err());
        assert!(without("writev").is_err());
        assert!(!without("openat").unwrap());
    }
}
