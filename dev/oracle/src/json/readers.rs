//! The two readers, and what they have to agree about.

use std::collections::BTreeSet;
use std::io::{BufReader, BufWriter, Read as _, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};
use jiff::tz::TimeZone;
use otelgate::chunk::{ChunkEncoder, Growth};
use otelgate::memory::Memory;
use otelgate::otlp::fuzzing::transcode_here;
use otelgate::reply::Refusal;
use otelgate::signal::Signal;
use otelgate::sink::clickhouse::encode::{Compression, EncoderFactory, EncoderSettings, Keeps, Plans};

use crate::document::Document;
use crate::note::Note;

pub(crate) const SIGNALS: [&str; 3] = ["traces", "logs", "metrics"];

/// What a reader made of a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Read {
    Refused,
    /// The blocks of rows that it becomes, and how many records are left out.
    Taken {
        rows: Vec<Vec<u8>>,
        dropped: u64,
    },
}

impl Read {
    /// The same without its rows.
    pub(crate) fn verdict(&self) -> Read {
        match self {
            Read::Refused => Read::Refused,
            Read::Taken { dropped, .. } => Read::Taken { rows: Vec::new(), dropped: u64::from(*dropped > 0) },
        }
    }
}

/// How two readings differ.
pub(crate) struct Difference {
    pub(crate) what: &'static str,
    /// Whether the document holds something of which it is known.
    pub(crate) is_known: bool,
}

/// How the readings differ, if they do.
pub(crate) fn difference(notes: &BTreeSet<Note>, ours: &Read, theirs: &Read) -> Option<Difference> {
    let here = notes.iter().any(|note| note.is_taken_here());
    let there = notes.iter().any(|note| note.is_taken_there());
    let (what, is_known) = match (ours, theirs) {
        _ if ours == theirs => return None,
        (Read::Taken { .. }, Read::Refused) => ("taken by otelgate alone", here),
        (Read::Refused, Read::Taken { .. }) => ("taken by the collector alone", there),
        _ => ("other rows", there),
    };
    Some(Difference { what, is_known })
}

/// otelgate's own reader and encoder.
pub(crate) struct Otelgate {
    signal: Signal,
    /// Why it refused the last document that it refused.
    pub(crate) why: String,
    encoder: Box<dyn ChunkEncoder>,
}

/// Memory without a limit.
struct Any;

impl Memory for Any {
    fn grow(&mut self, _: u64) -> Result<(), Refusal> {
        Ok(())
    }

    fn shrink(&mut self, _: u64) {}
}

impl Otelgate {
    pub(crate) fn new(signal: usize) -> Otelgate {
        let signal = Signal::STABLE[signal];
        let factory = EncoderFactory::new(EncoderSettings {
            plans: Plans::clickstack().expect("the plans are those of the encoder's own tables"),
            zone: TimeZone::UTC,
            keeps: Keeps::default(),
            compression: Compression::None,
            transform_logs: true,
        });
        Otelgate { signal, why: String::new(), encoder: factory.encoder(signal) }
    }

    /// What it reads in a document.
    pub(crate) fn read(&mut self, text: &[u8]) -> Read {
        match transcode_here(Any, self.signal, text, u64::MAX) {
            Ok((protobuf, dropped)) => self.rows(&protobuf, dropped),
            Err(refusal) => self.refused(&refusal),
        }
    }

    fn refused(&mut self, why: &dyn std::fmt::Display) -> Read {
        self.why = why.to_string();
        Read::Refused
    }

    /// The rows of a request.
    pub(crate) fn rows(&mut self, protobuf: &[u8], dropped: u64) -> Read {
        let growth = Growth { max_records: u64::MAX, max_column_bytes: 1 << 30, max_parts: u32::MAX };
        if let Err(error) = self.encoder.append(protobuf, &growth) {
            return self.refused(&error);
        }
        self.encoder.commit();
        let rows = self.encoder.seal().into_iter().map(|part| part.bytes.concat()).collect();
        Read::Taken { rows, dropped }
    }
}

/// The collector's reader, in a process of its own.
pub(crate) struct Collector {
    child: Child,
    documents: BufWriter<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Collector {
    pub(crate) fn start(program: &Path) -> Result<Collector> {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{}", program.display()))?;
        let documents = BufWriter::new(child.stdin.take().context("its input")?);
        let answers = BufReader::new(child.stdout.take().context("its output")?);
        Ok(Collector { child, documents, answers })
    }

    /// The requests that it reads in documents, or why it refuses one.
    pub(crate) fn read(&mut self, signal: usize, group: &[Document]) -> Result<Vec<Result<Vec<u8>, String>>> {
        let Collector { documents, answers, .. } = self;
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || -> Result<()> {
                for document in group {
                    documents.write_all(&[u8::try_from(signal)?])?;
                    documents.write_all(&u32::try_from(document.text.len())?.to_be_bytes())?;
                    documents.write_all(&document.text)?;
                }
                Ok(documents.flush()?)
            });
            let mut requests = Vec::new();
            for _ in group {
                let mut head = [0; 5];
                answers.read_exact(&mut head).context("the collector's reader ended")?;
                let [taken, length @ ..] = head;
                let mut bytes = vec![0; usize::try_from(u32::from_be_bytes(length))?];
                answers.read_exact(&mut bytes)?;
                requests.push(match taken {
                    1 => Ok(bytes),
                    _ => Err(String::from_utf8_lossy(&bytes).into_owned()),
                });
            }
            writing.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
            Ok(requests)
        })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
