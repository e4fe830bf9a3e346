//! The sections of the configuration, one function each, in the order of [`Config`]: defaults and the rules that hold
//! between fields stand here and nowhere else.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::origin::Origin;
use super::rules::{DEFAULT_LIMITS, at_most, key_limits, never_admitted, secret, shorter};
use super::section::Section;
use super::value::{count, flag, positive_size, positive_time, show_size, size, time, word};
use super::{
    Admin, AllowedOrigins, Batch, Config, Cors, KeyRules, Keys, Log, Places, RequestLimits, Shutdown, SinkConfig,
    Spool, check_keys, check_listen, check_shared, check_sink, check_telemetry, check_tls,
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Five tables of metrics, and in each as many partitions as ClickHouse takes in one insert (`max_partitions_per_insert_block`): what the
/// collector can store of one request.
const MAX_PARTS: u32 = 500;

/// Where a service keeps its state on Linux.
const STATE_DIR: &str = "/var/lib/otelgate";

/// What a configuration file says. All of it is good only when no mistake was reported.
pub(super) struct Checked {
    /// Where keys.yaml is, to be checked too.
    pub(super) keys: Keys,
    /// What the keys there are read by.
    pub(super) rules: KeyRules,
    /// What is good whatever is wrong elsewhere.
    pub(super) places: Places,
    /// Everything; `None` only after a mistake.
    pub(super) config: Option<Config>,
}

/// The whole file.
pub(super) fn config(top: &Section<'_>) -> Checked {
    let state_dir = top.optional("state_dir", |text| top.reader.path(text));
    let listen = top.section("listen", check_listen::listen);
    let admin = top.section("admin", |section| admin(section, listen.admin));
    let tls = top.section("tls", |section| check_tls::tls(section, &listen));
    let request = top.section("request", request);
    let (limits, shared_limits) = top.section("limits", |section| {
        (key_limits(section, DEFAULT_LIMITS, request.largest()), check_shared::limits(section))
    });
    if !top.has("limits") {
        // Then it is `request` that does not fit the defaults.
        never_admitted(&limits, request.largest()).into_iter().for_each(|(_, never)| top.warning("request", never));
    }
    let cors = top.section("cors", cors);
    let rules = KeyRules { limits, largest: request.largest(), pages: cors.allowed_origins.clone() };
    let keys = top.section("keys", |section| check_keys::keys(section, &rules));
    let clickstack_transform = top.section("logs", |section| section.or("clickstack_transform", true, flag));
    let sink = top.section("sink", |section| check_sink::sink(section, clickstack_transform));
    let with_spool = !top.is("spool", "none");
    let forwards = matches!(sink, Some(SinkConfig::Forward(_)));
    let batch = top.section("batch", |section| batch(section, with_spool, forwards, request.timeout));
    let spool = with_spool.then(|| top.section("spool", |section| spool(section, &batch, state_dir.as_deref())));
    let state_dir = state_dir.unwrap_or_else(|| beside(spool.as_ref()));
    let tls = tls.kept_in(&state_dir);
    if !with_spool {
        top.warning("spool", NO_SPOOL);
    }
    let (shutdown, log) = (top.section("shutdown", shutdown), top.section("log", log));
    let telemetry = top.section("telemetry", check_telemetry::telemetry);
    let places = Places {
        file: PathBuf::new(),
        listener: listen.admin,
        admin: admin.clone(),
        spool: spool.clone(),
        keys_file: keys.file.clone(),
        forwards,
    };
    let config = sink.map(|sink| Config {
        state_dir,
        listen,
        admin,
        tls,
        keys: keys.clone(),
        limits,
        shared_limits,
        request,
        sink,
        batch,
        spool,
        cors,
        shutdown,
        log,
        telemetry,
    });
    Checked { keys, rules, places, config }
}

/// Shorter than anybody's random token.
const LEAST_TOKEN: usize = 16;

fn admin(s: &Section<'_>, listener: SocketAddr) -> Admin {
    let admin = Admin { token: secret(s, "token"), socket: s.optional("socket", |text| s.reader.path(text)) };
    if admin.token.as_ref().is_some_and(|token| token.expose().len() < LEAST_TOKEN) {
        s.mistake("token", format!("is shorter than {LEAST_TOKEN} characters; `openssl rand -hex 32` makes one"));
    }
    if !listener.ip().is_loopback() && !s.has("token") {
        let message = format!(
            "is missing: listen.admin {listener} is not a loopback address, so orders about the spool need a right; \
             write \"${{env:OTELGATE_ADMIN_TOKEN}}\" or \"${{file:…}}\", or listen on 127.0.0.1"
        );
        s.mistake("token", message);
    }
    admin
}

fn request(s: &Section<'_>) -> RequestLimits {
    let max_memory = s.or("max_memory", 512 * MIB, positive_size);
    let request = RequestLimits {
        max_body_bytes: s.or("max_body_bytes", 64 * MIB, positive_size),
        max_records: s.or("max_records", 200_000, count),
        max_column_bytes: s.or("max_column_bytes", 128 * MIB, positive_size),
        max_parts: s.or("max_parts", MAX_PARTS, count),
        timeout: s.or("timeout", Duration::from_secs(60), positive_time),
        min_body_rate: s.or("min_body_rate", 1024, size),
        max_memory,
        max_memory_per_key: s.or("max_memory_per_key", max_memory.div_ceil(2), positive_size),
    };
    at_most(s, "max_memory_per_key", request.max_memory_per_key, "max_memory", max_memory);
    at_most(s, "max_body_bytes", request.max_body_bytes, "max_memory_per_key", request.max_memory_per_key);
    let (body, columns) = (request.max_body_bytes, request.max_column_bytes);
    if columns < body {
        s.warning(
            "max_column_bytes",
            format!(
                "{} is less than max_body_bytes ({}), and what a body holds comes to lie in columns",
                show_size(columns),
                show_size(body)
            ),
        );
    } else if columns.saturating_add(body) > request.max_memory_per_key {
        s.warning(
            "max_column_bytes",
            format!(
                "{} and max_body_bytes ({}) are held at the same time, and are together more than max_memory_per_key ({})",
                show_size(columns),
                show_size(body),
                show_size(request.max_memory_per_key)
            ),
        );
    }
    request
}

/// `with_spool`: nobody waits for a batch then, so that it may grow older, and larger where ClickHouse stores it
/// (docs/decisions/0016-larger-batches.md). Without, a collector takes small batches as cheaply as large ones, and they
/// gather only while an export is under way.
fn batch(s: &Section<'_>, with_spool: bool, forwards: bool, request_timeout: Duration) -> Batch {
    let max_age = match (with_spool, forwards) {
        (true, _) => Duration::from_secs(5),
        (false, false) => Duration::from_secs(1),
        (false, true) => Duration::ZERO,
    };
    let batch = Batch {
        max_rows: s.or("max_rows", if with_spool && !forwards { 200_000 } else { 100_000 }, count),
        max_bytes: s.or("max_bytes", 32 * MIB, positive_size),
        max_uncompressed_bytes: s.or("max_uncompressed_bytes", 128 * MIB, positive_size),
        max_parts: s.or("max_parts", MAX_PARTS, count),
        max_age: s.or("max_age", max_age, positive_time),
        commit_interval: s.or("commit_interval", Duration::from_millis(10), positive_time),
        max_chunk_rows: s.or("max_chunk_rows", 4_000, count),
        deadline: s.or("deadline", Duration::from_secs(8), positive_time),
    };
    if batch.max_chunk_rows > batch.max_rows {
        s.mistake("max_chunk_rows", format!("is more than max_rows ({})", batch.max_rows));
    }
    at_most(s, "max_bytes", batch.max_bytes, "max_uncompressed_bytes", batch.max_uncompressed_bytes);
    if !batch.max_age.is_zero() {
        shorter(s, "commit_interval", batch.commit_interval, "max_age", batch.max_age);
    }
    if !with_spool {
        shorter(s, "max_age", batch.max_age, "deadline", batch.deadline);
        shorter(s, "deadline", batch.deadline, "request.timeout", request_timeout);
    }
    batch
}

/// What it costs to do without.
const NO_SPOOL: &str = "none: a request is answered only after the sink said yes, so clients are refused while the sink is away; and nothing is \
     remembered when otelgate is killed, so that what a client then sends again may be stored twice";

/// What else is kept lies beside the spool: the disk that is good for one is good for the other.
fn beside(spool: Option<&Spool>) -> PathBuf {
    let folder = spool.and_then(|spool| spool.dir.parent());
    folder.map_or_else(|| PathBuf::from(STATE_DIR), Path::to_owned)
}

fn spool(s: &Section<'_>, batch: &Batch, state_dir: Option<&Path>) -> Spool {
    let dir = s.optional("dir", |text| s.reader.path(text));
    let max_bytes = s.or("max_bytes", 8 * GIB, positive_size);
    let spool = Spool {
        dir: dir.unwrap_or_else(|| state_dir.unwrap_or(Path::new(STATE_DIR)).join("spool")),
        max_bytes,
        max_bytes_per_key: s.or("max_bytes_per_key", max_bytes.div_ceil(2), positive_size),
        min_free_bytes: s.or("min_free_bytes", 512 * MIB, size),
        digest_ttl: s.or("digest_ttl", Duration::from_secs(600), positive_time),
        shared_digests: check_shared::digests(s),
    };
    at_most(s, "max_bytes_per_key", spool.max_bytes_per_key, "max_bytes", max_bytes);
    // A lane writes one batch while another is delivered; three lanes.
    let least = batch.max_bytes.saturating_mul(6);
    if spool.max_bytes < least {
        s.mistake("max_bytes", format!("is less than {}, six batches of batch.max_bytes", show_size(least)));
    }
    spool
}

fn cors(s: &Section<'_>) -> Cors {
    // `None` is every origin.
    let origins = s.list("allowed_origins", origin).unwrap_or_else(|| vec![None]);
    if origins.len() > 1 && origins.contains(&None) {
        s.mistake("allowed_origins", "holds `*` and more; keep `*` alone, or only the origins");
    }
    let list: Option<Vec<Origin>> = origins.into_iter().collect();
    Cors { allowed_origins: list.map_or(AllowedOrigins::Any, AllowedOrigins::List) }
}

fn origin(text: &str) -> Result<Option<Origin>, String> {
    if text == "*" {
        return Ok(None);
    }
    Origin::parse(text).map(Some).ok_or_else(|| {
        "is not an origin; write for example https://app.example.com, https://*.example.com for every host below, or * for all"
            .to_owned()
    })
}

fn shutdown(s: &Section<'_>) -> Shutdown {
    let shutdown = Shutdown {
        drain_delay: s.or("drain_delay", Duration::from_secs(3), time),
        deadline: s.or("deadline", Duration::from_secs(25), positive_time),
    };
    shorter(s, "drain_delay", shutdown.drain_delay, "deadline", shutdown.deadline);
    shutdown
}

fn log(s: &Section<'_>) -> Log {
    let level = |text: &str| {
        let filter = tracing_subscriber::EnvFilter::builder().parse(text);
        let known = |_| {
            "is not a level; write error, warn, info, debug or trace, or a filter like info,otelgate::sink=debug"
                .to_owned()
        };
        filter.map_err(known).and_then(|_| word(text))
    };
    Log { level: s.or("level", "info".to_owned(), level) }
}
