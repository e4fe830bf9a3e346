//! `otelgate keys new|list|revoke|rotate|hash`

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use otelgate::config::{self, EditError, Places, Process};
use otelgate::keys::{ChangeError, KeysYaml, NewKey, Rotated, digest_of};
use serde::Deserialize;
use serde_json::Value;

use super::{Usage, admin, print, say};

/// Longer than any key, and its line break.
const LONGEST: u64 = 4096;

/// Where keys.yaml is.
#[derive(Debug, Args)]
pub(super) struct KeysFile {
    /// The configuration, which says where keys.yaml is
    #[arg(long, value_name = "FILE", env = "OTELGATE_CONFIG")]
    config: Option<PathBuf>,
    /// keys.yaml itself, where there is no configuration
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl KeysFile {
    fn path(&self) -> anyhow::Result<PathBuf> {
        match (&self.file, &self.config) {
            (Some(file), _) => Ok(file.clone()),
            (None, Some(config)) => {
                let places = config::load_keys_place(config, &Process)?;
                let without = || Usage("the configuration has no keys.file; its keys come from elsewhere".to_owned());
                Ok(places.keys_file.ok_or_else(without)?)
            }
            (None, None) => Err(Usage("say which file: --config FILE, or --file KEYS.YAML".to_owned()).into()),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&KeysYaml<'_>) -> Result<T, ChangeError>) -> anyhow::Result<(T, PathBuf)> {
        let path = self.path()?;
        let done = KeysYaml::open(&path, &Process).and_then(|keys| Ok((change(&keys)?, keys.path().to_owned())));
        done.map_err(|error| match error {
            ChangeError::Edit(EditError::Mistakes(mistakes)) => mistakes.into(),
            ChangeError::Edit(error) => Usage(format!("{}: {error}", path.display())).into(),
            error => error.into(),
        })
    }
}

pub(super) fn new(name: &str, write: bool, file: &KeysFile) -> anyhow::Result<()> {
    if !write {
        return print(NewKey::generate(name)?);
    }
    let (key, path) = file.change(|keys| keys.add(name))?;
    say(format_args!("{name} is in {}; a running otelgate knows it within 2 s", path.display()));
    show(&key)
}

pub(super) fn revoke(name: &str, file: &KeysFile) -> anyhow::Result<()> {
    let (predecessors, path) = file.change(|keys| keys.revoke(name))?;
    print(format_args!("{name} is disabled in {}; a running otelgate refuses it within 2 s\n", path.display()))?;
    for old in predecessors {
        say(format_args!("warning: its old key {old} is still good; `otelgate keys revoke {old}` ends it too"));
    }
    Ok(())
}

pub(super) fn rotate(name: &str, grace: Duration, file: &KeysFile) -> anyhow::Result<()> {
    let (Rotated { key, old_name, old_until, expires }, path) = file.change(|keys| keys.rotate(name, grace))?;
    say(format_args!("{name} has a new key in {}", path.display()));
    say(format_args!("the old one is called {old_name} from now on, and is good until {}", time(old_until)));
    if let Some(expires) = expires {
        say(format_args!(
            "warning: the new one ends at {} as the old one did; change `expires` if it should not",
            time(expires)
        ));
    }
    show(&key)
}

pub(super) fn hash() -> anyhow::Result<()> {
    let mut key = String::new();
    std::io::stdin().take(LONGEST).read_to_string(&mut key).context("standard input")?;
    let digest =
        digest_of(key.trim_end_matches(['\r', '\n'])).map_err(|wrong| Usage(format!("standard input {wrong}")))?;
    print(format_args!("{digest}\n"))
}

/// The one line that is to be kept by somebody else, and nothing that is not it.
fn show(key: &NewKey) -> anyhow::Result<()> {
    print(format_args!("key: {}\n", key.expose()))
}

/// What the running process knows; what stands in keys.yaml where none runs.
pub(super) fn list(config: &std::path::Path) -> anyhow::Result<()> {
    let places = config::load_keys_place(config, &Process)?;
    let rows = match admin::block_on(admin::ask(&places, "GET", "/status"))? {
        Some(status) => running(&status)?,
        None => stopped(&places)?,
    };
    print(table(rows))
}

/// A key, as `/status` shows it.
#[derive(Debug, Deserialize)]
struct Shown {
    source: String,
    state: String,
    signals: Vec<String>,
    expires_ms: Option<u64>,
    last_used_ms: Option<u64>,
    limits: Limits,
}

#[derive(Debug, Deserialize)]
struct Limits {
    requests_per_second: u64,
    bytes_per_second: u64,
    records_per_second: u64,
    burst_ms: u64,
}

fn running(status: &Value) -> anyhow::Result<Vec<[String; 7]>> {
    let keys: BTreeMap<String, Value> =
        Deserialize::deserialize(&status["keys"]).context("the running process is of another version")?;
    let mut rows = Vec::new();
    for (name, key) in keys {
        for entry in key["entries"].as_array().into_iter().flatten() {
            let entry: Shown = Deserialize::deserialize(entry).context("the running process is of another version")?;
            let at = |ms: Option<u64>| ms.map_or("never".to_owned(), |ms| time(UNIX_EPOCH + Duration::from_millis(ms)));
            let Limits { requests_per_second, bytes_per_second, records_per_second, burst_ms } = entry.limits;
            let limits = limits((requests_per_second, bytes_per_second, records_per_second), burst_ms.into());
            let (expires, used) = (at(entry.expires_ms), at(entry.last_used_ms));
            rows.push([name.clone(), entry.source, entry.state, entry.signals.join(","), limits, expires, used]);
        }
    }
    Ok(rows)
}

fn stopped(places: &Places) -> anyhow::Result<Vec<[String; 7]>> {
    let file = places
        .keys_file
        .as_ref()
        .context("nothing listens on the admin address, and there is no keys.file to look into")?;
    say(format_args!("nothing listens at {}; this is what {} says", places.listener, file.display()));
    let place = KeysFile { config: None, file: Some(file.clone()) };
    let (entries, _) = place.change(|keys| keys.entries())?;
    let row = |entry: &config::KeyEntry| {
        let state = entry.state(SystemTime::now());
        let signals: Vec<&str> = entry.signals().filter(|signal| places.takes(signal)).collect();
        let (rates, burst) = entry.rates();
        let expires = entry.expires().map_or("never".to_owned(), time);
        let (name, source) = (entry.name().to_owned(), "file".to_owned());
        [name, source, state.to_owned(), signals.join(","), limits(rates, burst.as_millis()), expires, "-".to_owned()]
    };
    Ok(entries.iter().map(row).collect())
}

fn limits((requests, bytes, records): (u64, u64, u64), burst_ms: u128) -> String {
    format!("{requests}/s {}/s {records}/s {burst_ms}ms", config::show_size(bytes))
}

fn time(at: SystemTime) -> String {
    let at = jiff::Timestamp::try_from(at).ok().and_then(|at| jiff::Timestamp::from_second(at.as_second()).ok());
    at.map_or_else(|| "never".to_owned(), |at| at.to_string())
}

/// One line a key, each column as wide as it must be.
fn table(rows: Vec<[String; 7]>) -> String {
    let head = ["name", "source", "state", "signals", "requests bytes records burst", "expires", "last used"];
    let rows: Vec<[String; 7]> = [head.map(str::to_owned)].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  "));
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    rows.iter().map(line).collect()
}
