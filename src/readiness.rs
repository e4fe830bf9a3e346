//! Whether this process should be sent traffic, and if not, why, in words.
//!
//! A check is a name and what was last found out about it; whoever knows sets it (the listeners, the spool, a probe of the sink). A
//! check that nobody has set yet counts as failed, so that a start is not ready before everything said so. What costs a question is asked when
//! somebody wants to know, and not before.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Longest wait for all that is asked because somebody wants to know.
const PATIENCE: Duration = Duration::from_secs(4);

/// What is known, by the checks' names.
pub(crate) type Checks = BTreeMap<&'static str, State>;

/// What is known about one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Fine.
    Ok,
    /// Not fine, and no reason to send traffic elsewhere; in words.
    Degraded(String),
    /// This process should not be sent traffic; in words.
    No(String),
}

impl From<Result<(), String>> for State {
    fn from(found: Result<(), String>) -> State {
        found.map_or_else(State::No, |()| State::Ok)
    }
}

/// The checks of `/readyz`; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Readiness {
    checks: watch::Sender<Checks>,
    remarks: Arc<Mutex<BTreeMap<&'static str, String>>>,
    questions: Questions,
}

type Question = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What is asked when somebody wants to know.
#[derive(Clone, Default)]
struct Questions(Arc<Mutex<Vec<Question>>>);

impl fmt::Debug for Questions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} questions", self.0.lock().len())
    }
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
            checks.entry(name).or_insert_with(|| State::No("not known yet".into()));
            new
        });
        Check { readiness: self.clone(), name }
    }

    /// From now on not ready, whatever the checks say.
    pub(crate) fn stopping(&self) {
        self.check("stopping").set(State::No("this process is stopping".into()));
    }

    /// The same, as everything is delivered before it stops.
    pub(crate) fn draining(&self) {
        self.check("draining").set(State::No("this process is being drained".into()));
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

    /// Somebody wants to know: asks what nobody asks otherwise, and returns when it is answered, within a few seconds.
    pub(crate) async fn refresh(&self) {
        let questions = self.questions.0.lock().clone();
        let asking = async {
            for question in questions {
                question().await;
            }
        };
        // A question that is not answered in time leaves what was known.
        let _ = tokio::time::timeout(PATIENCE, asking).await;
    }

    /// Ready or not, and one line a check: `ok NAME`, `degraded NAME: why` or `no NAME: why`; then one a remark: `degraded NAME: what`.
    pub(crate) fn report(&self) -> (bool, String) {
        let checks = self.checks.borrow();
        let mut lines = String::new();
        for (name, state) in checks.iter() {
            match state {
                State::Ok => lines.push_str(&format!("ok {name}\n")),
                State::Degraded(why) => lines.push_str(&format!("degraded {name}: {why}\n")),
                State::No(why) => lines.push_str(&format!("no {name}: {why}\n")),
            }
        }
        for (name, remark) in self.remarks.lock().iter() {
            lines.push_str(&format!("degraded {name}: {remark}\n"));
        }
        (!checks.values().any(|state| matches!(state, State::No(_))), lines)
    }
}

impl Check {
    /// What was found out: fine, or in words why not. A change is logged.
    pub(crate) fn set(&self, state: impl Into<State>) {
        let state = state.into();
        let mut before = None;
        self.readiness.checks.send_if_modified(|checks| {
            before = checks.insert(self.name, state.clone());
            before.as_ref() != Some(&state)
        });
        match (before, state) {
            (Some(State::Ok | State::Degraded(_)), State::No(why)) => {
                tracing::warn!(check = self.name, why, "no longer ready");
            }
            (Some(State::Ok | State::No(_)), State::Degraded(why)) => {
                tracing::warn!(check = self.name, why, "degraded");
            }
            (Some(State::No(_) | State::Degraded(_)), State::Ok) => tracing::info!(check = self.name, "ready"),
            _ => {}
        }
    }

    /// Asks this whenever somebody wants to know, and sets what it finds out.
    pub(crate) fn ask_on_demand<F>(&self, ask: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = State> + Send + 'static,
    {
        let check = self.clone();
        let question: Question = Arc::new(move || {
            let (check, asking) = (check.clone(), ask());
            Box::pin(async move { check.set(asking.await) })
        });
        self.readiness.questions.0.lock().push(question);
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
    async fn what_is_degraded_is_ready_and_asked_only_when_somebody_wants_to_know() {
        let readiness = Readiness::default();
        let sink = readiness.check("sink");
        let asked = Arc::new(Mutex::new(0));
        let count = asked.clone();
        sink.ask_on_demand(move || {
            *count.lock() += 1;
            std::future::ready(State::Degraded("half of it".into()))
        });
        assert_eq!((readiness.report().0, *asked.lock()), (false, 0));
        readiness.refresh().await;
        assert_eq!((readiness.report(), *asked.lock()), ((true, "degraded sink: half of it\n".into()), 1));
        sink.ask_on_demand(std::future::pending);
        tokio::time::timeout(PATIENCE * 2, readiness.refresh()).await.unwrap();
    }
}
