//! `oracle-json`, behind `make oracle-json`: the same random OTLP/JSON goes to otelgate's reader and to the collector's, and what both make of it
//! goes through otelgate's encoder: the same verdict, and the same rows to the last byte.
//!
//! ClickHouse is not needed, so that a hundred thousand documents of each signal take minutes. What the readers are known to read
//! differently (`note::Note`) is the only excuse for a difference.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command line tool")]

mod corpus;
mod document;
mod note;
mod readers;
mod schema;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use corpus::Corpus;
use document::Documents;
use readers::{Collector, Otelgate, Read, SIGNALS, difference};

/// Compares what otelgate and the collector read in OTLP/JSON.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Seed of the documents; a fresh one when absent. It is printed, and repeats the run.
    #[arg(long)]
    seed: Option<u64>,
    /// Documents of each signal.
    #[arg(long, default_value_t = 100_000)]
    documents: usize,
    /// The program that `dev/oracle/build-reader.sh` builds.
    #[arg(long)]
    reader: PathBuf,
    /// Writes documents of each kind, and what the collector reads in them, to this file: the corpus that the tests read.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Differences that are printed.
    #[arg(long, default_value_t = 5)]
    show: usize,
}

/// Documents that are on their way to the collector's reader at a time.
const GROUP: usize = 500;

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(rand::random);
    println!("oracle-json: seed {seed}, {} documents a signal", args.documents);
    let mut documents = Documents::new(seed);
    let mut collector = Collector::start(&args.reader)?;
    let mut kept = Corpus::default();
    let mut failures = 0;
    for (signal, name) in SIGNALS.iter().enumerate() {
        let mut otelgate = Otelgate::new(signal);
        let mut verdicts: BTreeMap<(Read, Read), usize> = BTreeMap::new();
        let mut excused = 0;
        let mut left = args.documents;
        while left > 0 {
            let group: Vec<_> = (0..left.min(GROUP)).map(|_| documents.next(signal)).collect();
            left -= group.len();
            for (document, theirs) in group.iter().zip(collector.read(signal, &group)?) {
                let ours = otelgate.read(&document.text);
                let (theirs, request, why) = match theirs {
                    Ok(request) => (otelgate.rows(&request, 0), Some(request), String::new()),
                    Err(why) => (Read::Refused, None, why),
                };
                *verdicts.entry((ours.verdict(), theirs.verdict())).or_default() += 1;
                if args.keep.is_some() {
                    kept.offer(signal, document, &ours, &theirs, request);
                }
                match difference(&document.notes, &ours, &theirs) {
                    None => {}
                    Some(difference) if difference.is_known => excused += 1,
                    Some(difference) => {
                        failures += 1;
                        if failures <= args.show {
                            let (notes, text) = (&document.notes, document.text.escape_ascii());
                            let why = if theirs == Read::Refused { &why } else { &otelgate.why };
                            println!("{name}: {}, {notes:?} {why}\n{text}\n", difference.what);
                        }
                    }
                }
            }
        }
        println!("{name}: {verdicts:?}, {excused} known differences");
    }
    if let Some(file) = args.keep {
        kept.write(&file)?;
    }
    println!(
        "{}",
        if failures == 0 { "both readers agree".to_owned() } else { format!("FAILED: {failures} differences") }
    );
    println!("oracle-json: seed {seed}, {} documents a signal", args.documents);
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
