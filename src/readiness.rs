//! Whether this process should be sent traffic, and if not, why, in words.
//!
//! A check is a name and what was last found out about it; whoever knows sets it (the listeners, the spool, a probe of the sink). A
//! check that nobody has set yet counts as failed, so that a start is not ready before everything said so.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

/// What is known, by the checks' names.
pub(crate) type Checks = BTreeMap<&'static str, Result<(), String>>;

/// The checks of `/readyz`; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Readiness {
    checks: watch::Sender<Checks>,
    remarks: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

/// The right to say what is known about one check.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    readiness: Readiness,
    name: &'static str,
}

impl Readiness {
    /// Adds a check, which fails until its first [`Check::set`]; one that is there already stays as it is.
    pub(crate) fn check(&self, name: &'static str) -> Check {
        self.checks.send_if_modified(|checks| {
            let new = !checks.contains_key(name);
            checks.entry(name).or_insert_with(|| Err("not known yet".into()));
            new
        });
        Check { readiness: self.clone(), name }
    }

    /// From now on not ready, whatever the checks say.
    pub(crate) fn stopping(&self) {
        self.check("stopping").set(Err("this process is stopping".into()));
    }

    /// What a person should know of though it stands in nobody's way, in words; `None` when all is well. A change is logged.
    pub(crate) fn remark(&self, name: &'static str, remark: Option<String>) {
        let mut remarks = self.remarks.lock();
        if remarks.get(name) == remark.as_ref() {
            return;
        }
        match remark {
            Some(remark) => {
                tracing::error!(check = name, "degraded: {remark}");
                remarks.insert(name, remark);
            }
            None => {
                tracing::info!(check = name, "no longer degraded");
                remarks.remove(name);
            }
        }
    }

    /// Tells whenever a check has changed.
    pub(crate) fn changes(&self) -> watch::Receiver<Checks> {
        self.checks.subscribe()
    }

    /// Ready or not, and one line a check: `ok NAME` or `no NAME: why`; then one a remark: `degraded NAME: what`.
    pub(crate) fn report(&self) -> (bool, String) {
        let checks = self.checks.borrow();
        let mut lines = String::new();
        for (name, state) in checks.iter() {
            match state {
                Ok(()) => lines.push_str(&format!("ok {name}\n")),
                Err(why) => lines.push_str(&format!("no {name}: {why}\n")),
            }
        }
        for (name, remark) in self.remarks.lock().iter() {
            lines.push_str(&format!("degraded {name}: {remark}\n"));
        }
        (checks.values().all(Result::is_ok), lines)
    }
}

impl Check {
    /// What was found out: fine, or in words why not. A change is logged.
    pub(crate) fn set(&self, state: Result<(), String>) {
        let mut before = None;
        self.readiness.checks.send_if_modified(|checks| {
            before = checks.insert(self.name, state.clone());
            before.as_ref() != Some(&state)
        });
        match (before, state) {
            (Some(Ok(())), Err(why)) => {
                tracing::warn!(check = self.name, why, "no longer ready");
            }
            (Some(Err(_)), Ok(())) => tracing::info!(check = self.name, "ready"),
            _ => {}
        }
    }

    /// Asks again and again, `every` so often and never waiting longer than that for an answer, for as long as it is polled.
    pub(crate) async fn probe<F>(self, every: Duration, mut ask: impl FnMut() -> F)
    where
        F: Future<Output = Result<(), String>>,
    {
        loop {
            let answer = tokio::time::timeout(every, ask()).await;
            self.set(answer.unwrap_or_else(|_| Err(format!("no answer within {every:?}"))));
            tokio::time::sleep(every).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::readiness::*;

    #[test]
    fn ready_when_every_check_said_so_and_never_again_when_stopping() {
        let readiness = Readiness::default();
        let listening = readiness.check("listening");
        let sink = readiness.check("sink");
        listening.set(Ok(()));
        assert_eq!(readiness.report(), (false, "ok listening\nno sink: not known yet\n".into()));
        sink.set(Ok(()));
        assert!(readiness.report().0);
        readiness.stopping();
        let (ready, lines) = readiness.report();
        assert!(!ready);
        assert!(lines.contains("no stopping: this process is stopping\n"));
    }

    #[test]
    fn a_remark_is_shown_and_changes_nothing() {
        let readiness = Readiness::default();
        readiness.check("spool").set(Ok(()));
        readiness.remark("spool", Some("3 rows are lost".into()));
        assert_eq!(readiness.report(), (true, "ok spool\ndegraded spool: 3 rows are lost\n".into()));
        readiness.remark("spool", None);
        assert_eq!(readiness.report(), (true, "ok spool\n".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_is_not_ready() {
        let readiness = Readiness::default();
        let sink = readiness.check("sink");
        let probe = sink.probe(Duration::from_secs(2), std::future::pending);
        let _ = tokio::time::timeout(Duration::from_secs(3), probe).await;
        assert_eq!(readiness.report(), (false, "no sink: no answer within 2s\n".into()));
    }
}
