//! `/status`: where every accepted row is, and what stands in the way of those that are not stored.
//!
//! The equation that it shows, by key and by table, over all processes that the spool has seen:
//! accepted = stored + waiting + held + quarantined + lost + dropped.

mod configuration;
mod keys;
/// An answer in JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_value(body) {
        Ok(value) => (status, Json(value)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::sync::watch;

use crate::blocking;
use crate::deliver::Deliveries;
use crate::keys::{KeyRing, SharedState};
use crate::metrics::{Metrics, OfRows, OfTable};
use crate::rounds::Rounds;
use crate::shared_server::Sharing;
use crate::sink::{Condition, Sink};
use crate::spool::{Counts, Spool};
use configuration::ConfigurationStatus;
pub(crate) use configuration::ConfigurationWatch;
use keys::KeyStatus;

/// What stands behind the gateway; set once it is open.
pub(crate) type Behind = Arc<OnceLock<Sources>>;

/// Where the numbers come from.
pub(crate) struct Sources {
    /// Keeps the batches.
    pub(crate) spool: Arc<Spool>,
    /// Brings them to the sink.
    pub(crate) deliveries: Arc<Deliveries>,
    /// Takes them.
    pub(crate) sink: Arc<dyn Sink>,
    /// Whose they are.
    pub(crate) keys: Arc<KeyRing>,
    /// Whether digests are shared; nothing where they are not to be.
    pub(crate) shared_digests: Option<watch::Receiver<Sharing>>,
    /// What it all runs by.
    pub(crate) configuration: ConfigurationWatch,
}

/// Everything that `/status` says.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    /// All rows.
    pub(crate) rows: Account,
    /// All requests; those of which only some rows were refused count as stored, and without a spool those of which all were are not counted.
    pub(crate) requests: Account,
    /// Rows by key, and what the keys of that name are now.
    pub(crate) keys: BTreeMap<String, KeyStatus>,
    /// Rows by table, and how its deliveries go.
    pub(crate) tables: BTreeMap<String, TableStatus>,
    /// Rows by key, then table.
    pub(crate) rows_by_key_and_table: BTreeMap<String, BTreeMap<String, Account>>,
    /// The spool.
    pub(crate) spool: SpoolStatus,
    /// How it stands with the replicas that share limits; nothing where they are not shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shared_limits: Option<SharedState>,
    /// Whether digests are shared now; nothing where they are not to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shared_digests: Option<Sharing>,
    /// The configuration.
    pub(crate) configuration: ConfigurationStatus,
    /// How the sink does.
    pub(crate) sink: SinkStatus,
    /// How each of its shards does; nothing where it has none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) shards: Vec<ShardStatus>,
}

/// A shard.
#[derive(Debug, Serialize)]
pub(crate) struct ShardStatus {
    /// Its place in the configuration, from 1.
    pub(crate) shard: usize,
    /// Host and port of its servers.
    pub(crate) servers: Vec<String>,
    /// Rows stored there since the start.
    pub(crate) rows: u64,
    /// Parts that were given to it and wait for a person.
    pub(crate) parts_held: u64,
    /// What went wrong there last, in words.
    pub(crate) last_error: Option<String>,
    /// When, in milliseconds since 1970.
    pub(crate) last_error_ms: Option<u64>,
    /// When something was stored there last, in milliseconds since 1970.
    pub(crate) last_stored_ms: Option<u64>,
}

/// The sink, as far as it was heard.
#[derive(Debug, Serialize)]
pub(crate) struct SinkStatus {
    /// `well`, `impaired` (it takes some of what it is given) or `out` (nothing).
    pub(crate) state: &'static str,
    /// Why not well.
    pub(crate) why: Option<String>,
}

/// Where something is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Account {
    /// The sum of all others.
    pub(crate) accepted: u64,
    /// In the sink.
    pub(crate) stored: u64,
    /// Not known to be in, or in a batch that is not finished.
    pub(crate) waiting: u64,
    /// Waiting for a person to mend something.
    pub(crate) held: u64,
    /// Refused for good by the sink, kept for people.
    pub(crate) quarantined: u64,
    /// Damaged on disk.
    pub(crate) lost: u64,
    /// Dropped by a person.
    pub(crate) dropped: u64,
}

/// A table.
#[derive(Debug, Default, Serialize)]
pub(crate) struct TableStatus {
    /// Its rows.
    pub(crate) rows: Account,
    /// Inserts in flight, or pausing after a failure.
    pub(crate) inserting: usize,
    /// Parts that wait for their turn.
    pub(crate) parts_waiting: usize,
    /// Parts that wait for a person.
    pub(crate) parts_held: usize,
    /// The most rows that are sent at once, while the sink does not take all that there is.
    pub(crate) rows_at_once: Option<u64>,
    /// What went wrong last, in words.
    pub(crate) last_error: Option<String>,
    /// When, in milliseconds since 1970.
    pub(crate) last_error_ms: Option<u64>,
    /// When something was stored last, in milliseconds since 1970.
    pub(crate) last_stored_ms: Option<u64>,
    /// Rows stored without a column that the table no longer has, by column.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) stored_without: BTreeMap<String, u64>,
    /// Tokens that the table keeps to recognise repeats; 0: it keeps none. Unknown for other sinks.
    pub(crate) deduplication_window: Option<u64>,
    /// SQL for an administrator, where the window is missing.
    pub(crate) remedy: Option<String>,
}

/// The spool.
#[derive(Debug, Serialize)]
pub(crate) struct SpoolStatus {
    /// Whether it is on disk: requests are then acknowledged before the sink has them.
    pub(crate) on_disk: bool,
    /// Bytes of all files.
    pub(crate) bytes: u64,
    /// The most that they may be; none without a limit.
    pub(crate) max_bytes: Option<u64>,
    /// Bytes by the key that they are charged to.
    pub(crate) bytes_by_key: BTreeMap<String, u64>,
    /// Sealed batches that are not finished.
    pub(crate) batches: usize,
    /// Age of the oldest of them.
    pub(crate) oldest_batch_seconds: Option<u64>,
    /// Why no request is taken now.
    pub(crate) full: Option<String>,
}

/// By key and table.
type Accounts = BTreeMap<(Arc<str>, Arc<str>), Account>;

impl Account {
    fn add(&mut self, other: &Account) {
        self.accepted += other.accepted;
        self.stored += other.stored;
        self.waiting += other.waiting;
        self.held += other.held;
        self.quarantined += other.quarantined;
        self.lost += other.lost;
        self.dropped += other.dropped;
    }

    /// `waiting` includes what is held.
    fn closed(mut self) -> Account {
        self.held = self.held.min(self.waiting);
        self.waiting -= self.held;
        self.accepted = self.stored + self.waiting + self.held + self.quarantined + self.lost + self.dropped;
        self
    }

    fn states(&self) -> [(&'static str, u64); 7] {
        [
            ("accepted", self.accepted),
            ("stored", self.stored),
            ("waiting", self.waiting),
            ("held", self.held),
            ("quarantined", self.quarantined),
            ("lost", self.lost),
            ("dropped", self.dropped),
        ]
    }
}

impl Sources {
    /// What is true now. Blocks.
    pub(crate) fn status(&self) -> Status {
        let (accounts, requests) = self.accounts();
        let mut keys = keys::of(&self.keys, &*self.sink);
        let mut by_both: BTreeMap<String, BTreeMap<String, Account>> = BTreeMap::new();
        let (mut rows, mut tables) = (Account::default(), self.tables());
        for ((key, table), account) in accounts {
            let (key, table) = (key.to_string(), table.to_string());
            rows.add(&account);
            keys.entry(key.clone()).or_default().rows.add(&account);
            tables.entry(table.clone()).or_default().rows.add(&account);
            by_both.entry(key).or_default().insert(table, account);
        }
        Status {
            rows,
            requests,
            keys,
            tables,
            rows_by_key_and_table: by_both,
            spool: self.spool(),
            shared_limits: self.keys.shared(),
            shared_digests: self.shared_digests.as_ref().map(|sharing| sharing.borrow().clone()),
            configuration: self.configuration.status(),
            sink: self.sink_status(),
            shards: self.shards(),
        }
    }

    /// Rows by key and table, and all requests.
    fn accounts(&self) -> (Accounts, Account) {
        // First what is held: what is finished in the meantime is then not counted twice.
        let held = self.deliveries.held();
        let (waiting, totals) = self.spool.account();
        let mut accounts = Accounts::new();
        let mut requests = Account::default();
        let mut take = |counts: &Counts, field: fn(&mut Account) -> &mut u64| {
            *field(&mut requests) += counts.total_requests();
            for (of, rows) in &counts.rows {
                *field(accounts.entry(of.clone()).or_default()) += rows;
            }
        };
        take(&held, |account| &mut account.held);
        take(&waiting, |account| &mut account.waiting);
        take(&totals.stored, |account| &mut account.stored);
        take(&totals.quarantined, |account| &mut account.quarantined);
        take(&totals.lost, |account| &mut account.lost);
        take(&totals.dropped, |account| &mut account.dropped);
        let closed = accounts.into_iter().map(|(of, account)| (of, account.closed())).collect();
        (closed, requests.closed())
    }

    fn tables(&self) -> BTreeMap<String, TableStatus> {
        let mut tables: BTreeMap<String, TableStatus> = BTreeMap::new();
        for (name, health) in self.deliveries.tables() {
            let (at, why) = health.last_error.unzip();
            let status = TableStatus {
                inserting: health.working,
                parts_waiting: health.waiting,
                parts_held: health.held,
                rows_at_once: health.rows_at_once,
                last_error: why.map(|why| why.to_string()),
                last_error_ms: at.map(milliseconds),
                last_stored_ms: health.last_delivery.map(milliseconds),
                stored_without: health.without.iter().map(|(column, rows)| (column.to_string(), *rows)).collect(),
                ..TableStatus::default()
            };
            tables.insert(name.to_string(), status);
        }
        for window in self.sink.windows() {
            let status = tables.entry(window.table).or_default();
            status.deduplication_window = Some(window.tokens);
            status.remedy = window.remedy;
        }
        tables
    }

    fn spool(&self) -> SpoolStatus {
        let (bytes, bytes_by_key) = self.spool.used();
        SpoolStatus {
            on_disk: self.spool.is_durable(),
            bytes,
            max_bytes: self.spool.max_bytes(),
            bytes_by_key: bytes_by_key.into_iter().map(|(key, bytes)| (key.to_string(), bytes)).collect(),
            batches: self.deliveries.batches().len(),
            oldest_batch_seconds: self.oldest_seconds(),
            full: self.spool.has_room().err().map(|away| away.to_string()),
        }
    }

    fn sink_status(&self) -> SinkStatus {
        let (state, why) = match self.sink.condition() {
            Condition::Well => ("well", None),
            Condition::Impaired(why) => ("impaired", Some(why)),
            Condition::Out(why) => ("out", Some(why)),
        };
        SinkStatus { state, why }
    }

    fn shards(&self) -> Vec<ShardStatus> {
        let all = self.deliveries.shards().into_iter().enumerate();
        all.map(|(place, (name, health))| {
            let (at, why) = health.last_error.unzip();
            ShardStatus {
                shard: place + 1,
                servers: name.split(',').map(str::to_owned).collect(),
                rows: health.rows,
                parts_held: health.held,
                last_error: why.map(|why| why.to_string()),
                last_error_ms: at.map(milliseconds),
                last_stored_ms: health.last_delivery.map(milliseconds),
            }
        })
        .collect()
    }

    fn oldest_seconds(&self) -> Option<u64> {
        let now = milliseconds(SystemTime::now());
        self.deliveries.oldest_ms().map(|oldest| now.saturating_sub(oldest) / 1000)
    }

    /// Keeps the metrics up to date from now on.
    pub(crate) fn follow(behind: Behind, rounds: &Rounds, metrics: Arc<Metrics>) {
        rounds.add(move || behind.get().into_iter().for_each(|sources| sources.measure(&metrics)));
    }

    fn measure(&self, metrics: &Metrics) {
        for ((key, table), account) in self.accounts().0 {
            for (state, rows) in account.states() {
                let of = OfRows { key: key.clone(), table: table.clone(), state };
                metrics.rows.get_or_create(&of).set(signed(rows));
            }
        }
        for (table, health) in self.deliveries.tables() {
            metrics.insert_rows_limit.get_or_create(&OfTable { table }).set(signed(health.rows_at_once.unwrap_or(0)));
        }
        metrics.spool_bytes.set(signed(self.spool.used().0));
        metrics.oldest_batch_seconds.set(signed(self.oldest_seconds().unwrap_or(0)));
    }
}

/// `/status`.
pub(crate) fn router(behind: Behind) -> Router {
    Router::new().route("/status", get(show)).with_state(behind)
}

async fn show(State(behind): State<Behind>) -> Response {
    let status = blocking::run(move || behind.get().map(Sources::status)).await;
    match status {
        Ok(Some(status)) => json(StatusCode::OK, &status),
        Ok(None) => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
