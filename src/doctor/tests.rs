//! Each check says that a good stand is good and a bad one is not, with what mends it.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::exposure::Seen;
use super::{Finding, Outcome, clickhouse, exposure, own};
use crate::config::testing::Fake;
use crate::config::{self, ClickHouse, KeyEntry, SinkConfig};
use crate::keys::testing::entry;
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
    let made = all.iter().filter_map(|one| Some((one.name, one.sql.split_once("ENGINE = ")?.1.replace('\n', " "))));
    made.map(|(name, engine)| format!("{name}\t{engine}\n")).collect()
}

fn keys(expires: Option<u64>) -> Vec<KeyEntry> {
    let expires = expires.map(|days| UNIX_EPOCH + Duration::from_secs(days * 86_400));
    vec![KeyEntry { expires, ..entry("shop", "a", 5) }]
}

/// Good, and each way of being bad with how bad it is.
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
            clickhouse::login(said("26.7.2.1"), "u"),
            vec![(clickhouse::login(said("25.8.1.1"), "u"), Warning), (clickhouse::login(refused(), "u"), Wrong)],
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
        (exposure::judge("h", 27017, &Seen::Closed), vec![(exposure::judge("h", 27017, &Seen::Open), Warning)]),
        (exposure::judge("h", 8123, &Seen::Closed), vec![(exposure::judge("h", 8123, &Seen::LetsIn), Wrong)]),
    ]
}

#[test]
fn each_check_has_both_outcomes() {
    for (good, bad) in table() {
        assert_eq!((good.outcome, &good.mend), (Outcome::Ok, &None), "{good}");
        for (finding, outcome) in bad {
            assert_eq!((finding.check, finding.outcome), (good.check, outcome), "{finding}");
            assert_eq!(finding.mend.is_some(), outcome != Outcome::CannotTell, "{finding}");
            assert!(!finding.what.is_empty(), "{finding}");
        }
    }
}

#[test]
fn what_is_bad_is_named() {
    let config = config();
    let shorter = Ok(tables(&config).replacen("toIntervalDay(30)", "toIntervalHour(48)", 1));
    let found = clickhouse::times_to_live(&shorter, &config);
    assert!(found.what.contains("otel_logs keeps rows 2.0 days, the configuration says 30.0 days"), "{found}");
    let key = own::keys(&keys(None), SystemTime::now());
    assert!(key.what.contains("shop"), "{key}");
    let window = clickhouse::windows(&Ok("otel_logs\tMergeTree ORDER BY a SETTINGS x = 1".to_owned()), &config);
    assert!(window.mend.is_some_and(|mend| mend.contains("ALTER TABLE otel.otel_logs MODIFY SETTING")));
}
