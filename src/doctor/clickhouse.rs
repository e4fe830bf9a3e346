//! ClickHouse, as the ingest user sees it and as a stranger may.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Account, Finding, server};
use crate::config::{self, ClickHouse, Secret};
use crate::sink::clickhouse::cluster::with_its_shards;
use crate::sink::clickhouse::encode::TableKind;
use crate::sink::clickhouse::schema::ttl::{Ttl, clause};
use crate::sink::clickhouse::schema::{
    Target, Version, identifier, literal, own_setting, rights_beyond, same_ttl, statements_for,
};
use crate::sink::clickhouse::{Asker, Failure, StartError};

/// Clocks that differ by more cut days and times to live in the wrong place.
const CLOCK: Duration = Duration::from_secs(5);
/// Parts of one partition, from which ClickHouse slows inserts down by default (`parts_to_delay_insert`), and where a look is due.
const MANY_PARTS: u64 = 300;

/// Asks each server, of a cluster each that belongs to it, as the user that logs in there.
pub(super) async fn look(config: &ClickHouse, administrator: Option<Account<'_>>) -> Vec<Finding> {
    let members = with_its_shards(config.clone()).await;
    let (found, config) = match members {
        Ok(of_shards) => (None, of_shards),
        Err(error) => {
            let unknown = Finding::cannot_tell("login", error.to_string(), "asked who belongs to the cluster");
            (Some(unknown), config.clone())
        }
    };
    let (transports, mut each) = (config.urls.iter().map(|url| transport(&url.to_string())), Vec::new());
    for url in &config.urls {
        each.push((config::place(url), look_at(&config.of_server(url), administrator.clone()).await));
    }
    found.into_iter().chain(transports).chain(together(each)).collect()
}

/// What was found at each server; where there are several, with their names, but for what is the same at all of them.
pub(super) fn together(each: Vec<(String, Vec<Finding>)>) -> Vec<Finding> {
    let all = each.len();
    let mut found = Vec::<(Vec<String>, Finding)>::new();
    for (server, finding) in
        each.into_iter().flat_map(|(server, found)| found.into_iter().map(move |one| (server.clone(), one)))
    {
        match found.iter_mut().find(|(_, known)| *known == finding) {
            Some((servers, _)) => servers.push(server),
            None => found.push((vec![server], finding)),
        }
    }
    let named = |(servers, finding): (Vec<String>, Finding)| match servers.len() {
        same if same == all => finding,
        _ => Finding { what: format!("{}: {}", servers.join(", "), finding.what), ..finding },
    };
    found.into_iter().map(named).collect()
}

async fn look_at(config: &ClickHouse, administrator: Option<Account<'_>>) -> Vec<Finding> {
    let mut found = Vec::new();
    let asker = match Asker::new(config) {
        Ok(asker) => asker,
        Err(error) => {
            found.push(Finding::cannot_tell("login", error.to_string(), "tried to connect"));
            return found;
        }
    };
    let version = asker.version().await;
    let reached = version.is_ok();
    found.push(login(version, &config.user));
    found.push(default_user(as_default(config).await));
    if !reached {
        return found;
    }
    let database = literal(&config.database);
    let ask = async |sql: String| asker.text(&sql).await;
    let before = SystemTime::now();
    let theirs = ask("SELECT toUnixTimestamp64Milli(now64(3))".to_owned()).await;
    found.push(clock(theirs, before));
    found.push(rights(ask("SHOW GRANTS".to_owned()).await, config));
    let tables =
        format!("SELECT name, engine_full FROM system.tables WHERE database = {database} AND engine LIKE '%MergeTree'");
    let tables = ask(tables).await;
    found.push(all_there(&tables, config));
    found.push(windows(&tables, config));
    found.push(times_to_live(&tables, config));
    let parts = format!(
        "SELECT table, max(parts) FROM (SELECT table, partition, count() AS parts FROM system.parts WHERE active AND database = {database} \
         GROUP BY table, partition) GROUP BY table"
    );
    found.push(parts_near_the_limit(ask(parts).await));
    let stuck = format!(
        "SELECT table, any(if(latest_fail_reason = '', 'not done after an hour', latest_fail_reason)) FROM system.mutations WHERE database = {database} AND NOT is_done \
         AND (latest_fail_reason != '' OR create_time < now() - INTERVAL 1 HOUR) GROUP BY table"
    );
    found.push(mutations(ask(stuck).await));
    let replicas = format!(
        "SELECT table, concat(if(is_readonly, 'read-only', ''), if(absolute_delay > 60, concat(' ', toString(absolute_delay), ' s late'), '')) FROM \
         system.replicas WHERE database = {database} AND (is_readonly OR absolute_delay > 60)"
    );
    found.push(replicas_behind(ask(replicas).await));
    let administrator = administrator.and_then(|account| as_user(config, account).ok());
    found.extend(server::look(&asker, config, administrator.as_ref()).await);
    found
}

/// Whether a stranger is let in who knows the name of the first user of every server; unknown where nobody answers.
async fn as_default(config: &ClickHouse) -> Option<bool> {
    as_user(config, ("default", Secret::new(""))).ok()?.is_let_in().await
}

/// Asks as another user.
pub(super) fn as_user(config: &ClickHouse, (user, password): Account<'_>) -> Result<Asker, StartError> {
    Asker::new(&ClickHouse { user: user.to_owned(), password, logins: Vec::new(), ..config.clone() })
}

pub(super) fn transport(url: &str) -> Finding {
    let ok = Finding::ok("transport", format!("{url}: the certificate is checked"), "read sink.clickhouse.url");
    let here = ["http://localhost", "http://127.0.0.1", "http://[::1]"].iter().any(|here| url.starts_with(here));
    match url.starts_with("https://") {
        true => ok,
        false if here => Finding { what: format!("{url}: plain, and does not leave this machine"), ..ok },
        false => ok.wrong(
            format!("{url}: password and telemetry travel readable"),
            "turn https on in ClickHouse (https_port, openSSL.server) and write https:// in sink.clickhouse.url",
        ),
    }
}

pub(super) fn login(version: Result<String, Failure>, user: &str) -> Finding {
    let how = format!("logged in as {user}");
    match version {
        Ok(version) => {
            let ok = Finding::ok("login", format!("ClickHouse {version}"), how);
            match version.parse::<Version>() {
                Ok(known) if !known.has_text_indexes() => ok.warning(
                    format!("ClickHouse {version} has no text indexes; searches read more"),
                    "upgrade to 26.2 or newer",
                ),
                _ => ok,
            }
        }
        Err(failure) => {
            let mend = match failure.is_login() {
                true => {
                    "correct sink.clickhouse.user and .password (the file or variable that it names); otelgate users print --config FILE prints the SQL of the user"
                }
                false => "start ClickHouse, or correct sink.clickhouse.url: nobody answered there as ClickHouse does",
            };
            Finding::ok("login", "", how).wrong(failure.to_string(), mend)
        }
    }
}

pub(super) fn default_user(let_in: Option<bool>) -> Finding {
    let how = "tried to log in as `default` with no password";
    let ok = Finding::ok("default user", "not let in without a password", how);
    match let_in {
        None => Finding::cannot_tell("default user", "ClickHouse did not answer", how),
        Some(false) => ok,
        Some(true) => ok.wrong(
            "whoever reaches ClickHouse from here is its administrator: `default` has no password",
            "ALTER USER default IDENTIFIED WITH sha256_password BY '…' (or <password_sha256_hex> in users.xml), and HOST LOCAL",
        ),
    }
}

pub(super) fn clock(theirs: Result<String, String>, ours: SystemTime) -> Finding {
    let how = "compared now() of both sides";
    let Some(theirs) = theirs.ok().and_then(|text| text.trim().parse::<u64>().ok()) else {
        return Finding::cannot_tell("clock", "ClickHouse did not say", how);
    };
    let ours = u64::try_from(ours.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
    let apart = Duration::from_millis(ours.abs_diff(theirs));
    let ok = Finding::ok("clock", format!("{apart:.1?} apart"), how);
    match apart {
        apart if apart > CLOCK => ok.warning(
            format!("{apart:.1?} apart: rows get times, and days, that ClickHouse does not have"),
            "timedatectl set-ntp true, on both",
        ),
        _ => ok,
    }
}

pub(super) fn rights(grants: Result<String, String>, config: &ClickHouse) -> Finding {
    let how = "SHOW GRANTS";
    match grants {
        Err(why) => Finding::cannot_tell("rights", why, how),
        Ok(grants) => {
            let grants: Vec<String> = grants.lines().map(str::to_owned).collect();
            let ok = Finding::ok("rights", "none that it does not need", how);
            match rights_beyond(&config.user, &config.database, &grants) {
                beyond if beyond.is_empty() => ok,
                beyond => ok.wrong(
                    beyond.join("; "),
                    "otelgate users print --config FILE prints what it needs; REVOKE the rest",
                ),
            }
        }
    }
}

type Tables = Result<String, String>;

pub(super) fn rows(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once('\t'))
}

/// Whether the tables that rows go to are there, as far as the ingest user sees them.
pub(super) fn all_there(tables: &Tables, config: &ClickHouse) -> Finding {
    let how = "read system.tables";
    let tables = match tables {
        Ok(tables) => tables,
        Err(why) => return Finding::cannot_tell("tables", why.clone(), how),
    };
    let ok = Finding::ok("tables", "all are there", how);
    let names = TableKind::ALL.map(|kind| format!("{}{}", kind.table(), config.schema.suffix));
    let is_missing = |name: &&str| rows(tables).all(|(known, _)| known != *name);
    let missing: Vec<&str> = names.iter().map(String::as_str).filter(is_missing).collect();
    match missing.len() {
        0 => ok,
        all if all == names.len() && config.create_schema => {
            Finding { what: "none is there yet; a start makes them".to_owned(), ..ok }
        }
        _ => ok.wrong(
            format!("{} has no {}, as far as the ingest user sees: rows for it wait", config.database, missing.join(", ")),
            "otelgate schema apply --config FILE; where the table is there, a right is missing: otelgate users print --config FILE",
        ),
    }
}

pub(super) fn windows(tables: &Tables, config: &ClickHouse) -> Finding {
    let how = "read the tables' settings";
    let tables = match tables {
        Ok(tables) => tables,
        Err(why) => return Finding::cannot_tell("deduplication", why.clone(), how),
    };
    let own = expected(config);
    let without: Vec<(String, &str)> = rows(tables)
        .filter(|(name, _)| own.iter().any(|(own, _)| own == *name))
        .filter_map(|(name, engine)| without_window(engine).map(|setting| (name.to_owned(), setting)))
        .collect();
    let ok = Finding::ok("deduplication", "each table recognises a repeated insert", how);
    if without.is_empty() {
        return ok;
    }
    let alter = |(name, setting): &(String, &str)| {
        let (database, table) = (identifier(&config.database), identifier(name));
        format!("ALTER TABLE {database}.{table} MODIFY SETTING {setting} = 10000")
    };
    let what = format!(
        "{} keep no window: after an insert whose outcome is unknown otelgate has to look, and rollups may count twice",
        without.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    );
    ok.warning(what, without.iter().map(alter).collect::<Vec<_>>().join("; "))
}

/// The setting that would give a table with this engine its window, where it has none: a replicated table has one unless it is set to 0, another has none
/// unless it is set.
fn without_window(engine: &str) -> Option<&'static str> {
    let replicated = engine.starts_with("Replicated") || engine.starts_with("Shared");
    let setting = if replicated { "replicated_deduplication_window" } else { "non_replicated_deduplication_window" };
    match own_setting(engine, setting) {
        Some(value) => (value == "0").then_some(setting),
        None => (!replicated).then_some(setting),
    }
}

/// The tables that otelgate would make, and their TTL clause.
fn expected(config: &ClickHouse) -> Vec<(String, String)> {
    let all = statements_for(config, &Target::of(Version::NEWEST));
    all.iter()
        .filter(|one| one.sql.contains("MergeTree"))
        .map(|one| (one.table(), clause(&one.sql).to_owned()))
        .collect()
}

pub(super) fn times_to_live(tables: &Tables, config: &ClickHouse) -> Finding {
    let how = "compared the tables' TTL with sink.clickhouse.ttl";
    let tables = match tables {
        Ok(tables) => tables,
        Err(why) => return Finding::cannot_tell("time to live", why.clone(), how),
    };
    let keeps = |clause: &str| match Ttl::of(clause).period() {
        Ok(Some(period)) => period.to_string(),
        Ok(None) => "for ever".to_owned(),
        Err(()) => format!("as no simple time says ({clause})"),
    };
    let mut differ = Vec::new();
    for (name, wanted) in expected(config) {
        let found = rows(tables).find(|(table, _)| *table == name).map(|(_, engine)| clause(engine));
        if let Some(found) = found.filter(|found| !same_ttl(&wanted, found)) {
            differ.push(format!("{name} keeps rows {}, the configuration says {}", keeps(found), keeps(&wanted)));
        }
    }
    let ok = Finding::ok("time to live", "as configured, where the tables are there", how);
    if differ.is_empty() {
        return ok;
    }
    ok.warning(
        differ.join("; "),
        "otelgate schema apply --ttl --config FILE (it shows the SQL first); or write what is meant in sink.clickhouse.ttl",
    )
}

pub(super) fn parts_near_the_limit(parts: Result<String, String>) -> Finding {
    let how = "counted active parts in system.parts";
    match parts {
        Err(why) => Finding::cannot_tell("parts", why, how),
        Ok(text) => {
            let many = |(_, parts): &(&str, &str)| parts.parse::<u64>().is_ok_and(|parts| parts > MANY_PARTS);
            let many: Vec<String> =
                rows(&text).filter(many).map(|(table, parts)| format!("{table}: {parts} in one partition")).collect();
            let ok = Finding::ok("parts", "merges keep up", how);
            match many.is_empty() {
                true => ok,
                false => ok.warning(
                    format!("{}; merges are behind, and ClickHouse slows inserts down at 1000", many.join(", ")),
                    "look at system.merges; who else inserts often and little?",
                ),
            }
        }
    }
}

pub(super) fn mutations(stuck: Result<String, String>) -> Finding {
    trouble(
        "mutations",
        stuck,
        "none is stuck",
        "read system.mutations",
        "KILL MUTATION WHERE …, after reading why it fails",
    )
}

pub(super) fn replicas_behind(behind: Result<String, String>) -> Finding {
    trouble(
        "replicas",
        behind,
        "none is read-only or late",
        "read system.replicas",
        "is Keeper there? SYSTEM RESTORE REPLICA where its data was lost",
    )
}

/// Each row is a trouble of a table.
pub(super) fn trouble(
    check: &'static str,
    found: Result<String, String>,
    fine: &str,
    how: &str,
    mend: &str,
) -> Finding {
    match found {
        Err(why) => Finding::cannot_tell(check, why, how),
        Ok(text) => {
            let each: Vec<String> = rows(&text).map(|(table, what)| format!("{table}: {}", what.trim())).collect();
            let ok = Finding::ok(check, fine, how);
            if each.is_empty() { ok } else { ok.wrong(each.join("; "), mend) }
        }
    }
}
