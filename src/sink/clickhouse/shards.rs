//! Several shards: each is a ClickHouse of its own, with its own addresses, tables, health and doubts, and takes whole parts.
//!
//! A shard is known by the places (host and port) of its servers, which is what a part's note says: the order of shards and servers means nothing, and
//! replicas may come and go, as long as one of those that were noted is still there.
//!
//! Rows are encoded once, for whichever shard they go to: with every column that any shard's table has. A shard whose table lacks one takes the rows
//! without it, as a table that has lost a column does ([`change`](super::change)).

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::Uri;
use tokio::sync::watch;

use common::common;

use super::ClickHouse;
use super::encode::{EncoderFactory, ServerClock};
use super::schema::ServerSchema;
use super::start::{StartError, encoder_settings};
use crate::chunk::ChunkEncoder;
use crate::config::{self, SinkConfig};
use crate::signal::Signal;
use crate::sink::{self, AfterUnknown, BoxFuture, Condition, Look, Outcome, PartDelivery, Renewal, Sink, Window};

/// What is known of each shard's tables, by the shard's name.
pub(crate) type Schemas = BTreeMap<String, ServerSchema>;

/// Several ClickHouses, over which parts are divided.
pub(crate) struct Shards {
    config: config::ClickHouse,
    names: sink::Shards,
    /// By place in `names`.
    all: Vec<Arc<ClickHouse>>,
    encoders: EncoderFactory,
    /// What time it is at the first of them.
    clock: ServerClock,
    /// The time zone in which days are cut.
    zone: String,
    schemas: watch::Sender<Arc<Schemas>>,
    changes: watch::Sender<u64>,
}

impl Shards {
    /// Settles the schema of each shard, as [`ClickHouse::connect`] does. A shard that is away is taken to be as it was last, or as another one is.
    ///
    /// # Errors
    /// [`StartError`]: all are away, one has to be mended, or they do not go together.
    pub(crate) async fn connect(config: config::ClickHouse, known: &Schemas) -> Result<Arc<Shards>, StartError> {
        let mut settled: BTreeMap<usize, Arc<ClickHouse>> = BTreeMap::new();
        let (mut left, mut refused) = (Vec::new(), None);
        for (place, urls) in config.shards.iter().enumerate() {
            let own = config.of_shard(place);
            match ClickHouse::connect(own, last_known(known, urls).cloned()).await {
                Ok(shard) => drop(settled.insert(place, shard)),
                Err(error) if error.is_away() => {
                    left.push(place);
                    refused = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        let Some(other) = settled.values().next().map(|shard| (*shard.schema().borrow().clone()).clone()) else {
            return Err(refused.unwrap_or_else(|| StartError::Shards("none is named".to_owned())));
        };
        for place in left {
            settled.insert(place, ClickHouse::connect(config.of_shard(place), Some(other.clone())).await?);
        }
        let names: sink::Shards = config.shards.iter().map(|urls| Arc::from(name(urls))).collect();
        let all: Vec<Arc<ClickHouse>> = settled.into_values().collect();
        let schemas = schemas(&names, &all);
        let common = common(&schemas)?;
        // Each shard has said for itself what it does not understand.
        let clock = all.first().map(|first| first.clock.clone()).unwrap_or_default();
        let encoders = EncoderFactory::new(encoder_settings(&common, &config, &clock)?.0);
        let shards = Arc::new(Shards {
            config,
            names,
            encoders,
            clock,
            zone: common.timezone,
            schemas: watch::Sender::new(Arc::new(schemas)),
            changes: watch::Sender::new(0),
            all,
        });
        for shard in &shards.all {
            tokio::spawn(follow(Arc::downgrade(&shards), shard.schema(), shard.changes()));
        }
        Ok(shards)
    }

    /// What is known about the shards' tables, now and whenever it changes: to be kept for a start while they are away.
    pub(crate) fn schemas(&self) -> watch::Receiver<Arc<Schemas>> {
        self.schemas.subscribe()
    }

    fn read_again(&self) {
        let schemas = schemas(&self.names, &self.all);
        match common(&schemas).and_then(|common| encoder_settings(&common, &self.config, &self.clock)) {
            Ok((settings, _)) => self.encoders.replace(settings),
            Err(error) => tracing::error!(%error, "rows are written as they were for all shards last"),
        }
        self.schemas.send_replace(Arc::new(schemas));
    }

    /// The shard that a name means which was noted, perhaps for a configuration before this one.
    fn find(&self, noted: &str) -> Result<(&Arc<str>, &Arc<ClickHouse>), String> {
        let places = self.config.shards.iter().enumerate().filter(|(_, urls)| is(noted, urls)).map(|(place, _)| place);
        let found: Vec<usize> = places.collect();
        let one = match found[..] {
            [place] => self.names.get(place).zip(self.all.get(place)),
            _ => None,
        };
        one.ok_or_else(|| gone(noted, found.len()))
    }

    fn of(&self, part: &PartDelivery) -> Result<&Arc<ClickHouse>, String> {
        let noted = part.shard.as_deref().ok_or("nobody knows which shard the rows were sent to")?;
        self.find(noted).map(|(_, shard)| shard)
    }

    /// A part of which nobody knows where it went is absent only where every shard says so.
    async fn look_everywhere(&self, part: &PartDelivery) -> Look {
        let mut found = Look::Absent;
        for shard in &self.all {
            match shard.find(part).await {
                Look::Present => return Look::Present,
                Look::Absent => {}
                unclear @ Look::Unclear { .. } => found = unclear,
            }
        }
        found
    }

    fn together(&self, conditions: Vec<Condition>) -> Condition {
        let count = conditions.len();
        let mut troubles = Vec::new();
        let mut out = 0;
        for (name, condition) in self.names.iter().zip(conditions) {
            match condition {
                Condition::Well => {}
                Condition::Impaired(why) => troubles.push(format!("shard {name}: {why}")),
                Condition::Out(why) => {
                    out += 1;
                    troubles.push(format!("shard {name}: {why}"));
                }
            }
        }
        match troubles.is_empty() {
            true => Condition::Well,
            false if out == count => Condition::Out(troubles.join("; ")),
            false => Condition::Impaired(troubles.join("; ")),
        }
    }
}

/// Passes on what changes at a shard, for as long as all of them are there.
async fn follow(
    shards: Weak<Shards>,
    mut schema: watch::Receiver<Arc<ServerSchema>>,
    mut changes: watch::Receiver<u64>,
) {
    loop {
        let (changed, is_schema) = tokio::select! {
            changed = schema.changed() => (changed, true),
            changed = changes.changed() => (changed, false),
        };
        let (Ok(()), Some(shards)) = (changed, shards.upgrade()) else { return };
        if is_schema {
            shards.read_again();
        }
        shards.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// A shard's name: the places of its servers, whatever their order.
pub(super) fn name(urls: &[Uri]) -> String {
    let mut places: Vec<String> = urls.iter().map(config::place).collect();
    places.sort();
    places.join(",")
}

/// Whether a noted name means the shard of these servers: it had one of them.
pub(super) fn is(noted: &str, urls: &[Uri]) -> bool {
    urls.iter().any(|url| noted.split(',').any(|place| place == config::place(url)))
}

/// What is to be done about a part whose shard is not there any more, or is several.
pub(super) fn gone(noted: &str, found: usize) -> String {
    let what = match found {
        0 => "is not in the configuration any more",
        _ => "has its servers in several shards of the configuration now",
    };
    format!(
        "it was sent to the shard of {noted}, which {what}; it is sent nowhere else, because it may be stored there: put that shard back (in \
         sink.clickhouse.shards, or in the cluster that they are read from) and restart until nothing waits for it, or give the rows up with `otelgate spool drop`"
    )
}

fn last_known<'a>(known: &'a Schemas, urls: &[Uri]) -> Option<&'a ServerSchema> {
    known.iter().find(|(noted, _)| is(noted, urls)).map(|(_, schema)| schema)
}

fn schemas(names: &sink::Shards, all: &[Arc<ClickHouse>]) -> Schemas {
    let each = names.iter().zip(all).map(|(name, shard)| (name.to_string(), (**shard.schema().borrow()).clone()));
    each.collect()
}

impl Sink for Shards {
    fn encoder(&self, signal: Signal) -> Box<dyn ChunkEncoder> {
        self.encoders.encoder(signal)
    }

    fn deliver<'a>(&'a self, part: &'a PartDelivery) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            match self.of(part) {
                // One that was away at the start: what is one day elsewhere would be two there.
                Ok(shard) if shard.schema().borrow().timezone != self.zone => Outcome::Hold {
                    why: format!(
                        "this shard's time zone is not {}, that of the others; set the same <timezone> on all servers",
                        self.zone
                    ),
                },
                Ok(shard) => shard.insert(part).await,
                Err(why) => Outcome::Hold { why },
            }
        })
    }

    fn look<'a>(&'a self, part: &'a PartDelivery) -> BoxFuture<'a, Look> {
        Box::pin(async move {
            match (&part.shard, self.of(part)) {
                (None, _) => self.look_everywhere(part).await,
                (Some(_), Ok(shard)) => shard.find(part).await,
                (Some(_), Err(why)) => Look::Unclear { why },
            }
        })
    }

    fn after_unknown(&self, table: &str, shard: Option<&str>, since: Duration) -> AfterUnknown {
        let found = shard.and_then(|noted| self.find(noted).ok());
        found.map_or(AfterUnknown::Look, |(_, shard)| shard.after_unknown(table, None, since))
    }

    fn shards(&self) -> sink::Shards {
        self.names.clone()
    }

    fn shard(&self, noted: &str) -> Result<Option<Arc<str>>, String> {
        self.find(noted).map(|(name, _)| Some(name.clone()))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn columns_gone(&self, part: &PartDelivery) -> Vec<Arc<str>> {
        self.of(part).map_or(Vec::new(), |shard| shard.columns_gone(part))
    }

    fn renewal(self: Arc<Self>, config: &SinkConfig) -> Result<Renewal, String> {
        let each: Result<Vec<Renewal>, String> = self
            .all
            .iter()
            .enumerate()
            .map(|(place, shard)| {
                let config = match config {
                    SinkConfig::ClickHouse(config) => SinkConfig::ClickHouse(config::ClickHouse {
                        urls: self.config.of_shard(place).urls,
                        shards: Vec::new(),
                        ..config.clone()
                    }),
                    other => other.clone(),
                };
                shard.clone().renewal(&config)
            })
            .collect();
        let each = each?;
        Ok(Box::new(move || each.into_iter().for_each(|renew| renew())))
    }

    /// The fewest tokens that any shard's table keeps.
    fn windows(&self) -> Vec<Window> {
        let mut windows = BTreeMap::<String, Window>::new();
        for window in self.all.iter().flat_map(|shard| shard.windows()) {
            let known = windows.entry(window.table.clone()).or_insert_with(|| window.clone());
            if window.tokens < known.tokens {
                *known = window;
            }
        }
        windows.into_values().collect()
    }

    fn condition(&self) -> Condition {
        self.together(self.all.iter().map(|shard| shard.condition()).collect())
    }

    fn knock(&self) -> BoxFuture<'_, Condition> {
        Box::pin(async move {
            let mut conditions = Vec::new();
            for shard in &self.all {
                conditions.push(shard.knock_at().await);
            }
            self.together(conditions)
        })
    }

    fn ready(&self) -> BoxFuture<'_, Condition> {
        Box::pin(async move {
            let mut conditions = Vec::new();
            for shard in &self.all {
                conditions.push(shard.ask_anew().await);
            }
            self.together(conditions)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(all: &[&str]) -> Vec<Uri> {
        all.iter().map(|url| url.parse().unwrap()).collect()
    }

    #[test]
    fn a_shard_is_the_same_whatever_the_order_and_though_replicas_come_and_go() {
        let noted = name(&urls(&["http://b:8123", "https://a"]));
        assert_eq!(noted, "a:443,b:8123");
        assert_eq!(noted, name(&urls(&["https://a:443/", "http://b:8123/"])));
        for same in [&["https://a"][..], &["http://c:8123", "http://b:8123"]] {
            assert!(is(&noted, &urls(same)));
        }
        for other in [&["http://b:8124"][..], &["http://c:8123", "http://a:8123"]] {
            assert!(!is(&noted, &urls(other)));
        }
    }
}
