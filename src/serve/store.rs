//! Steps 6, 8 and 9 as one thing that is opened and closed: the lanes, the spool behind them, and the deliveries to the
//! sink.
//!
//! With a spool on disk the start needs no ClickHouse once it has known it: its tables are kept beside the batches.
//! Without one the start waits for ClickHouse, and says so, as nothing could be acknowledged anyway.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use super::ServeError;
use crate::admin::status::{ConfigurationWatch, Sources};
use crate::batch::{Lanes, Left, RedisStore, Store as DigestStore};
use crate::blocking;
use crate::config::{self, Config, SinkConfig};
use crate::deliver::Deliveries;
use crate::https;
use crate::keys::KeyRing;
use crate::metrics::{Metrics, Reason};
use crate::readiness::{Check, Readiness, State};
use crate::rounds::Rounds;
use crate::sink::clickhouse::cluster::{self, Members};
use crate::sink::clickhouse::schema::ServerSchema;
use crate::sink::clickhouse::{ClickHouse, Schemas, Shards, StartError};
use crate::sink::collector::Collector;
use crate::sink::{Condition, Sink};
use crate::spool::disk::RealDisk;
use crate::spool::{Batch, Limits, Recovered, Settings, Spool};

/// How often ClickHouse is asked at a start that waits for it.
const EVERY: Duration = Duration::from_secs(2);

/// How often a sink that does not do well is asked when a spool stands before it: what waits there is delivered as soon as it can be.
const EVERY_WITH_SPOOL: Duration = Duration::from_secs(15);

/// The last known schema, in the spool's folder.
const SCHEMA_FILE: &str = "schema.json";

/// The same of each shard, where there are shards.
const SHARDS_FILE: &str = "schema-shards.json";

/// The cluster that they were read from, where one is named.
const CLUSTER_FILE: &str = "cluster.json";

/// What stands behind the gateway.
pub(super) struct Store {
    lanes: Arc<Lanes>,
    spool: Arc<Spool>,
    deliveries: Arc<Deliveries>,
    sink: Arc<dyn Sink>,
}

impl Store {
    /// Opens everything; what an earlier process left in the spool is delivered from here on.
    /// `predecessor`: another otelgate handed over its ports and may still hold the folder, to finish what it has begun.
    pub(super) async fn open(
        config: &Config,
        predecessor: bool,
        metrics: &Arc<Metrics>,
        readiness: &Readiness,
        rounds: &Rounds,
    ) -> Result<Store, ServeError> {
        let (spool, recovered, left) = match config.spool.clone() {
            Some(spool) => {
                let metrics = metrics.clone();
                // The predecessor stops within its own deadline, which is most likely this one's.
                let wait = if predecessor { config.shutdown.deadline } else { Duration::ZERO };
                blocking::run(move || open_spool(&spool, wait, &metrics)).await.map_err(io::Error::from)??
            }
            None => (Spool::in_memory(), Vec::new(), Left::default()),
        };
        let spool = Arc::new(spool);
        let (sink, at_once): (Arc<dyn Sink>, usize) = match &config.sink {
            SinkConfig::ClickHouse(config) => {
                let (sink, cores_for) = connect(config, &spool, readiness).await?;
                metrics.certificate_ends("sink.clickhouse.ca_file", https::authorities_end(config.ca_file.as_deref()));
                (sink, config.inserts_per_table.unwrap_or(cores_for))
            }
            SinkConfig::Forward(config) => {
                (Collector::new(config, rounds, metrics.clone())?, config.exports_per_signal)
            }
        };
        watch_readiness(&spool, &sink, readiness, rounds);
        let deliveries = Deliveries::new(sink.clone(), at_once, metrics.clone());
        for batch in recovered {
            deliveries.take(batch, None);
        }
        let lanes = Lanes::start(&sink, &spool, &deliveries, config.batch, &config.request, metrics, left);
        Ok(Store { lanes: Arc::new(lanes), spool, deliveries, sink })
    }

    /// What people may see of it.
    pub(super) fn sources(&self, keys: Arc<KeyRing>, configuration: ConfigurationWatch) -> Sources {
        Sources {
            configuration,
            spool: self.spool.clone(),
            deliveries: self.deliveries.clone(),
            sink: self.sink.clone(),
            keys,
            shared_digests: self.lanes.sharing(),
        }
    }

    pub(super) fn sink(&self) -> &Arc<dyn Sink> {
        &self.sink
    }

    pub(super) fn lanes(&self) -> &Arc<Lanes> {
        &self.lanes
    }

    /// Seals what is open, at once from now on; returns when every request is answered.
    pub(super) async fn seal(&self) {
        self.lanes.stop().await;
    }

    /// Seals what is open, and returns when every request is answered and the spool knows that this was a clean stop.
    pub(super) async fn close(&self) {
        self.lanes.stop().await;
        if !self.spool.is_durable() {
            return;
        }
        let (spool, remembered) = (self.spool.clone(), self.lanes.remembered());
        if let Err(error) = blocking::run_io(move || spool.stop(&remembered)).await {
            warn!(%error, "the spool could not be told that this was a clean stop; the next start takes more care");
        }
        self.lanes.leave().await;
    }
}

fn open_spool(
    spool: &config::Spool,
    wait: Duration,
    metrics: &Metrics,
) -> Result<(Spool, Vec<Batch>, Left), ServeError> {
    let limits = Limits {
        max_bytes: spool.max_bytes,
        max_bytes_per_key: spool.max_bytes_per_key,
        min_free_bytes: spool.min_free_bytes,
    };
    let disk = RealDisk::open_within(&spool.dir, wait)?;
    let (opened, recovered) = Spool::open(Box::new(disk), &Settings { limits, digest_ttl: spool.digest_ttl })?;
    let Recovered { batches, digests, clean, torn, damaged, unreadable, journal_damaged } = recovered;
    info!(batches = batches.len(), clean, torn, damaged, unreadable, journal_damaged, dir = %spool.dir.display(), "spool opened");
    for (reason, files) in
        [("torn", torn), ("damaged", damaged), ("unreadable", unreadable), ("journal", journal_damaged)]
    {
        metrics.recovered_files.get_or_create(&Reason { reason }).inc_by(files);
    }
    let open_shared =
        |config| Ok::<_, ServeError>(Box::new(RedisStore::new(config, spool.digest_ttl)?) as Box<dyn DigestStore>);
    let shared = spool.shared_digests.as_ref().map(open_shared).transpose()?;
    Ok((opened, batches, Left { digests, digest_ttl: spool.digest_ttl, shared }))
}

/// Waits for ClickHouse when there is no known schema to start with. What a person has to mend is an error at once. Beside the sink stands how many
/// inserts into a table its servers have cores for, each of them.
async fn connect(
    config: &config::ClickHouse,
    spool: &Arc<Spool>,
    readiness: &Readiness,
) -> Result<(Arc<dyn Sink>, usize), ServeError> {
    let members = members(config, spool, readiness).await?;
    let asked = config;
    let config = &members.as_ref().map_or(config.clone(), |members| members.in_place(config));
    if config.shards.is_empty() {
        let known = known_schema(spool, SCHEMA_FILE).await;
        let sink = patiently(readiness, || ClickHouse::connect(config.clone(), known.clone())).await?;
        keep_schema(sink.schema(), spool, SCHEMA_FILE);
        let cores_for = sink.schema().borrow().inserts_at_once();
        return Ok((sink, cores_for));
    }
    let known: Schemas = known_schema(spool, SHARDS_FILE).await.unwrap_or_default();
    let sink = patiently(readiness, || Shards::connect(config.clone(), &known)).await?;
    keep_schema(sink.schemas(), spool, SHARDS_FILE);
    let cores_for = sink.schemas().borrow().values().map(ServerSchema::inserts_at_once).min().unwrap_or(1);
    spool.notes_shards();
    if let Some(members) = members {
        let alive = Arc::downgrade(&sink);
        tokio::spawn(cluster::watch(asked.clone(), members, move || alive.strong_count() > 0));
    }
    Ok((sink, cores_for))
}

/// The cluster that the configuration names, as it is now, or as it was last where nobody says.
async fn members(
    config: &config::ClickHouse,
    spool: &Arc<Spool>,
    readiness: &Readiness,
) -> Result<Option<Members>, ServeError> {
    let known = known_schema::<Members>(spool, CLUSTER_FILE).await.filter(|known| known.are_of(config));
    let read = match known {
        None => patiently(readiness, || Members::read(config)).await?,
        Some(known) => Members::read(config).await.unwrap_or_else(|error| {
            warn!(%error, "the cluster is taken to be as it was last");
            Some(known)
        }),
    };
    if let (Some(members), true) = (&read, spool.is_durable()) {
        let (members, spool) = (members.clone(), spool.clone());
        if let Err(error) = blocking::run_io(move || spool.save(CLUSTER_FILE, &serde_json::to_vec(&members)?)).await {
            warn!(%error, "the cluster could not be kept; a start while ClickHouse is away will wait for it");
        }
    }
    Ok(read)
}

async fn patiently<T, F>(readiness: &Readiness, connect: impl Fn() -> F) -> Result<T, ServeError>
where
    F: Future<Output = Result<T, StartError>>,
{
    let waiting = readiness.check("sink");
    loop {
        match connect().await {
            Ok(sink) => return Ok(sink),
            Err(error) if error.is_away() => {
                warn!(%error, "ClickHouse is away; waiting for it before anything is accepted");
                waiting.set(Err(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn known_schema<T: DeserializeOwned + Send + 'static>(spool: &Arc<Spool>, file: &'static str) -> Option<T> {
    let spool = spool.clone();
    let bytes = blocking::run_io(move || spool.load(file)).await;
    let known = bytes.map(|bytes| bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()));
    known.unwrap_or_else(|error| {
        warn!(%error, "the last known schema could not be read");
        None
    })
}

/// From now on, where the spool survives the process.
fn keep_schema<T: Serialize + Send + Sync + 'static>(
    mut schema: watch::Receiver<Arc<T>>,
    spool: &Arc<Spool>,
    file: &'static str,
) {
    if !spool.is_durable() {
        return;
    }
    let spool = spool.clone();
    tokio::spawn(async move {
        loop {
            let (known, spool) = (schema.borrow_and_update().clone(), spool.clone());
            let save = move || spool.save(file, &serde_json::to_vec(&*known)?);
            if let Err(error) = blocking::run_io(save).await {
                warn!(%error, "the schema could not be kept; a start while ClickHouse is away will wait for it");
            }
            if schema.changed().await.is_err() {
                return;
            }
        }
    });
}

/// With a spool, ready means that requests can be kept in it, whether the sink takes anything or not, for that is what a spool is for: how the sink does
/// is information. Without one it is a condition, and the sink is asked when somebody wants to know and deliveries have not told for long.
fn watch_readiness(spool: &Arc<Spool>, sink: &Arc<dyn Sink>, readiness: &Readiness, rounds: &Rounds) {
    let check = readiness.check("sink");
    let with_spool = spool.is_durable();
    if with_spool {
        let (spool, check, readiness) = (spool.clone(), readiness.check("spool"), readiness.clone());
        let hangs = check.clone();
        let look = move || {
            check.set(spool.check());
            readiness.remark("spool", spool.remark());
        };
        rounds.add_or(look, move || hangs.set(Err("the spool's disk does not answer".to_owned())));
    }
    let asked = sink.clone();
    check.ask_on_demand(move || {
        let sink = asked.clone();
        async move { of(if with_spool { sink.knock().await } else { sink.ready().await }, with_spool) }
    });
    let (unwell, seen) = (Arc::new(Notify::new()), sink.clone());
    tokio::spawn(follow(sink.clone(), check.clone(), with_spool, unwell.clone()));
    let (pause, mut asked) = (if with_spool { EVERY_WITH_SPOOL } else { Duration::ZERO }, None::<Instant>);
    rounds.add(move || match seen.condition() {
        Condition::Well => check.set(State::Ok),
        _ if asked.is_none_or(|at| at.elapsed() >= pause) => {
            asked = Some(Instant::now());
            unwell.notify_one();
        }
        condition => check.set(of(condition, with_spool)),
    });
}

fn of(condition: Condition, with_spool: bool) -> State {
    match condition {
        Condition::Well => State::Ok,
        Condition::Out(why) if !with_spool => State::No(why),
        Condition::Out(why) | Condition::Impaired(why) => State::Degraded(why),
    }
}

/// Asks a sink that deliveries found `unwell`, so that it is seen when it does well again though nobody sends anything.
async fn follow(sink: Arc<dyn Sink>, check: Check, with_spool: bool, unwell: Arc<Notify>) {
    loop {
        unwell.notified().await;
        let mut condition = sink.condition();
        if condition != Condition::Well {
            condition = sink.ready().await;
        }
        check.set(of(condition, with_spool));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_a_start_cannot_use_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let spool = config::Spool {
            dir: folder.path().join("spool"),
            max_bytes: 1 << 30,
            max_bytes_per_key: 1 << 30,
            min_free_bytes: 0,
            digest_ttl: Duration::from_secs(600),
            shared_digests: None,
        };
        drop(open_spool(&spool, Duration::ZERO, &Metrics::default()).unwrap());
        for (sequence, bytes) in [(1, 20), (2, 5000), (3, 6000)] {
            std::fs::write(spool.dir.join(format!("{sequence:020}.batch")), vec![7; bytes]).unwrap();
        }
        let metrics = Metrics::default();
        drop(open_spool(&spool, Duration::ZERO, &metrics).unwrap());
        let files = |reason| metrics.recovered_files.get_or_create(&Reason { reason }).get();
        assert_eq!(["torn", "damaged", "unreadable"].map(files), [1, 0, 2]);
    }
}
