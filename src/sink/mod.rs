//! Where batches go: what every sink is, and the two of them.
//!
//! A [`Sink`] says two things: how a signal's requests become a chunk's bytes ([`ChunkEncoder`]), and what became of one
//! attempt to deliver a part ([`Outcome`]). When to try again, under which token, and when to believe is not
//! the sink's business but [`deliver`](crate::deliver)'s, the same for every sink.

pub(crate) mod body;
pub mod clickhouse;
pub(crate) mod collector;
mod condition;
#[cfg(test)]
pub(crate) mod fake;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

pub use condition::Condition;
pub(crate) use condition::Heard;

use crate::chunk::{ChunkEncoder, PartName, Witness};
use crate::config::SinkConfig;
use crate::signal::Signal;

/// The names of a sink's shards, in the order of the configuration.
pub(crate) type Shards = Arc<[Arc<str>]>;

/// A boxed future, as the methods of [`Sink`] return.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Takes over what was made ready.
pub(crate) type Renewal = Box<dyn FnOnce() + Send>;

/// Where batches go: ClickHouse, or a collector.
pub trait Sink: Send + Sync + 'static {
    /// Whether it has a place for this signal: ClickStack has no table for profiles.
    fn takes(&self, signal: Signal) -> bool {
        signal != Signal::Profiles
    }

    /// A new, empty encoder for a chunk of this signal, which it takes.
    fn encoder(&self, signal: Signal) -> Box<dyn ChunkEncoder>;

    /// One attempt to deliver a part: its frames' bytes one after another as one insert (or export), under its token.
    fn deliver<'a>(&'a self, part: &'a PartDelivery) -> BoxFuture<'a, Outcome>;

    /// After an unknown outcome: is the part in? Waits until the old attempt can no longer be running.
    fn look<'a>(&'a self, part: &'a PartDelivery) -> BoxFuture<'a, Look>;

    /// What is to be done when the outcome of an insert into `table`, at this shard where the sink has shards, was unknown `since` ago
    /// (`Duration::MAX`: nobody knows how long).
    fn after_unknown(&self, table: &str, shard: Option<&str>, since: Duration) -> AfterUnknown;

    /// The shards that a part may go to, each by its name; empty where there is nothing to choose. A part that was nowhere yet goes whole to one of them,
    /// and stays there.
    fn shards(&self) -> Shards {
        Shards::default()
    }

    /// Which of [`Sink::shards`] is meant by a name that was noted, perhaps by an earlier process; none where there are no shards.
    ///
    /// # Errors
    /// In words, what a person has to do: it is not there any more.
    fn shard(&self, _noted: &str) -> Result<Option<Arc<str>>, String> {
        Ok(None)
    }

    /// An earlier process tried this part and never said what came of it. Called once for each of its pieces, before the first attempt in this process.
    fn tried_before(&self, _: &PartDelivery) {}

    /// Changes whenever something changed that a held part may have waited for: a server that is back, a table that is another.
    fn changes(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    /// Those of a part's columns that its table does not have any more: an insert goes without them.
    fn columns_gone(&self, _: &PartDelivery) -> Vec<Arc<str>> {
        Vec::new()
    }

    /// Makes ready what may change while it runs (credentials, times to live), which holds once the result is called.
    ///
    /// # Errors
    /// In words; nothing changes then.
    fn renewal(self: Arc<Self>, _: &SinkConfig) -> Result<Renewal, String> {
        Ok(Box::new(|| {}))
    }

    /// Per table, whether it recognises repeats by their token; empty where nothing can be said.
    fn windows(&self) -> Vec<Window> {
        Vec::new()
    }

    /// How the sink does, as far as it was heard. Costs nothing.
    fn condition(&self) -> Condition {
        Condition::Well
    }

    /// How the sink does, for somebody who would like to know: asks nothing that would keep awake who sleeps when nobody asks anything.
    fn knock(&self) -> BoxFuture<'_, Condition> {
        self.ready()
    }

    /// How the sink does, for somebody who needs to know: it is asked when it was not heard for long, or when what was heard was not good.
    fn ready(&self) -> BoxFuture<'_, Condition> {
        Box::pin(async { self.condition() })
    }
}

/// What settles a part whose insert's outcome was unknown once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterUnknown {
    /// The table has no deduplication window: look, and repeat only what is absent.
    Look,
    /// The table has a window that may know the token though the rows are not in: repeat under the same token, then look.
    RepeatThenLook,
    /// The token is kept together with the rows (Replicated and Shared tables), or nothing can be looked at (a collector):
    /// repeat under the same token and believe the answer.
    Repeat,
}

/// What a table does about repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The table.
    pub(crate) table: String,
    /// Tokens that it keeps; 0: an insert of unknown outcome is looked for, and rollups behind it may double.
    pub(crate) tokens: u64,
    /// What an administrator may run to change that, where it is missing.
    pub(crate) remedy: Option<String>,
}

/// One part of a sealed batch, as it is handed to the sink.
#[derive(Debug, Clone)]
pub struct PartDelivery {
    /// Which table and partition.
    pub name: PartName,
    /// The columns that the bytes hold, in their order; the insert names them.
    pub columns: Arc<[Arc<str>]>,
    /// Repeats of the same bytes carry the same token (`insert_deduplication_token`).
    pub token: String,
    /// How many attempts were made before this one; makes each attempt's query id its own.
    pub attempt: u32,
    /// Rows in all of `body`.
    pub rows: u64,
    /// The sealed bytes of each frame, in the order of the file.
    pub body: Vec<Bytes>,
    /// Rows that tell whether the part is in, when the sink did not say so. None where only some rows are sent: they are their own witnesses.
    pub witnesses: Vec<Witness>,
    /// Only these rows of `body` (start, count): set when a part is divided within a frame.
    pub only_rows: Option<(u64, u64)>,
    /// Where the sink has shards: the one that it goes to. None: it may have been sent, and nobody knows where to; it is only looked for.
    pub shard: Option<Arc<str>>,
}

impl PartDelivery {
    /// Rows that are sent: all of `body`, or some of them.
    pub(crate) fn rows_sent(&self) -> u64 {
        self.only_rows.map_or(self.rows, |(_, rows)| rows)
    }

    /// Whether there is anything to look for: witnesses, or rows that are taken from the body.
    pub fn can_be_found(&self) -> bool {
        !self.witnesses.is_empty() || self.only_rows.is_some()
    }
}

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The sink said that the part is in.
    Delivered,
    /// The sink said that it is in but for so many rows, without saying which; with none it is a warning.
    DeliveredBut {
        /// Rows.
        rejected: u64,
        /// In the sink's words.
        why: String,
    },
    /// Known not to be in; try again later.
    Retry {
        /// In words, for the log and `/status`.
        why: String,
        /// The sink's own advice, if it gave one.
        after: Option<Duration>,
    },
    /// Nobody knows whether it is in: the connection was lost or timed out after the body was sent.
    Unknown {
        /// In words.
        why: String,
    },
    /// The attempt is over, with an exception that proves nothing: the rows may be in, and only what depends on the table failed. Not in, it means this.
    Doubtful {
        /// [`Outcome::Retry`], [`Outcome::TooMuch`], [`Outcome::Hold`] or [`Outcome::Refused`].
        or_else: Box<Outcome>,
    },
    /// Known not to be in, because it is too much at once for the sink as it is now: fewer rows may be taken.
    TooMuch {
        /// In words.
        why: String,
        /// Whether the sink says so; otherwise it is one explanation among others, and counts when nothing else comes of many attempts.
        sure: bool,
    },
    /// Known not to be in, and trying again cannot help until a person mends something (credentials, a missing table).
    Hold {
        /// In words, with the remedy.
        why: String,
    },
    /// Known not to be in, and never will be: these bytes are refused for good.
    Refused {
        /// In words.
        why: String,
    },
}

impl Outcome {
    /// Whether the sink says that fewer rows might be taken.
    pub fn is_too_much(&self) -> bool {
        match self {
            Outcome::TooMuch { sure, .. } => *sure,
            Outcome::Doubtful { or_else } => or_else.is_too_much(),
            _ => false,
        }
    }
}

/// What looking for a part's witnesses said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// All witnesses are there: the part is in.
    Present,
    /// Not there, and the old attempt is no longer running.
    Absent,
    /// It could not be told; ask again later.
    Unclear {
        /// In words.
        why: String,
    },
}
