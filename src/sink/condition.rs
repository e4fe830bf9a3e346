//! How a sink does, learned from what it is given: nobody has to ask while deliveries tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How a sink does, as far as it was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It takes what it is given.
    Well,
    /// Some of it; in words.
    Impaired(String),
    /// Nothing; in words.
    Out(String),
}

/// What was heard last.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When it answered last, whatever it said.
    at: Option<Instant>,
    /// Why it takes nothing from anybody.
    out: Option<String>,
    /// What each table said last that was given anything.
    tables: BTreeMap<Arc<str>, Table>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Table {
    Takes,
    /// It may take the next.
    Struggles(String),
    /// A person has to mend something first.
    Holds(String),
}

impl Heard {
    /// It answered.
    pub(crate) fn answered(&self) {
        let mut state = self.0.lock();
        state.at = Some(Instant::now());
        state.out = None;
    }

    /// It does not answer, or takes nothing from this gateway.
    pub(crate) fn out(&self, why: String) {
        self.0.lock().out = Some(why);
    }

    /// A table took what it was given.
    pub(crate) fn takes(&self, table: &Arc<str>) {
        self.said(table, Table::Takes);
    }

    /// A table did not take what it was given, and may take the next.
    pub(crate) fn struggles(&self, table: &Arc<str>, why: String) {
        self.said(table, Table::Struggles(why));
    }

    /// A table takes nothing until a person has mended something.
    pub(crate) fn holds(&self, table: &Arc<str>, why: String) {
        self.said(table, Table::Holds(why));
    }

    /// Tables that did not take what they were given last.
    pub(crate) fn troubled(&self) -> Vec<Arc<str>> {
        let state = self.0.lock();
        let troubled = state.tables.iter().filter(|(_, said)| **said != Table::Takes);
        troubled.map(|(table, _)| table.clone()).collect()
    }

    /// Whether it did well no longer than this ago.
    pub(crate) fn well_within(&self, age: Duration) -> bool {
        self.0.lock().at.is_some_and(|at| at.elapsed() < age) && self.condition() == Condition::Well
    }

    /// Whether nobody's inserts are taken.
    pub(crate) fn is_out(&self) -> bool {
        self.0.lock().out.is_some()
    }

    pub(crate) fn condition(&self) -> Condition {
        let state = self.0.lock();
        if let Some(why) = &state.out {
            return Condition::Out(why.clone());
        }
        if state.at.is_none() {
            return Condition::Out("nothing was heard of it yet".to_owned());
        }
        let why = |said: &Table| match said {
            Table::Takes => None,
            Table::Struggles(why) | Table::Holds(why) => Some(why.clone()),
        };
        let troubles: Vec<String> =
            state.tables.iter().filter_map(|(table, said)| Some(format!("{table}: {}", why(said)?))).collect();
        let all_hold = state.tables.values().all(|said| matches!(said, Table::Holds(_)));
        match (troubles.is_empty(), all_hold) {
            (true, _) => Condition::Well,
            (false, true) => Condition::Out(troubles.join("; ")),
            (false, false) => Condition::Impaired(troubles.join("; ")),
        }
    }

    fn said(&self, table: &Arc<str>, said: Table) {
        self.answered();
        self.0.lock().tables.insert(table.clone(), said);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_heard_last_counts() {
        let heard = Heard::default();
        let (logs, traces) = (Arc::from("otel_logs"), Arc::from("otel_traces"));
        assert!(matches!(heard.condition(), Condition::Out(_)), "nothing is known");
        heard.answered();
        assert_eq!(heard.condition(), Condition::Well);
        heard.out("no connection".to_owned());
        assert_eq!(heard.condition(), Condition::Out("no connection".to_owned()));

        heard.holds(&logs, "no right".to_owned());
        assert_eq!(
            heard.condition(),
            Condition::Out("otel_logs: no right".to_owned()),
            "the only table that was tried"
        );
        heard.takes(&traces);
        assert_eq!(heard.condition(), Condition::Impaired("otel_logs: no right".to_owned()));
        heard.struggles(&logs, "too many parts".to_owned());
        assert_eq!(heard.troubled(), std::slice::from_ref(&logs));
        heard.takes(&logs);
        assert_eq!(heard.condition(), Condition::Well);

        let minute = Duration::from_secs(60);
        assert!(heard.well_within(minute));
        tokio::time::advance(minute).await;
        assert!(!heard.well_within(minute));
        assert_eq!(heard.condition(), Condition::Well, "silence is no news");
    }
}
