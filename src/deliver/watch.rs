//! What can be seen of deliveries: metrics, log lines, and per table what went wrong last, for `/status`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::limited;
use crate::metrics::{Metrics, OfColumn, OfInsert, OfShard, OfShardInsert, OfTable};
use crate::sink::{Look, Outcome, PartDelivery};

/// Something that happened to a part of a table.
pub(super) enum Report<'a> {
    /// An attempt ended, after so long.
    Sent(&'a Outcome, Duration),
    /// A look was taken.
    Looked(&'a Look),
    /// It is in.
    In(&'a PartDelivery),
    /// So many rows of it are, without these columns, which the table does not have any more.
    Without(&'a [Arc<str>], u64),
    /// It is in, though the sink said otherwise.
    InDespite(&'a str),
    /// So many rows were too much at once; no more than this limit are under way from now on.
    Less(u64, u64),
    /// It waits for a person.
    Held(&'a str),
    /// It is refused for good, whole or a piece of it.
    Refused(&'a str),
}

/// How deliveries to a table go.
#[derive(Debug, Clone, Default)]
pub(crate) struct TableHealth {
    /// Attempts in flight or pausing.
    pub(crate) working: usize,
    /// Parts that wait for their turn.
    pub(crate) waiting: usize,
    /// Parts that wait for a person.
    pub(crate) held: usize,
    /// The most rows that are sent at once, while the sink does not take all that there is.
    pub(crate) rows_at_once: Option<u64>,
    /// What went wrong last, in words, and when.
    pub(crate) last_error: Option<(SystemTime, Arc<str>)>,
    /// When something was delivered last.
    pub(crate) last_delivery: Option<SystemTime>,
    /// Rows delivered without a column that the table does not have any more, by column.
    pub(crate) without: BTreeMap<Arc<str>, u64>,
}

impl TableHealth {
    /// What went wrong since something was delivered last.
    pub(super) fn wrong_now(&self) -> Option<Arc<str>> {
        let (at, why) = self.last_error.as_ref()?;
        self.last_delivery.is_none_or(|delivered| delivered < *at).then(|| why.clone())
    }
}

/// How deliveries to a shard go.
#[derive(Debug, Clone, Default)]
pub(crate) struct ShardHealth {
    /// Rows that went there since the start.
    pub(crate) rows: u64,
    /// Parts that wait for a person.
    pub(crate) held: u64,
    /// What went wrong last, in words, and when.
    pub(crate) last_error: Option<(SystemTime, Arc<str>)>,
    /// When something was delivered last.
    pub(crate) last_delivery: Option<SystemTime>,
}

/// Everything that watches deliveries.
pub(super) struct Watch {
    metrics: Arc<Metrics>,
    tables: Mutex<BTreeMap<Arc<str>, TableHealth>>,
    /// In the order of the configuration.
    shards: Mutex<Vec<ShardHealth>>,
}

impl Watch {
    pub(super) fn new(metrics: Arc<Metrics>, shards: usize) -> Self {
        Watch { metrics, tables: Mutex::default(), shards: Mutex::new(vec![ShardHealth::default(); shards]) }
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn tables(&self) -> BTreeMap<Arc<str>, TableHealth> {
        self.tables.lock().clone()
    }

    pub(super) fn shards(&self) -> Vec<ShardHealth> {
        self.shards.lock().clone()
    }

    /// A part of this table, at the shard of this place, began or ceased to be held.
    pub(super) fn held(&self, table: &Arc<str>, shard: Option<usize>, change: i64) {
        self.of_shard(shard, |health| health.held = health.held.saturating_add_signed(change));
        if let Some(of) = OfShard::at(shard) {
            self.metrics.shard_parts_held.get_or_create(&of).inc_by(change);
        }
        self.metrics.parts_held.get_or_create(&OfTable { table: table.clone() }).inc_by(change);
    }

    pub(super) fn report(&self, table: &Arc<str>, shard: Option<usize>, report: Report<'_>) {
        self.of_shard(shard, |health| match &report {
            Report::Sent(outcome, _) => {
                if let (_, Some(why)) = named(outcome) {
                    health.last_error = Some((SystemTime::now(), why.as_str().into()));
                }
            }
            Report::In(delivery) => {
                health.rows = health.rows.saturating_add(delivery.rows_sent());
                health.last_delivery = Some(SystemTime::now());
            }
            Report::Looked(Look::Unclear { why }) => {
                health.last_error = Some((SystemTime::now(), why.as_str().into()));
            }
            Report::Held(why) => health.last_error = Some((SystemTime::now(), (*why).into())),
            _ => {}
        });
        match (OfShard::at(shard), &report) {
            (Some(OfShard { shard }), Report::Sent(outcome, _)) => {
                let of = OfShardInsert { shard, outcome: named(outcome).0 };
                self.metrics.shard_inserts.get_or_create(&of).inc();
            }
            (Some(of), Report::In(delivery)) => {
                self.metrics.shard_insert_rows.get_or_create(&of).inc_by(delivery.rows_sent());
            }
            _ => {}
        }
        match report {
            Report::Sent(outcome, took) => self.sent(table, outcome, took),
            Report::Looked(Look::Unclear { why }) => {
                self.error(table, why);
                limited!(warn, %table, %why, "cannot tell whether an insert is in");
            }
            Report::Looked(Look::Absent) => {
                limited!(warn, %table, "an insert of unknown outcome is not in; it goes again under a new token");
            }
            Report::Looked(Look::Present) => {}
            Report::In(delivery) => self.delivered(table, delivery),
            Report::Less(limit, rows) => {
                limited!(warn, %table, rows, limit, "that was too much at once; less is sent until the sink takes more");
            }
            Report::Without(columns, rows) => self.without(table, columns, rows),
            Report::InDespite(why) => {
                self.error(table, &format!("the rows are stored, but what depends on the table failed: {why}"));
                limited!(error, %table, %why, "rows are stored, but what depends on the table failed; its share of them is missing");
            }
            Report::Held(why) => {
                self.error(table, why);
                limited!(error, %table, %why, "deliveries are held until somebody mends this");
            }
            Report::Refused(why) => self.error(table, why),
        }
    }

    fn sent(&self, table: &Arc<str>, outcome: &Outcome, took: Duration) {
        let (name, why) = named(outcome);
        let of = OfInsert { table: table.clone(), outcome: name };
        self.metrics.inserts.get_or_create(&of).inc();
        let of = OfTable { table: table.clone() };
        self.metrics.insert_seconds.get_or_create(&of).observe(took.as_secs_f64());
        if let Some(why) = why {
            self.error(table, why);
            limited!(warn, %table, outcome = name, %why, "an insert failed");
        }
    }

    fn delivered(&self, table: &Arc<str>, delivery: &PartDelivery) {
        let rows = delivery.rows_sent();
        let bytes: usize = delivery.body.iter().map(bytes::Bytes::len).sum();
        let of = OfTable { table: table.clone() };
        self.metrics.insert_rows.get_or_create(&of).inc_by(rows);
        self.metrics.insert_bytes.get_or_create(&of).inc_by(bytes as u64);
        self.tables.lock().entry(table.clone()).or_default().last_delivery = Some(SystemTime::now());
    }

    fn without(&self, table: &Arc<str>, columns: &[Arc<str>], rows: u64) {
        for column in columns {
            let of = OfColumn { table: table.clone(), column: column.clone() };
            self.metrics.insert_rows_without.get_or_create(&of).inc_by(rows);
            *self.tables.lock().entry(table.clone()).or_default().without.entry(column.clone()).or_default() += rows;
            limited!(warn, %table, %column, rows, "rows are stored without a column that the table no longer has; what it held is gone");
        }
    }

    fn error(&self, table: &Arc<str>, why: &str) {
        let mut tables = self.tables.lock();
        tables.entry(table.clone()).or_default().last_error = Some((SystemTime::now(), why.into()));
    }

    fn of_shard(&self, shard: Option<usize>, change: impl FnOnce(&mut ShardHealth)) {
        let mut shards = self.shards.lock();
        if let Some(health) = shard.and_then(|place| shards.get_mut(place)) {
            change(health);
        }
    }
}

/// What an outcome is called, and why it is not well.
fn named(outcome: &Outcome) -> (&'static str, Option<&String>) {
    let (said, doubtful) = match outcome {
        Outcome::Doubtful { or_else } => (&**or_else, true),
        said => (said, false),
    };
    let (name, why) = match said {
        Outcome::Delivered | Outcome::DeliveredBut { .. } | Outcome::Doubtful { .. } => ("delivered", None),
        Outcome::Retry { why, .. } => ("retry", Some(why)),
        Outcome::TooMuch { why, sure: true } => ("too_much", Some(why)),
        Outcome::TooMuch { why, sure: false } => ("retry", Some(why)),
        Outcome::Unknown { why } => ("unknown", Some(why)),
        Outcome::Hold { why } => ("hold", Some(why)),
        Outcome::Refused { why } => ("refused", Some(why)),
    };
    (if doubtful && !outcome.is_too_much() { "unknown" } else { name }, why)
}
