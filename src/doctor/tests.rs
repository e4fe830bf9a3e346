//! Each check says that a good stand is good and a bad one is not, with what mends it.

mod of_running;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::knock::{Seen, Transport};
use super::list::CHECKS;
use super::{Finding, Outcome, clickhouse, clocks, compose, exposure, listener, own, server};
use crate::config::testing::Fake;
use crate::config::{self, ClickHouse, KeyEntry, SinkConfig};
use crate::keys::testing::entry;
use crate::sink::clickhouse::Failure;
use crate::sink::clickhouse::schema::{Version, statements};

fn config() -> ClickHouse {
    let text = "tls: { plaintext: true }\nlisten: { otlp: '127.0.0.1:4317' }\nspool: none\nsink:\n  clickhouse:\n    \
                url: http://localhost:8123\n    password: '${env:SECRET}'\n";
    let fake = Fake::new().file("/f/otelgate.yaml", text).file("/f/keys.yaml", "keys: []\n").variable("SECRET", "s");
    match config::load(Path::new("/f/otelgate.yaml"), &fake).unwrap().config.sink {
        SinkConfig::ClickHouse(clickhouse) => clickhouse,
        SinkConfig::Forward(_) => unreachable!("it stores"),
    }
}

/// What `system.tables` says of the tables as otelgate makes them.
fn tables(config: &ClickHouse) -> String {
    let all = statements(&config.database, &config.ttl, Version::NEWEST);
    let made = all.iter().filter_map(|one| Some((one.name, one.sql.split_once("ENGINE = ")?.1)));
    // In one line, as `engine_full` has it.
    let line = |engine: &str| engine.split_whitespace().collect::<Vec<_>>().join(" ");
    made.map(|(name, engine)| format!("{name}\t{}\n", line(engine))).collect()
}

fn keys(expires: Option<u64>) -> Vec<KeyEntry> {
    let expires = expires.map(|days| UNIX_EPOCH + Duration::from_secs(days * 86_400));
    vec![KeyEntry { expires, ..entry("shop", "a", 5) }]
}

fn nobody() -> Failure {
    Failure::NotSent("Connection refused".to_owned())
}

fn no_login() -> Failure {
    Failure::Exception { code: 516, message: "Authentication failed".to_owned() }
}

#[test]
fn what_mends_a_login_is_not_what_mends_silence() {
    let mend = |failure| clickhouse::login(Err(failure), "u").mend.unwrap_or_default();
    assert!(mend(no_login()).contains("users print") && mend(no_login()).contains(".password"));
    assert!(mend(nobody()).contains("sink.clickhouse.url") && !mend(nobody()).contains("users print"));
    let reader = server::reader_rights("h", Err(no_login()));
    assert!(!reader.what.contains("sink.clickhouse"), "the password is another: {reader}");
}

fn named(name: &str, expires: u64) -> Vec<KeyEntry> {
    keys(Some(expires)).into_iter().map(|key| KeyEntry { name: name.to_owned(), ..key }).collect()
}

#[test]
fn what_was_rotated_away_or_revoked_may_be_over() {
    let now = UNIX_EPOCH + Duration::from_secs(100 * 86_400);
    let revoked = KeyEntry { enabled: false, ..entry("away", "c", 5) };
    for ends in [99, 101] {
        let all = [keys(Some(200)), named("shop.old-2", ends), vec![revoked.clone()]].concat();
        let finding = own::keys(&all, now);
        assert_eq!(finding.outcome, Outcome::Ok, "{finding}");
    }
    let over = own::keys(&named("old-2", 99), now);
    let mend = over.mend.expect("wrong");
    assert!(!mend.contains("rotate"), "which refuses a key that is over: {mend}");
}

/// Good, and each way of being bad with how bad it is.
#[expect(clippy::too_many_lines, reason = "a table")]
fn table() -> Vec<(Finding, Vec<(Finding, Outcome)>)> {
    use Outcome::{CannotTell, Warning, Wrong};
    let (config, how) = (config(), String::new);
    let now = UNIX_EPOCH + Duration::from_secs(100 * 86_400);
    let good = Ok(tables(&config));
    let shorter = Ok(tables(&config).replacen("toIntervalDay(30)", "toIntervalHour(48)", 1));
    let no_window = Ok(tables(&config).replacen("non_replicated_deduplication_window = 10000, ", "", 1));
    let refused = || Err("ACCESS_DENIED".to_owned());
    let said = |text: &str| Ok(text.to_owned());
    let at = |days: u64| said(&(days * 86_400_000).to_string());
    let (g, m) = (1 << 30, 1 << 20);
    vec![
        (
            own::keys(&keys(Some(200)), now),
            vec![
                (own::keys(&keys(Some(99)), now), Wrong),
                (own::keys(&keys(Some(103)), now), Warning),
                (own::keys(&keys(None), now), Warning),
                (own::keys(&[keys(Some(99)), named("shop.old", 99)].concat(), now), Wrong),
            ],
        ),
        (
            own::writable(Path::new("k"), Some(0o100_644)),
            vec![
                (own::writable(Path::new("k"), Some(0o100_666)), Wrong),
                (own::writable(Path::new("k"), None), CannotTell),
            ],
        ),
        (
            own::memory(Some(8 * g), 512 * m),
            vec![
                (own::memory(Some(512 * m), 512 * m), Wrong),
                (own::memory(Some(800 * m), 512 * m), Warning),
                (own::memory(None, 512 * m), CannotTell),
            ],
        ),
        (own::files(Some(65_536), 10_000), vec![(own::files(Some(1024), 10_000), Warning)]),
        (
            own::place(Some(false), false, how()),
            vec![(own::place(Some(true), false, how()), Wrong), (own::place(Some(false), true, how()), Warning)],
        ),
        (
            own::room(Some(8 * g), g, 8 * g, how()),
            vec![(own::room(Some(6 * g), g, 8 * g, how()), Warning), (own::room(None, g, 8 * g, how()), CannotTell)],
        ),
        (
            own::speed(Ok(Duration::from_millis(3)), how()),
            vec![
                (own::speed(Ok(Duration::from_millis(300)), how()), Warning),
                (own::speed(Err(std::io::ErrorKind::PermissionDenied.into()), how()), CannotTell),
            ],
        ),
        (clickhouse::transport("https://c:8443/"), vec![(clickhouse::transport("http://c:8123/"), Wrong)]),
        (
            clickhouse::login(Ok("26.7.2.1".to_owned()), "u"),
            vec![
                (clickhouse::login(Ok("25.8.1.1".to_owned()), "u"), Warning),
                (clickhouse::login(Err(no_login()), "u"), Wrong),
                (clickhouse::login(Err(nobody()), "u"), Wrong),
            ],
        ),
        (
            clickhouse::default_user(Some(false)),
            vec![(clickhouse::default_user(Some(true)), Wrong), (clickhouse::default_user(None), CannotTell)],
        ),
        (
            clickhouse::clock(at(100), now),
            vec![(clickhouse::clock(at(101), now), Warning), (clickhouse::clock(refused(), now), CannotTell)],
        ),
        (
            clickhouse::rights(said("GRANT SELECT, INSERT ON otel.otel_logs TO u"), &config),
            vec![
                (clickhouse::rights(said("GRANT SELECT, DROP TABLE ON otel.* TO u"), &config), Wrong),
                (clickhouse::rights(refused(), &config), CannotTell),
            ],
        ),
        (
            clickhouse::all_there(&good, &config),
            vec![(clickhouse::all_there(&said("otel_logs\tMergeTree"), &config), Wrong)],
        ),
        (
            clickhouse::windows(&good, &config),
            vec![
                (clickhouse::windows(&no_window, &config), Warning),
                (clickhouse::windows(&refused(), &config), CannotTell),
            ],
        ),
        (
            clickhouse::times_to_live(&good, &config),
            vec![
                (clickhouse::times_to_live(&shorter, &config), Warning),
                (clickhouse::times_to_live(&refused(), &config), CannotTell),
            ],
        ),
        (
            clickhouse::parts_near_the_limit(said("otel_logs\t12")),
            vec![
                (clickhouse::parts_near_the_limit(said("otel_logs\t900")), Warning),
                (clickhouse::parts_near_the_limit(refused()), CannotTell),
            ],
        ),
        (
            clickhouse::mutations(said("")),
            vec![
                (clickhouse::mutations(said("otel_logs\tCannot parse")), Wrong),
                (clickhouse::mutations(refused()), CannotTell),
            ],
        ),
        (
            clickhouse::replicas_behind(said("")),
            vec![(clickhouse::replicas_behind(said("otel_logs\tread-only")), Wrong)],
        ),
        (
            exposure::judge("h", 27017, Seen::Closed),
            vec![
                (exposure::judge("h", 27017, Seen::Open(Transport::Plain)), Warning),
                (exposure::judge("h", 8443, Seen::Open(Transport::Tls)), Warning),
                (exposure::judge("h", 8080, Seen::Open(Transport::Plain)), Warning),
                (exposure::judge("h", 27017, Seen::LetsIn(Transport::Plain)), Wrong),
                (exposure::judge("h", 8123, Seen::LetsIn(Transport::Plain)), Wrong),
                (exposure::judge("h", 9440, Seen::LetsIn(Transport::Tls)), Wrong),
                (exposure::judge("h", 4318, Seen::LetsIn(Transport::Tls)), Wrong),
            ],
        ),
    ]
}

/// The same of the listeners, the server around the tables, HyperDX's user and a Compose file.
#[expect(clippy::too_many_lines, reason = "a table")]
fn more() -> Vec<(Finding, Vec<(Finding, Outcome)>)> {
    use Outcome::{CannotTell, Warning, Wrong};
    let said = |text: &str| Ok(text.to_owned());
    let refused = || Err("ACCESS_DENIED".to_owned());
    let (here, now) = ("127.0.0.1:4317".parse().unwrap(), UNIX_EPOCH + Duration::from_secs(1_000_000));
    let versions = |offered: &[&str]| listener::judge(here, true, false, offered);
    let user = |host: &str| {
        server::address(said(&format!("CREATE USER u IDENTIFIED WITH sha256_hash{host} SETTINGS PROFILE p")))
    };
    let settings = |readonly: u8, most: u32, cancel: u8| {
        let text = format!(
            "readonly\t{readonly}\nmax_rows_to_read\t{most}\ncancel_http_readonly_queries_on_client_close\t{cancel}"
        );
        server::reader_settings("h", Ok(text))
    };
    let rights = |grants: &str| server::reader_rights("h", Ok(grants.to_owned()));
    vec![
        (
            versions(&["TLS 1.2", "TLS 1.3"]),
            vec![
                (versions(&["TLS 1.0", "TLS 1.2", "TLS 1.3"]), Wrong),
                (versions(&["TLS 1.2"]), Warning),
                (versions(&[]), Wrong),
                (listener::judge(here, false, false, &[]), CannotTell),
            ],
        ),
        (listener::judge(here, true, true, &[]), vec![]),
        (
            clocks::judge("h", Some(1_000_003), now),
            vec![(clocks::judge("h", Some(1_000_060), now), Warning), (clocks::judge("h", None, now), CannotTell)],
        ),
        (
            user(" HOST IP '192.0.2.7'"),
            vec![(user(""), Warning), (user(" HOST ANY"), Warning), (server::address(refused()), CannotTell)],
        ),
        (server::quota(said("1")), vec![(server::quota(said("0")), Warning), (server::quota(refused()), CannotTell)]),
        (
            server::profile(said("default, ingest")),
            vec![(server::profile(said("default")), Warning), (server::profile(refused()), CannotTell)],
        ),
        (server::query_log(said("1")), vec![(server::query_log(said("0")), Warning)]),
        (
            server::session_log(said("1")),
            vec![(server::session_log(said("0")), Warning), (server::session_log(refused()), CannotTell)],
        ),
        (
            server::listens_at(here, Seen::Closed),
            vec![
                (server::listens_at(here, Seen::Open(Transport::Plain)), Warning),
                (server::listens_at(here, Seen::LetsIn(Transport::Plain)), Warning),
            ],
        ),
        (
            server::skip_indexes(said("")),
            vec![
                (server::skip_indexes(said("otel_logs\t3 parts")), Warning),
                (server::skip_indexes(refused()), CannotTell),
            ],
        ),
        (server::merges(said("")), vec![(server::merges(said("otel_logs\t4000 s for one merge")), Warning)]),
        (server::partitions(said("")), vec![(server::partitions(said("otel_logs\t1200 partitions")), Warning)]),
        (
            rights("GRANT SELECT ON otel.* TO h\nGRANT SELECT(name, value) ON system.settings TO h\nGRANT role TO h"),
            vec![
                (rights("GRANT SELECT, INSERT ON otel.* TO h"), Wrong),
                (rights("GRANT ALL ON *.* TO h WITH GRANT OPTION"), Wrong),
                (server::reader_rights("h", Err(no_login())), Wrong),
                (server::reader_rights("h", Err(nobody())), CannotTell),
            ],
        ),
        (
            settings(2, 0, 1),
            vec![
                (settings(0, 0, 1), Warning),
                (settings(1, 0, 1), Warning),
                (settings(2, 1000, 1), Warning),
                (settings(2, 1_000_000, 0), Warning),
                (server::reader_settings("h", Err(no_login())), CannotTell),
            ],
        ),
    ]
}

/// A Compose file as ClickStack's is written, spoiled in these places.
fn compose_file(ports: &str, secret: &str, more: &str) -> Vec<Finding> {
    compose::of(&format!(
        "x-env: &env {{ OTEL_SERVICE_NAME: app }}\n\
         services:\n  app:\n    image: ${{IMAGE:-clickhouse/clickstack}}:2\n    ports: [\"127.0.0.1:${{PORT:-8080}}:8080\"]\n    \
         environment:\n      <<: *env\n      MONGO_URI: mongodb://db:27017/hyperdx\n      MONGO_PASSWORD_FILE: /run/secrets/mongo\n{secret}  \
         ch:\n    image: clickhouse/clickhouse-server\n    ports: {ports}\n    environment:\n      \
         - CLICKHOUSE_PASSWORD=${{CLICKHOUSE_PASSWORD:?}}\n{more}  \
         otelgate:\n    image: otelgate\n    ports: [\"4317:4317\"]\n"
    ))
}

#[test]
fn a_compose_file_is_read_as_compose_reads_it() {
    let secret = "      EXPRESS_SESSION_SECRET: ${EXPRESS_SESSION_SECRET:?}\n";
    let good = compose_file("[]", secret, "");
    assert!(good.iter().all(|finding| finding.outcome == Outcome::Ok), "{good:?}");
    let cases = [
        (compose_file("[\"8123:8123\"]", secret, ""), 0, Outcome::Wrong, "ch: 8123:8123"),
        (compose_file("[\"18123:8123/tcp\"]", secret, ""), 0, Outcome::Wrong, "18123"),
        (compose_file("[9000]", secret, ""), 0, Outcome::Wrong, "native"),
        (compose_file("[\"8999-9001:8999-9001\"]", secret, ""), 0, Outcome::Wrong, "native"),
        (compose_file("[\"0.0.0.0:${P-1}:${Q:-27017}\"]", secret, ""), 0, Outcome::Wrong, "MongoDB"),
        (compose_file("[{ target: 8123, published: 1, host_ip: 0.0.0.0 }]", secret, ""), 0, Outcome::Wrong, "8123"),
        (compose_file("[{ target: 8123, host_ip: 127.0.0.1 }, \"[::1]:9000:9000\"]", secret, ""), 0, Outcome::Ok, ""),
        (compose_file("[]\n    network_mode: host", secret, ""), 0, Outcome::Wrong, "network_mode"),
        (compose_file("[]", "", ""), 1, Outcome::Wrong, "app: EXPRESS_SESSION_SECRET is not set"),
        (
            compose_file("[]", "      EXPRESS_SESSION_SECRET: \"super-secure-random-string\"\n", ""),
            1,
            Outcome::Wrong,
            "the one that ClickStack's guide shows",
        ),
        (compose_file("[]", "      EXPRESS_SESSION_SECRET: ${S:-short}\n", ""), 1, Outcome::Wrong, "shorter"),
        (compose_file("[]", secret, "      - HYPERDX_API_KEY=abc\n"), 2, Outcome::Warning, "ch: HYPERDX_API_KEY"),
        (compose_file("[]", secret, "      - DB_PASSWORD=${P:-otel}\n"), 2, Outcome::Warning, "DB_PASSWORD"),
        (compose_file("[]", secret, "      - URL=http://u:p@h/\n"), 2, Outcome::Warning, "ch: URL"),
    ];
    for (found, at, outcome, says) in cases {
        let finding = &found[at];
        assert!(finding.outcome == outcome && finding.what.contains(says), "{finding}");
        assert!(
            !finding.what.contains("abc") && !finding.what.contains("super-secure"),
            "a secret is shown: {finding}"
        );
    }
}

#[test]
fn the_documentation_has_every_check_and_each_is_tried() {
    let documented = include_str!("../../docs/doctor.md").lines().filter_map(|line| line.strip_prefix("| "));
    let names = documented.filter_map(|line| line.split(" | ").next()).filter(|name| !["check", "---"].contains(name));
    let names: Vec<&str> = names.flat_map(|cell| cell.split(" (").next()).flat_map(|names| names.split(", ")).collect();
    assert_eq!(names, CHECKS);
    let tried = table().into_iter().chain(more()).chain(of_running::table()).map(|(good, _)| good);
    let tried: std::collections::BTreeSet<_> =
        tried.chain(compose_file("[]", "", "")).map(|finding| finding.check).collect();
    let untried: Vec<_> = CHECKS.iter().filter(|check| !tried.contains(*check)).collect();
    assert_eq!(untried, [&"configuration"], "which says what `otelgate check` says");
}

#[test]
fn each_check_has_both_outcomes() {
    for (good, bad) in table().into_iter().chain(more()).chain(of_running::table()) {
        assert_eq!((good.outcome, &good.mend), (Outcome::Ok, &None), "{good}");
        for (finding, outcome) in bad {
            assert_eq!((finding.check, finding.outcome), (good.check, outcome), "{finding}");
            assert_eq!(finding.mend.is_some(), outcome != Outcome::CannotTell, "{finding}");
            assert!(!finding.what.is_empty(), "{finding}");
        }
    }
}

#[test]
fn what_differs_between_servers_is_said_with_their_names() {
    let at = |server: &str, user, version: Result<&str, Failure>| {
        (
            server.to_owned(),
            vec![clickhouse::login(version.map(str::to_owned), user), clickhouse::default_user(Some(false))],
        )
    };
    let found = clickhouse::together(vec![
        at("a:8443", "u", Ok("26.7.1")),
        at("b:8443", "u", Ok("26.7.1")),
        at("c:8443", "other", Err(nobody())),
    ]);
    let said: Vec<_> = found.iter().map(|one| (one.check, one.what.as_str(), one.how.as_str())).collect();
    assert_eq!(said[0], ("login", "a:8443, b:8443: ClickHouse 26.7.1", "logged in as u"));
    assert_eq!(said[1].1, "not let in without a password");
    assert_eq!(said[2], ("login", "c:8443: Connection refused", "logged in as other"));
    assert_eq!(said.len(), 3);
}

#[test]
fn what_is_bad_is_named() {
    let config = config();
    let shorter = Ok(tables(&config).replacen("toIntervalDay(30)", "toIntervalHour(48)", 1));
    let found = clickhouse::times_to_live(&shorter, &config);
    assert!(found.what.contains("otel_logs keeps rows 2 days, the configuration says 30 days"), "{found}");
    let key = own::keys(&keys(None), SystemTime::now());
    assert!(key.what.contains("shop"), "{key}");
    let window = clickhouse::windows(&Ok("otel_logs\tMergeTree ORDER BY a SETTINGS x = 1".to_owned()), &config);
    let mend = window.mend.expect("a warning");
    assert!(mend.contains("ALTER TABLE otel.otel_logs MODIFY SETTING non_replicated_deduplication_window"), "{mend}");
    for (settings, without) in [("", false), (", replicated_deduplication_window = 0", true)] {
        let engine = format!("otel_logs\tReplicatedMergeTree('/a', 'b') ORDER BY a SETTINGS x = 1{settings}");
        let window = clickhouse::windows(&Ok(engine), &config);
        let mends = window.mend.is_some_and(|mend| mend.contains("MODIFY SETTING replicated_deduplication_window"));
        assert_eq!(mends, without, "{settings}");
    }
}
