//! Section `sink`: where telemetry goes. A sink more is a field here, a variant of [`SinkConfig`] and a function.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Uri;

use super::check_forward;
use super::clickhouse_url::{Address, address, place};
use super::rules::{is_loopback, secret, shorter};
use super::section::Section;
use super::value::{count, flag, positive_time, time, word};
use super::{BlockCompression, ClickHouse, Layout, Login, Quorum, Replicated, Secret, SinkConfig, Ttl, tls_files};

const DAY: Duration = Duration::from_secs(86_400);

/// The one sink; `None` after a mistake was reported. `clickstack_transform` is what section `logs` says.
pub(super) fn sink(s: &Section<'_>, clickstack_transform: bool) -> Option<SinkConfig> {
    match (s.has("clickhouse"), s.has("forward")) {
        (true, true) => {
            s.mistake_here("`clickhouse` and `forward` are both set; exactly one sink, keep one");
        }
        (false, false) => {
            s.mistake_here("is missing; say where telemetry goes: `sink: { clickhouse: { url: …, password: … } }` or `sink: { forward: { endpoint: … } }`")
        }
        (true, false) | (false, true) => {}
    }
    let clickhouse = s.has("clickhouse").then(|| s.section("clickhouse", |s| clickhouse(s, clickstack_transform)));
    let forward = s.has("forward").then(|| SinkConfig::Forward(s.section("forward", check_forward::forward)));
    clickhouse.map(SinkConfig::ClickHouse).or(forward)
}

fn clickhouse(s: &Section<'_>, clickstack_transform: bool) -> ClickHouse {
    match (s.has("url"), s.has("shards")) {
        (false, false) => s.mistake("url", "is missing; write for example https://clickhouse:8443"),
        (true, true) => s.mistake("shards", "stands beside `url`; keep one: `shards` names every server"),
        (true, false) | (false, true) => {}
    }
    let cluster = s.optional("cluster", identifier);
    if cluster.is_some() && s.has("shards") {
        s.mistake(
            "cluster",
            "stands beside `shards`; keep one: the shards of a cluster are read from the servers of `url`",
        );
    }
    let mut addresses = s.list("url", address).unwrap_or_default();
    let groups: Vec<Vec<_>> =
        s.groups("shards", "url", server).into_iter().map(|group| group.into_iter().flatten().collect()).collect();
    let written = if groups.is_empty() { "url" } else { "shards" };
    addresses.extend(groups.iter().flatten().map(|(address, _)| address.clone()));
    for Address { url, .. } in addresses.iter().filter(|address| address.was_native) {
        s.warning(written, format!("names the native protocol, which otelgate does not speak; it uses the HTTP interface, {url}, and wants that written where it is another"));
    }
    let urls: Vec<Uri> = addresses.into_iter().map(|address| address.url).collect();
    if let Some(url) = urls.iter().find(|url| url.scheme_str() == Some("http") && !is_loopback(url)) {
        s.warning(written, format!("password and telemetry travel readable to {url}; use https"));
    }
    let (shards, logins) = divided(s, groups);
    let ca_file = s.optional("ca_file", |text| s.reader.path(text));
    if let Some(file) = &ca_file {
        tls_files::check_ca(s, "ca_file", file);
    }
    let insert_timeout = s.or("insert_timeout", Duration::from_secs(30), positive_time);
    let max_execution_time = s.or("max_execution_time", Duration::from_secs(25), whole_seconds);
    shorter(s, "max_execution_time", max_execution_time, "insert_timeout", insert_timeout);
    ClickHouse {
        urls,
        shards,
        cluster,
        logins,
        ca_file,
        database: s.or("database", "otel".to_owned(), identifier),
        user: s.or("user", "hyperdx_ingest".to_owned(), word),
        password: password(s),
        create_schema: s.or("create_schema", true, flag),
        ttl: s.section("ttl", ttl),
        schema: Box::new(s.section("schema", layout)),
        insert_timeout,
        max_execution_time,
        schema_max_age: s.or("schema_max_age", Duration::from_secs(60), positive_time),
        answer_max_age: s.or("answer_max_age", Duration::from_secs(60), positive_time),
        inserts_per_table: s.or("inserts_per_table", None, inserts_per_table),
        compression: s.or("compression", BlockCompression::default(), compression),
        materialize_skip_indexes_on_insert: s.or("materialize_skip_indexes_on_insert", false, flag),
        ignore_view_errors: s.or("ignore_view_errors", false, flag),
        insert_quorum: s.optional("insert_quorum", quorum),
        clickstack_transform,
    }
}

/// A server of a shard: its address, and its own user where it has one.
fn server(s: &Section<'_>) -> Option<(Address, Option<Login>)> {
    let address = s.required("url", "write for example https://clickhouse-1:8443", address);
    let user = s.optional("user", word);
    let password = s.has("password").then(|| password(s));
    if user.is_some() != password.is_some() {
        s.mistake_here(
            "has only one of `user` and `password`; write both, or neither where they are the same for all servers",
        );
    }
    let login = user.zip(password).map(|(user, password)| Login { user, password });
    address.map(|address| (address, login))
}

/// The shards' addresses, each of which stands for one server of one shard; and who logs in where.
fn divided(s: &Section<'_>, groups: Vec<Vec<(Address, Option<Login>)>>) -> (Vec<Vec<Uri>>, Vec<(Uri, Login)>) {
    let (mut shards, mut logins, mut known) = (Vec::new(), Vec::new(), BTreeSet::new());
    for group in groups {
        let mut urls = Vec::new();
        for (Address { url, .. }, login) in group {
            if !known.insert(place(&url)) {
                s.mistake("shards", format!("names {url} twice; a server belongs to one shard"));
            }
            logins.extend(login.map(|login| (url.clone(), login)));
            urls.push(url);
        }
        shards.push(urls);
    }
    (shards, logins)
}

fn inserts_per_table(text: &str) -> Result<Option<usize>, String> {
    match text {
        "auto" => Ok(None),
        _ => count(text).map(Some).map_err(|why| format!("{why}, or auto: as many as the server has cores")),
    }
}

fn quorum(text: &str) -> Result<Quorum, String> {
    match text {
        "off" => Ok(Quorum::Off),
        "auto" => Ok(Quorum::Auto),
        _ => match count(text) {
            Ok(1) => Err("is no quorum; write off, auto (more than half of the replicas), or 2 and more".to_owned()),
            Ok(replicas) => Ok(Quorum::Of(replicas)),
            Err(_) => Err("is neither auto, nor off, nor a number of replicas".to_owned()),
        },
    }
}

fn compression(text: &str) -> Result<BlockCompression, String> {
    match text {
        "lz4" => Ok(BlockCompression::Lz4),
        "zstd" => Ok(BlockCompression::Zstd),
        "none" => Ok(BlockCompression::None),
        _ => Err("is not a compression; known are lz4, zstd, none".to_owned()),
    }
}

fn ttl(s: &Section<'_>) -> Ttl {
    let after = |name| s.or(name, 30 * DAY, time_to_live);
    Ttl { logs: after("logs"), traces: after("traces"), metrics: after("metrics"), sessions: after("sessions") }
}

fn layout(s: &Section<'_>) -> Layout {
    let is_replicated = s.or("engine", false, |text| match text {
        "merge_tree" => Ok(false),
        "replicated" => Ok(true),
        _ => Err("is neither merge_tree nor replicated".to_owned()),
    });
    let path = s.or("path", "/clickhouse/tables/{shard}/{database}/{table}".to_owned(), in_quotes);
    let replica = s.or("replica", "{replica}".to_owned(), in_quotes);
    let cluster = s.optional("cluster", identifier);
    let distributed = s.or("distributed", false, flag);
    if distributed && cluster.is_none() {
        s.mistake("distributed", "needs `cluster`, the name that system.clusters has for the servers");
    }
    let usual = if distributed { "_local" } else { "" };
    let suffix = s.or("suffix", usual.to_owned(), identifier);
    if distributed && suffix.is_empty() {
        s.mistake("suffix", "is empty: a table that holds rows cannot have the name of the Distributed table over it");
    }
    let replicated = is_replicated.then_some(Replicated { path, replica });
    Layout { replicated, cluster, suffix, distributed }
}

/// A text that is put between quotes.
fn in_quotes(text: &str) -> Result<String, String> {
    if text.contains(['\'', '\\']) { Err("holds a quote or a backslash".to_owned()) } else { word(text) }
}

/// Never shown, not even as it is written: it may stand there literally.
fn password(s: &Section<'_>) -> Secret {
    if !s.has("password") {
        s.mistake("password", "is missing; write \"${env:CLICKHOUSE_PASSWORD}\" or \"${file:…}\"");
    }
    secret(s, "password").unwrap_or_else(|| Secret::new(""))
}

fn identifier(text: &str) -> Result<String, String> {
    if text.contains(['`', '"', '\'', '\\']) {
        return Err("holds a quote or a backslash".to_owned());
    }
    word(text)
}

/// ClickHouse takes this setting in seconds.
fn whole_seconds(text: &str) -> Result<Duration, String> {
    match positive_time(text)? {
        time if time.subsec_nanos() == 0 => Ok(time),
        _ => Err("is not a whole number of seconds".to_owned()),
    }
}

/// `0s` keeps rows for ever. ClickHouse counts in seconds.
fn time_to_live(text: &str) -> Result<Duration, String> {
    match time(text)? {
        time if time.subsec_nanos() == 0 => Ok(time),
        _ => Err("is not a whole number of seconds; write for example 30d, or 0s to keep rows for ever".to_owned()),
    }
}
