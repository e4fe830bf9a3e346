//! How often each branch of ClickStack's log transforms was taken. The collector itself says it: at level `debug` it prints, after each
//! statement of its `transform` processor, whether the statement's condition held and what it found. Rows are
//! compared one by one, so where the rows agree otelgate took the same branches.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, PipeReader, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// The words that levels are known by, as the transforms' patterns have them.
const WORDS: [&str; 12] =
    ["alert", "crit", "emerg", "fatal", "error", "err", "warn", "notice", "info", "debug", "dbug", "trace"];

/// What is counted of one statement.
#[derive(Debug, Default, Clone, Copy)]
struct Statement {
    met: u64,
    not_met: u64,
    failed: u64,
}

/// What the collector's log says.
#[derive(Debug, Default)]
pub(crate) struct Branches {
    /// By their text.
    statements: BTreeMap<String, Statement>,
    /// By a name for people: choices inside of a statement.
    choices: BTreeMap<String, u64>,
}

/// The members of a line of the log that come before the record.
#[derive(Debug, Deserialize)]
struct Line {
    level: String,
    #[serde(default)]
    statement: Option<String>,
    #[serde(default, rename = "condition matched")]
    met: bool,
}

impl Branches {
    /// Reads the log until the collector ends; what is no debugging goes to a file.
    pub(crate) fn read(log: PipeReader, file: &Path) -> Result<Branches> {
        let mut file = std::fs::File::create(file)?;
        let mut branches = Branches::default();
        for word in WORDS {
            branches.choices.insert(format!("a level field says {word}"), 0);
            if word != "info" {
                branches.choices.insert(format!("a body says {word}"), 0);
            }
        }
        branches.choices.insert("a body says nothing".to_owned(), 0);
        for line in BufReader::with_capacity(1 << 20, log).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            if !branches.line(&line) {
                writeln!(file, "{line}")?;
            }
        }
        Ok(branches)
    }

    /// Counts a line; false when it is to be kept.
    fn line(&mut self, line: &str) -> bool {
        let (head, record) = line.split_once(",\"TransformContext\":").unwrap_or((line, ""));
        let closed = if record.is_empty() { head.to_owned() } else { format!("{head}}}") };
        let Ok(Line { level, statement: Some(text), met }) = serde_json::from_str(&closed) else {
            return !record.is_empty();
        };
        let statement = self.statements.entry(text.clone()).or_default();
        match level.as_str() {
            "debug" if met => statement.met += 1,
            "debug" => statement.not_met += 1,
            _ => statement.failed += 1,
        }
        if level == "debug" && met {
            self.choose(&text, record);
        }
        level == "debug"
    }

    /// Counts which of a statement's words it was.
    fn choose(&mut self, statement: &str, record: &str) {
        if statement.starts_with("set(log.cache, ExtractPatterns(log.cache[\"substr\"]") {
            let found = member(record, "\"cache\":{\"0\":\"").to_ascii_lowercase();
            let name = if found.is_empty() { "nothing" } else { &found };
            *self.choices.entry(format!("a body says {name}")).or_default() += 1;
        } else if let Some((_, pattern)) = statement.split_once("IsMatch(log.severity_text, \"(?i)(") {
            let text = member(record, "\"severity_text\":\"").to_ascii_lowercase();
            let words = pattern.split([')', '|']).filter(|word| WORDS.contains(word) && text.contains(word));
            for word in words {
                *self.choices.entry(format!("a level field says {word}")).or_default() += 1;
            }
        }
    }

    /// Prints how often each branch was taken; false when one never was. `made` is what the generator counted.
    pub(crate) fn report(&self, made: &BTreeMap<&'static str, u64>, configs: &Path) -> Result<bool> {
        println!("\nlog transforms, as the collector ran them: condition met / not met / failed");
        for (text, counts) in &self.statements {
            println!("  {} / {} / {}  {text}", counts.met, counts.not_met, counts.failed);
        }
        for (name, count) in &self.choices {
            println!("  {count}  {name}");
        }
        for (name, count) in made {
            println!("  {count}  made: {name}");
        }
        let expected = statements_in(configs)?;
        if self.statements.len() != expected {
            println!("  the configuration has {expected} statements, {} ran", self.statements.len());
        }
        let worked = self.statements.values().all(|counts| counts.met > counts.failed);
        let chosen = self.choices.values().chain(made.values()).all(|count| *count > 0);
        Ok(worked && chosen && self.statements.len() == expected)
    }
}

/// The text that follows `start`, up to the next quotation mark.
fn member<'a>(record: &'a str, start: &str) -> &'a str {
    let found = record.rfind(start).and_then(|at| record.get(at + start.len()..));
    found.and_then(|rest| rest.split('"').next()).unwrap_or_default()
}

/// How many statements the configuration has, and routes: the collector says of those what it says of statements.
fn statements_in(configs: &Path) -> Result<usize> {
    let read =
        |name| std::fs::read_to_string(configs.join(name)).with_context(|| format!("{name} in {}", configs.display()));
    let text = read("config.yaml")? + &read("config.standalone.yaml")?;
    let is_statement = |line: &&str| {
        ["- set(", "- merge_maps(", "- flatten(", "statement: route("]
            .iter()
            .any(|name| line.trim_start().starts_with(name))
    };
    Ok(text.lines().filter(is_statement).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_counted_by_its_condition() {
        let mut branches = Branches::default();
        let line = |met: bool, level: &str| {
            format!(
                r#"{{"level":"debug","msg":"TransformContext after statement execution","statement":"set(log.severity_number, 17) where IsMatch(log.severity_text, \"(?i)(error|err)\")","condition matched":{met},"TransformContext":{{"log_record":{{"severity_text":"{level}"}},"cache":{{}}}}}}"#
            )
        };
        assert!(branches.line(&line(true, "ERR")));
        assert!(branches.line(&line(false, "info")));
        assert!(!branches.line(r#"{"level":"warn","msg":"failed","error":"no","statement":"set(x)"}"#));
        assert!(!branches.line("no JSON"));
        let counts: Vec<_> =
            branches.statements.values().map(|counts| (counts.met, counts.not_met, counts.failed)).collect();
        assert_eq!(counts, [(1, 1, 0), (0, 0, 1)]);
        assert_eq!(branches.choices["a level field says err"], 1);
        assert_eq!(branches.choices.get("a level field says error"), None);
    }
}
