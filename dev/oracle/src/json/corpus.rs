//! Documents that are kept, with what the collector reads in them: tests compare otelgate's reader with them where no Go is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use crate::document::Document;
use crate::note::Note;
use crate::readers::Read;

/// How many documents of a kind are kept that are taken, how many that are refused, and how long they may be.
const TAKEN: usize = 40;
const REFUSED: usize = 2;
const LONGEST: usize = 1200;

/// What makes a document unlike others: its signal, what is odd in it, and what became of it.
type Kind = (usize, BTreeSet<Note>, Read, Read);

#[derive(Default)]
pub(crate) struct Corpus {
    kinds: BTreeMap<Kind, usize>,
    entries: Vec<Entry>,
}

/// A document, and the request that the collector reads in it.
pub(crate) struct Entry {
    pub(crate) signal: usize,
    pub(crate) text: Vec<u8>,
    pub(crate) request: Option<Vec<u8>>,
}

impl Corpus {
    /// Keeps a document if there are few like it.
    pub(crate) fn offer(
        &mut self,
        signal: usize,
        document: &Document,
        ours: &Read,
        theirs: &Read,
        request: Option<Vec<u8>>,
    ) {
        let kind = (signal, document.notes.clone(), ours.verdict(), theirs.verdict());
        // What is not alike is a difference that has its reason, and no example of what is to be alike.
        let most = if *ours == Read::Refused { REFUSED } else { TAKEN };
        let few = self.kinds.get(&kind).is_none_or(|count| *count < most);
        // What is not read alike is a difference that has its reason, and no example of what is to be alike.
        if ours == theirs && few && document.notes.len() < 2 && (60..LONGEST).contains(&document.text.len()) {
            *self.kinds.entry(kind).or_default() += 1;
            self.entries.push(Entry { signal, text: document.text.clone(), request });
        }
    }

    /// Writes a line each: the signal, the document, and the request or `-`; bytes as Rust escapes them.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let line = |entry: &Entry| {
            let request = entry.request.as_deref().map_or("-".to_owned(), hex);
            format!("{} {} {request}\n", entry.signal, hex(&entry.text))
        };
        Ok(std::fs::write(file, self.entries.iter().map(line).collect::<String>())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readers::Otelgate;

    fn bytes(hex: &str) -> Vec<u8> {
        let (pairs, _) = hex.as_bytes().as_chunks::<2>();
        pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    fn entries() -> Vec<Entry> {
        let entry = |line: &str| {
            let mut words = line.split(' ');
            let mut word = || words.next().unwrap();
            let (signal, text) = (word().parse().unwrap(), bytes(word()));
            let request = Some(word()).filter(|request| *request != "-").map(bytes);
            Entry { signal, text, request }
        };
        include_str!("../../corpus.txt").lines().map(entry).collect()
    }

    /// How many documents of the corpus are read otherwise after `change`.
    fn differences(change: impl Fn(&[u8]) -> Vec<u8>) -> usize {
        let mut otelgate = [0, 1, 2].map(Otelgate::new);
        let differs = |entry: &Entry| {
            let otelgate = &mut otelgate[entry.signal];
            let theirs = entry.request.as_ref().map_or(Read::Refused, |request| otelgate.rows(request, 0));
            otelgate.read(&change(&entry.text)) != theirs
        };
        entries().iter().map(differs).filter(|differs| *differs).count()
    }

    #[test]
    fn the_corpus_is_read_as_the_collector_reads_it() {
        assert!(entries().len() > 100);
        assert_eq!(differences(<[u8]>::to_vec), 0);
    }

    #[test]
    fn planted_differences_are_found() {
        let replaced = |from: &'static str, to: &'static str| {
            differences(move |text| {
                let mut text = text.to_vec();
                let found: Vec<usize> = text
                    .windows(from.len())
                    .enumerate()
                    .filter(|(_, window)| *window == from.as_bytes())
                    .map(|(at, _)| at)
                    .collect();
                for at in found {
                    text[at..at + to.len()].copy_from_slice(to.as_bytes());
                }
                text
            })
        };
        for (from, to) in [
            ("\"trace_id\"", "\"trace_ib\""),
            ("\"severity_number\"", "\"severity_numbex\""),
            ("\"data_points\"", "\"data_pointz\""),
            ("\"asInt\"", "\"asInk\""),
            ("\"kvlistValue\"", "\"kvlistValux\""),
        ] {
            assert!(replaced(from, to) > 0, "{from}");
        }
        // A number that loses its last digits.
        let cut = differences(|text| {
            let mut text = text.to_vec();
            let digits: Vec<usize> = (0..text.len().saturating_sub(19))
                .filter(|at| text[*at..at + 19].iter().all(u8::is_ascii_digit))
                .collect();
            digits.iter().for_each(|at| text[at + 18] = b'0');
            text
        });
        assert!(cut > 0);
    }
}
