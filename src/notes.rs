//! What otelgate notes of itself until it is written away as its own telemetry: lines of its log, and a sample of requests.
//!
//! Invariants: nothing waits for it and nothing grows with it: both lists are bounded, one place of the code notes a few lines a minute however often it says
//! them, and what does not fit is counted. What is said about its own telemetry is never noted.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// What is said about the own telemetry has this target, in the log too.
pub(crate) const OWN_TARGET: &str = "otelgate::telemetry";
/// Lines, and requests, that are kept until somebody takes them.
const MOST: usize = 500;
/// Lines of one place in a minute.
const A_MINUTE: u32 = 6;
/// Bytes of one field of a line.
const LONGEST: usize = 2048;

/// The notes.
#[derive(Debug, Default)]
pub struct Notes {
    /// Least severe line that is noted; `None`: no line is.
    level: Option<Level>,
    /// Of so many requests one is noted, as a share.
    share: f64,
    lines: Mutex<Lines>,
    requests: Mutex<List<NotedRequest>>,
}

/// A bounded list, and what did not fit since it was taken.
#[derive(Debug)]
struct List<T> {
    noted: Vec<T>,
    dropped: u64,
}

#[derive(Debug, Default)]
struct Lines {
    list: List<NotedLine>,
    /// When each place began to be counted, and its lines since.
    places: HashMap<Identifier, (Instant, u32)>,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NotedLine {
    pub(crate) at: SystemTime,
    pub(crate) level: Level,
    /// The module that said it.
    pub(crate) target: &'static str,
    pub(crate) message: String,
    pub(crate) fields: BTreeMap<&'static str, String>,
}

/// A request that was answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NotedRequest {
    pub(crate) trace: u128,
    pub(crate) span: u64,
    /// The client's span.
    pub(crate) parent: Option<u64>,
    pub(crate) name: &'static str,
    pub(crate) began: SystemTime,
    pub(crate) took: Duration,
    pub(crate) fields: BTreeMap<&'static str, String>,
    /// Why it was refused.
    pub(crate) refused: Option<String>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        List { noted: Vec::new(), dropped: 0 }
    }
}

impl<T> List<T> {
    fn push(&mut self, note: T) {
        if self.noted.len() < MOST {
            self.noted.push(note);
        } else {
            self.dropped += 1;
        }
    }
}

impl Notes {
    /// Notes lines of this level and worse, and this share of requests.
    pub fn new(level: Option<Level>, share: f64) -> Self {
        Notes { level, share, ..Notes::default() }
    }

    /// Whether a request is noted. One whose client records its trace is, where any is.
    pub(crate) fn samples(&self, recorded: bool) -> bool {
        self.share > 0.0 && (recorded || rand::random::<f64>() < self.share)
    }

    /// Notes a request.
    pub(crate) fn request(&self, request: NotedRequest) {
        self.requests.lock().push(request);
    }

    /// The lines since the last time, and how many did not fit.
    pub(crate) fn take_lines(&self) -> (Vec<NotedLine>, u64) {
        let List { noted, dropped } = std::mem::take(&mut self.lines.lock().list);
        (noted, dropped)
    }

    /// The same of requests.
    pub(crate) fn take_requests(&self) -> (Vec<NotedRequest>, u64) {
        let List { noted, dropped } = std::mem::take(&mut *self.requests.lock());
        (noted, dropped)
    }

    fn note(&self, place: Identifier, now: Instant, line: NotedLine) {
        let mut lines = self.lines.lock();
        let (since, count) = lines.places.entry(place).or_insert((now, 0));
        if now.duration_since(*since) >= Duration::from_secs(60) {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        if *count > A_MINUTE {
            lines.list.dropped += 1;
        } else {
            lines.list.push(line);
        }
    }
}

/// The layer of the log that notes its lines.
#[derive(Debug)]
pub struct NoteLines(pub std::sync::Arc<Notes>);

impl<S: Subscriber> Layer<S> for NoteLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let about = event.metadata();
        if self.0.level.is_none_or(|least| *about.level() > least) || about.target().starts_with(OWN_TARGET) {
            return;
        }
        let mut texts = Texts::default();
        event.record(&mut texts);
        let Texts { message, fields } = texts;
        let line = NotedLine { at: SystemTime::now(), level: *about.level(), target: about.target(), message, fields };
        self.0.note(about.callsite(), Instant::now(), line);
    }
}

/// Fields as texts.
#[derive(Default)]
struct Texts {
    message: String,
    fields: BTreeMap<&'static str, String>,
}

impl Visit for Texts {
    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = value.to_owned();
        if text.len() > LONGEST {
            text.truncate(text.floor_char_boundary(LONGEST));
            text.push('…');
        }
        match field.name() {
            "message" => self.message = text,
            name => drop(self.fields.insert(name, text)),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn noted(level: Option<Level>, say: impl FnOnce()) -> (Vec<NotedLine>, u64) {
        let notes = Arc::new(Notes::new(level, 0.0));
        let subscriber = tracing_subscriber::registry().with(NoteLines(notes.clone()));
        tracing::subscriber::with_default(subscriber, say);
        notes.take_lines()
    }

    #[test]
    fn a_line_is_noted_with_its_fields_when_it_is_bad_enough() {
        let say = || {
            tracing::info!("not this one");
            tracing::warn!(target: OWN_TARGET, "nor what is said about own telemetry");
            tracing::warn!(table = "otel_logs", rows = 7, why = %"x".repeat(5000), "an insert failed");
        };
        let (lines, dropped) = noted(Some(Level::WARN), say);
        assert_eq!((lines.len(), dropped), (1, 0), "{lines:?}");
        let line = &lines[0];
        assert_eq!((line.level, line.message.as_str()), (Level::WARN, "an insert failed"));
        assert_eq!((line.fields["table"].as_str(), line.fields["rows"].as_str()), ("otel_logs", "7"));
        assert!(line.fields["why"].len() < LONGEST + 4);
        assert_eq!(noted(None, say).0, []);
    }

    #[test]
    fn a_flood_from_one_place_is_a_few_lines_and_a_count() {
        let (lines, dropped) = noted(Some(Level::WARN), || (0..1000).for_each(|n| tracing::error!(n, "again")));
        assert_eq!((lines.len(), dropped), (A_MINUTE as usize, 1000 - u64::from(A_MINUTE)));
        let notes = Notes::new(None, 1.0);
        let request = NotedRequest {
            trace: 1,
            span: 2,
            parent: None,
            name: "logs",
            began: SystemTime::UNIX_EPOCH,
            took: Duration::ZERO,
            fields: BTreeMap::new(),
            refused: None,
        };
        (0..MOST + 3).for_each(|_| notes.request(request.clone()));
        let (requests, dropped) = notes.take_requests();
        assert_eq!((requests.len(), dropped, notes.take_requests().0.len()), (MOST, 3, 0));
    }

    #[test]
    fn a_request_is_noted_by_its_share_or_because_its_client_records_it() {
        let noted = |share: f64, recorded| (0..1000).filter(|_| Notes::new(None, share).samples(recorded)).count();
        assert_eq!((noted(0.0, true), noted(0.001, true), noted(1.0, false), noted(0.0, false)), (0, 1000, 1000, 0));
        assert!((300..700).contains(&noted(0.5, false)));
    }
}
