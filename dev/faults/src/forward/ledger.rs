//! The check at the end: every record against what its client was told, and what is there twice against otelgate's counter.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use otlp_client::Signal;

use super::receiver::{Arrived, Receiver};
use crate::crowd::{Fate, Ledger};

/// What was found.
#[derive(Debug, Default, Clone)]
pub struct Findings {
    /// Records that were acknowledged.
    pub acknowledged: u64,
    /// Requests that were acknowledged.
    pub requests: usize,
    /// Requests that were only ever refused.
    pub refused: usize,
    /// Rows over the first of a record, by signal.
    pub doubled: [u64; 3],
    /// Records of exports whose outcome was unknown, as all of otelgate's processes counted them, by signal.
    pub unknown: [u64; 3],
    /// Everything that breaks the promise, a line each.
    pub broken: Vec<String>,
}

impl Findings {
    /// Takes otelgate's count, which nothing that is there twice may exceed.
    pub(super) fn count_unknown(&mut self, unknown: [u64; 3]) {
        self.unknown = unknown;
        for ((signal, doubled), unknown) in Signal::ALL.iter().zip(self.doubled).zip(unknown) {
            if doubled > unknown {
                let line = format!("{signal:?}: {doubled} records more than once, {unknown} of unknown outcome");
                self.broken.push(line);
            }
        }
    }
}

/// Waits until everything acknowledged is there, or until nothing has changed for `patience`; then checks every record.
pub(super) async fn check(receiver: &Receiver, ledger: &Ledger, patience: Duration) -> Findings {
    let mut changed = (Instant::now(), 0);
    loop {
        let (rows, findings) = find(&receiver.arrived(), ledger);
        if rows != changed.1 {
            changed = (Instant::now(), rows);
        }
        if findings.broken.is_empty() || changed.0.elapsed() > patience {
            break;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // A record that comes twice may come late.
    tokio::time::sleep(Duration::from_secs(1)).await;
    find(&receiver.arrived(), ledger).1
}

/// How many records arrived, each as often as it did, and what is to be said of them.
fn find(arrived: &Arrived, ledger: &Ledger) -> (u64, Findings) {
    let all = arrived.values().flat_map(BTreeMap::values).sum();
    let mut findings = Findings { broken: ledger.wrong.clone(), ..Findings::default() };
    let mut sent = BTreeSet::new();
    let nothing = BTreeMap::new();
    for (request, fate) in &ledger.requests {
        let (mut whole, mut none) = (true, true);
        for (table, expected) in &request.rows {
            let name = (request.service.clone(), *table);
            let found = arrived.get(&name).unwrap_or(&nothing);
            sent.insert(name);
            whole &= found.keys().copied().eq(0..i64::try_from(*expected).unwrap_or(i64::MAX));
            none &= found.is_empty();
            findings.doubled[request.signal as usize] += found.values().map(|times| times - 1).sum::<u64>();
        }
        let kept = match fate {
            Fate::Accepted => whole,
            Fate::Refused => none,
            Fate::Unknown => whole || none,
        };
        if !kept {
            findings.broken.push(format!("{} was {fate:?}; whole: {whole}, nothing there: {none}", request.service));
        }
        findings.requests += usize::from(*fate == Fate::Accepted);
        findings.refused += usize::from(*fate == Fate::Refused);
        if *fate == Fate::Accepted {
            findings.acknowledged += request.rows.values().sum::<u64>();
        }
    }
    let strangers = arrived.keys().filter(|name| !sent.contains(name));
    findings.broken.extend(strangers.map(|(service, table)| format!("{service} in {table}: nobody sent it")));
    (all, findings)
}

/// What is wrong with the account of `/status`: once the spool is empty, all that was accepted is delivered.
pub(super) fn account(status: &str) -> Result<Vec<String>> {
    let status: serde_json::Value = serde_json::from_str(status).context("/status")?;
    let mut wrong = Vec::new();
    for signal in ["traces", "logs", "metrics"] {
        let rows = &status["tables"][signal]["rows"];
        if rows["accepted"].as_u64().is_none() || rows["accepted"] != rows["stored"] {
            wrong.push(format!("{signal}: everything is delivered, and /status says {rows}"));
        }
    }
    Ok(wrong)
}
