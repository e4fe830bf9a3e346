//! ClickHouse beyond what an insert needs: who may come from where and use how much, what is written down of it, and whether the server keeps up.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use super::clickhouse::{as_user, rows, trouble};
use super::knock::{self, Seen};
use super::{Account, Finding};
use crate::config::ClickHouse;
use crate::sink::clickhouse::schema::{identifier, literal};
use crate::sink::clickhouse::{Asker, Failure};

type Answer = Result<String, String>;

const UNTOLD: &str = "the ingest user may not know, and need not; --administrator USER may";

/// Asks.
pub(super) async fn look(asker: &Asker, config: &ClickHouse, administrator: Option<&Asker>) -> Vec<Finding> {
    let database = literal(&config.database);
    let ask = async |sql: &str| asker.text(sql).await;
    let skipped = format!(
        "SELECT table, concat(toString(count()), ' parts') FROM system.parts WHERE active AND database = {database} AND rows > 250000 \
         AND secondary_indices_compressed_bytes = 0 AND modification_time < now() - INTERVAL 1 HOUR \
         AND table IN (SELECT table FROM system.data_skipping_indices WHERE database = {database}) GROUP BY table"
    );
    let slow = format!(
        "SELECT table, concat(toString(round(max(elapsed))), ' s for one merge') FROM system.merges WHERE database = {database} AND elapsed > 1800 \
         GROUP BY table"
    );
    let many = format!(
        "SELECT table, concat(toString(uniq(partition)), ' partitions') FROM system.parts WHERE active AND database = {database} GROUP BY table \
         HAVING uniq(partition) > 1000"
    );
    let user = literal(&config.user);
    let bounded = format!(
        "SELECT count() FROM system.quota_limits WHERE (max_queries > 0 OR max_written_bytes > 0 OR max_read_rows > 0 OR max_execution_time > 0) \
         AND quota_name IN (SELECT name FROM system.quotas WHERE apply_to_all OR has(apply_to_list, {user}))"
    );
    // What the ingest user has no right to know, and needs none.
    let as_administrator = async |sql: &str| match administrator {
        Some(asker) => asker.text(sql).await,
        None => Err(UNTOLD.to_owned()),
    };
    let mut found = vec![
        address(as_administrator(&format!("SHOW CREATE USER {}", identifier(&config.user))).await),
        quota(as_administrator(&bounded).await),
        profile(ask("SELECT arrayStringConcat(currentProfiles(), ', ')").await),
        query_log(as_administrator("EXISTS TABLE system.query_log").await),
        session_log(as_administrator("EXISTS TABLE system.session_log").await),
        skip_indexes(ask(&skipped).await),
        merges(ask(&slow).await),
        partitions(ask(&many).await),
    ];
    found.extend(listen_host(config).await);
    found
}

/// Of a ClickHouse on this machine: whether others reach it too.
async fn listen_host(config: &ClickHouse) -> Option<Finding> {
    let url = config.urls.first()?;
    let host = url.host()?.trim_matches(['[', ']']);
    if host != "localhost" && !host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) {
        return None;
    }
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 8443 } else { 8123 });
    let own = SocketAddr::new(own_address()?, port);
    Some(listens_at(own, knock::at(&own.ip().to_string(), port).await))
}

/// This machine's address towards others. Sends nothing: the address is one of documentation's (RFC 5737).
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

pub(super) fn listens_at(own: SocketAddr, seen: Seen) -> Finding {
    let ok = Finding::ok("listen host", "ClickHouse answers on this machine only", format!("connected to {own}"));
    match seen {
        Seen::Closed => ok,
        _ => ok.warning(
            format!("ClickHouse answers at {own} too, though otelgate uses it from this machine"),
            "<listen_host>127.0.0.1</listen_host> in config.d, unless HyperDX comes from elsewhere",
        ),
    }
}

pub(super) fn address(created: Answer) -> Finding {
    let how = "SHOW CREATE USER";
    match created {
        Err(why) => Finding::cannot_tell("address restriction", why, how),
        Ok(text) => {
            let ok = Finding::ok("address restriction", "the ingest user comes from named addresses only", how);
            match text.contains(" HOST ") && !text.contains("HOST ANY") {
                true => ok,
                false => ok.warning(
                    "the ingest user may come from anywhere: a password that leaks is enough",
                    "ALTER USER … HOST IP '…' (otelgate users print --config FILE prints it)",
                ),
            }
        }
    }
}

pub(super) fn quota(bounds: Answer) -> Finding {
    let ok = Finding::ok("quota", "the ingest user has one", "read system.quota_limits");
    match number(&bounds) {
        None => Finding { outcome: super::Outcome::CannotTell, what: words(bounds), ..ok },
        Some(0) => ok.warning(
            "nothing bounds what the ingest user may ask for",
            "CREATE QUOTA … (otelgate users print --config FILE prints it)",
        ),
        Some(_) => ok,
    }
}

pub(super) fn profile(profiles: Answer) -> Finding {
    let how = "asked for currentProfiles()";
    match profiles {
        Err(why) => Finding::cannot_tell("settings profile", why, how),
        Ok(names) => {
            let ok = Finding::ok("settings profile", format!("the ingest user has {names}"), how);
            match names.split(", ").any(|name| !name.is_empty() && name != "default") {
                true => ok,
                false => ok.warning(
                    "the ingest user has the profile that everybody has",
                    "CREATE SETTINGS PROFILE … (otelgate users print --config FILE prints it)",
                ),
            }
        }
    }
}

pub(super) fn query_log(there: Answer) -> Finding {
    log("query log", there, "what was asked, and what it cost, is not known afterwards", "query_log")
}

pub(super) fn session_log(there: Answer) -> Finding {
    log("session log", there, "who logged in, and who tried to, is not known afterwards", "session_log")
}

fn log(check: &'static str, there: Answer, without: &str, table: &str) -> Finding {
    let ok = Finding::ok(check, "it is written", format!("EXISTS TABLE system.{table}"));
    match number(&there) {
        None => Finding { outcome: super::Outcome::CannotTell, what: words(there), ..ok },
        Some(0) => ok.warning(
            without,
            format!("<{table}> with a <ttl> in config.d; it is made when there is something to write"),
        ),
        Some(_) => ok,
    }
}

pub(super) fn skip_indexes(missing: Answer) -> Finding {
    let fine = "in each large part that is older than an hour";
    let mend = "ALTER TABLE … MATERIALIZE INDEX …, at a quiet hour; or OPTIMIZE the partition";
    trouble("skip indexes", missing, fine, "read system.parts", mend).softened()
}

pub(super) fn merges(slow: Answer) -> Finding {
    let mend = "give ClickHouse more CPU or a faster disk; look at system.merges";
    trouble("merges", slow, "none takes longer than half an hour", "read system.merges", mend).softened()
}

pub(super) fn partitions(many: Answer) -> Finding {
    let mend = "a time to live that drops old days; PARTITION BY toDate(…) and nothing finer";
    trouble("partitions", many, "fewer than 1000 a table", "read system.parts", mend).softened()
}

fn number(answer: &Answer) -> Option<u64> {
    answer.as_ref().ok().and_then(|text| text.trim().parse().ok())
}

fn words(answer: Answer) -> String {
    answer.unwrap_or_else(|why| why)
}

/// HyperDX's user: whether it reads only, and whether what HyperDX sets with its queries is allowed.
pub(super) async fn look_as(config: &ClickHouse, account: Account<'_>) -> Vec<Finding> {
    let user = account.0;
    let asker = match as_user(config, account) {
        Ok(asker) => asker,
        Err(error) => return vec![Finding::cannot_tell(READER, error.to_string(), "tried to connect")],
    };
    let grants = asker.run("SHOW GRANTS").await;
    let settings = "SELECT name, value FROM system.settings WHERE name IN ('readonly', 'max_rows_to_read', 'cancel_http_readonly_queries_on_client_close')";
    let settings = asker.run(settings).await;
    vec![reader_rights(user, grants), reader_settings(user, settings)]
}

const READER: &str = "HyperDX's rights";

pub(super) fn reader_rights(user: &str, grants: Result<String, Failure>) -> Finding {
    let ok = Finding::ok(READER, format!("{user} reads, and no more"), format!("SHOW GRANTS as {user}"));
    let grants = match grants {
        Ok(grants) => grants,
        Err(failure) if failure.is_login() => {
            let mend = "the password is read from OTELGATE_AS_PASSWORD; otelgate users print shows the user's SQL";
            return ok.wrong(failure.to_string(), mend);
        }
        Err(failure) => return Finding { outcome: super::Outcome::CannotTell, what: failure.to_string(), ..ok },
    };
    let reads = |right: &str| ["SELECT", "SHOW", "USAGE", "dictGet"].iter().any(|read| right.starts_with(read));
    let mut beyond = Vec::new();
    for (rights, on) in grants.lines().filter_map(|line| line.strip_prefix("GRANT ")?.split_once(" ON ")) {
        // Columns stand in parentheses.
        let named = rights.split(", ").filter(|right| !reads(right) && !right.contains(')') && !right.is_empty());
        beyond.extend(named.map(|right| format!("{right} on {}", on.split(" TO ").next().unwrap_or(on))));
    }
    match beyond.is_empty() {
        true => ok,
        false => ok.wrong(
            format!("{user} may {}: whoever breaks into HyperDX may too", beyond.join("; ")),
            format!("REVOKE … FROM {user}; otelgate users print shows what it needs"),
        ),
    }
}

pub(super) fn reader_settings(user: &str, settings: Result<String, Failure>) -> Finding {
    let ok =
        Finding::ok("HyperDX's settings", "as ClickStack's guide has them", format!("read system.settings as {user}"));
    let settings = match settings {
        Ok(settings) => settings,
        Err(failure) => return Finding { outcome: super::Outcome::CannotTell, what: failure.to_string(), ..ok },
    };
    let value =
        |name: &str| rows(&settings).find(|(of, _)| *of == name).and_then(|(_, value)| value.parse::<u64>().ok());
    let mut wrong = Vec::new();
    match value("readonly") {
        Some(1) => wrong.push("readonly = 1 refuses what HyperDX sets with its queries; it is to be 2"),
        Some(2) | None => {}
        Some(_) => wrong.push("readonly = 0: only its grants keep it from writing; it is to be 2"),
    }
    if value("max_rows_to_read").is_some_and(|most| most > 0 && most < 1_000_000) {
        wrong.push("max_rows_to_read is less than 1,000,000, and searches fail");
    }
    if value("cancel_http_readonly_queries_on_client_close") == Some(0) {
        wrong.push("cancel_http_readonly_queries_on_client_close = 0: searches go on after the page was closed");
    }
    match wrong.is_empty() {
        true => ok,
        false => ok.warning(wrong.join("; "), "otelgate users print shows the profile; ALTER SETTINGS PROFILE …"),
    }
}
