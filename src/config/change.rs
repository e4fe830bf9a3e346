//! What of a changed configuration can be taken over by a process that runs, and what waits for its next start.

use std::fmt::Debug;
use std::path::Path;

use super::load::{Loaded, load_if};
use super::recorder::{Recorder, Seen};
use super::{Config, KeyEntry, Mistakes, Remark, SinkConfig, Surroundings, Tls};

/// The name of a change that concerns tables to come.
pub(crate) const TTL: &str = "sink.clickhouse.ttl";

/// A configuration that may take the place of the one that a process runs with.
#[derive(Debug)]
pub(crate) struct Next {
    /// All of it, with what cannot change as it is now.
    pub(crate) config: Config,
    /// The entries of `keys.file`, where they may be others by the new configuration.
    pub(crate) keys: Option<Vec<KeyEntry>>,
    /// Names of what changes now.
    pub(crate) changes: Vec<&'static str>,
    /// Names of what was changed in the file and waits for a restart.
    pub(crate) waiting: Vec<&'static str>,
    /// Faults and warnings, as a start has them.
    pub(crate) remarks: Vec<Remark>,
}

/// Reads `file` again, and says what would change for a process that runs with `current`. What was looked at comes with it, also with mistakes; certificates
/// are not among it, since who shows them looks at them too. Blocks.
pub(crate) fn read_again(
    file: &Path,
    current: &Config,
    surroundings: &dyn Surroundings,
) -> (Seen, Result<Next, Mistakes>) {
    let recorder = Recorder::new(surroundings);
    // Otherwise keys.yaml is looked at by whoever reads it, and its mistakes are no reason to refuse this file.
    let others =
        |keys: &super::Keys, rules: &super::KeyRules| keys.file != current.keys.file || *rules != current.key_rules();
    let loaded = load_if(file, &recorder, others);
    let seen = recorder.into_seen();
    match loaded {
        Err(mistakes) => (seen, Err(mistakes)),
        Ok(loaded) => (seen.without(&certificates(&loaded.config)), Ok(next(current, loaded))),
    }
}

fn next(current: &Config, loaded: Loaded) -> Next {
    let Loaded { config: new, keys, keys_read, faults, warnings } = loaded;
    let mut config = current.clone();
    config.limits = new.limits;
    config.cors = new.cors.clone();
    config.log = new.log.clone();
    config.keys = new.keys.clone();
    // Credentials of another place are not shown to the one that is used until the restart.
    let same_place = is_same_place(&config.sink, &new.sink);
    match (&mut config.sink, &new.sink) {
        (SinkConfig::ClickHouse(sink), SinkConfig::ClickHouse(new)) => {
            sink.ttl = new.ttl;
            if same_place {
                sink.user.clone_from(&new.user);
                sink.password = new.password.clone();
                sink.logins.clone_from(&new.logins);
            }
        }
        (SinkConfig::Forward(sink), SinkConfig::Forward(new)) if same_place => sink.token.clone_from(&new.token),
        _ => {}
    }
    let keys = keys_read.then_some(keys);
    let remarks = faults.into_iter().chain(warnings).collect();
    Next { changes: changes(current, &config), waiting: waiting(&config, &new), keys, remarks, config }
}

fn is_same_place(one: &SinkConfig, other: &SinkConfig) -> bool {
    match (one, other) {
        (SinkConfig::ClickHouse(one), SinkConfig::ClickHouse(other)) => {
            (&one.urls, &one.shards, &one.cluster, &one.database)
                == (&other.urls, &other.shards, &other.cluster, &other.database)
        }
        (SinkConfig::Forward(one), SinkConfig::Forward(other)) => {
            (&one.endpoints, one.protocol) == (&other.endpoints, other.protocol)
        }
        _ => false,
    }
}

/// What the sink is shown, as far as it is not the same.
fn credentials(old: &SinkConfig, new: &SinkConfig) -> Vec<(&'static str, bool)> {
    match (old, new) {
        (SinkConfig::ClickHouse(old), SinkConfig::ClickHouse(new)) => vec![
            ("sink.clickhouse.user", old.user != new.user),
            ("sink.clickhouse.password", old.password != new.password),
            // Of the same servers it is who logs in there.
            ("sink.clickhouse.shards", old.shards == new.shards && old.logins != new.logins),
        ],
        (SinkConfig::Forward(old), SinkConfig::Forward(new)) => vec![("sink.forward.token", old.token != new.token)],
        _ => Vec::new(),
    }
}

/// What is not the same, of what can be taken over.
fn changes(old: &Config, new: &Config) -> Vec<&'static str> {
    let ttl = match (&old.sink, &new.sink) {
        (SinkConfig::ClickHouse(old), SinkConfig::ClickHouse(new)) => differ(&old.ttl, &new.ttl),
        _ => false,
    };
    let all = [
        ("limits", old.limits != new.limits),
        ("cors", old.cors.allowed_origins != new.cors.allowed_origins),
        ("keys.file", old.keys.file != new.keys.file),
        ("keys.clickstack", old.keys.clickstack != new.keys.clickstack),
        ("keys.oidc", old.keys.oidc != new.keys.oidc),
        ("keys.max_failures_per_minute", old.keys.max_failures_per_minute != new.keys.max_failures_per_minute),
        ("log.level", old.log.level != new.log.level),
        (TTL, ttl),
    ];
    named(all.into_iter().chain(credentials(&old.sink, &new.sink)))
}

/// What is not the same, of what cannot be. `running` has everything else of `new`.
fn waiting(running: &Config, new: &Config) -> Vec<&'static str> {
    let sink = match (&running.sink, &new.sink) {
        (SinkConfig::ClickHouse(old), SinkConfig::ClickHouse(new)) if old.shards != new.shards => {
            "sink.clickhouse.shards"
        }
        (SinkConfig::ClickHouse(old), SinkConfig::ClickHouse(new)) if old.cluster != new.cluster => {
            "sink.clickhouse.cluster"
        }
        (SinkConfig::ClickHouse(old), SinkConfig::ClickHouse(new)) if old.urls != new.urls => "sink.clickhouse.url",
        (SinkConfig::Forward(old), SinkConfig::Forward(new)) if old.endpoints != new.endpoints => {
            "sink.forward.endpoint"
        }
        (SinkConfig::ClickHouse(_), SinkConfig::ClickHouse(_)) => "sink.clickhouse",
        (SinkConfig::Forward(_), SinkConfig::Forward(_)) => "sink.forward",
        _ => "sink",
    };
    let dir = |config: &Config| config.spool.as_ref().map(|spool| spool.dir.clone());
    let spool = if dir(running) == dir(new) { "spool" } else { "spool.dir" };
    let shared = |config: &Config| config.spool.as_ref().and_then(|spool| spool.shared_digests.clone());
    let listen = match (&running.listen, &new.listen) {
        (old, new) if old.otlp != new.otlp => "listen.otlp",
        (old, new) if old.admin != new.admin => "listen.admin",
        _ => "listen",
    };
    let all = [
        ("state_dir", running.state_dir != new.state_dir),
        (listen, differ(&running.listen, &new.listen)),
        ("admin.token", running.admin.token != new.admin.token),
        ("admin.socket", running.admin.socket != new.admin.socket),
        ("tls", running.tls != new.tls),
        ("limits.shared", running.shared_limits != new.shared_limits),
        ("request", differ(&running.request, &new.request)),
        (sink, differ(&running.sink, &new.sink)),
        ("batch", differ(&running.batch, &new.batch)),
        (spool, differ(&running.spool, &new.spool) || shared(running) != shared(new)),
        ("shutdown", differ(&running.shutdown, &new.shutdown)),
        ("telemetry", running.telemetry != new.telemetry),
    ];
    named(all.into_iter().chain(credentials(&running.sink, &new.sink)))
}

fn named(all: impl IntoIterator<Item = (&'static str, bool)>) -> Vec<&'static str> {
    all.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}

/// Whether two sections are written differently. Secrets are not compared, since they are not shown.
fn differ(one: &impl Debug, other: &impl Debug) -> bool {
    format!("{one:?}") != format!("{other:?}")
}

/// Files that are read while the configuration is checked, and looked at by others or only at a start.
fn certificates(config: &Config) -> Vec<&Path> {
    let mut files = Vec::new();
    if let Tls::Files(tls) = &config.tls {
        files.extend(tls.all().map(Some));
    }
    match &config.sink {
        SinkConfig::ClickHouse(sink) => files.push(sink.ca_file.as_ref()),
        SinkConfig::Forward(sink) => {
            let pair = sink.client_certificate.as_ref();
            files.extend([sink.ca_file.as_ref(), pair.map(|pair| &pair.0), pair.map(|pair| &pair.1)]);
        }
    }
    files.push(config.keys.clickstack.as_ref().and_then(|source| source.ca_file.as_ref()));
    files.extend(config.keys.oidc.iter().map(|issuer| issuer.ca_file.as_ref()));
    files.into_iter().flatten().map(std::path::PathBuf::as_path).collect()
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::super::testing::Fake;
    use super::*;

    const BASE: &str = "tls: { plaintext: true }\nlisten: { otlp: '127.0.0.1:4317' }\n\
                        sink: { clickhouse: { url: 'http://127.0.0.1:8123', password: '${file:pw}' } }\n";

    fn fake(text: &str, password: &str) -> Fake {
        let keys = include_str!("../../keys.example.yaml");
        let fake = Fake::new().file("/o/otelgate.yaml", text).file("/o/pw", password).file("/o/keys.yaml", keys);
        fake.variable("BROWSER_KEY", "otg_0123456789abcdef")
    }

    fn again(text: &str, password: &str) -> Next {
        let file = Path::new("/o/otelgate.yaml");
        let current = load(file, &fake(BASE, "one")).unwrap().config;
        let (seen, next) = read_again(file, &current, &fake(text, password));
        assert!(seen.is_current(&fake(text, password)) && !seen.is_current(&fake(text, "three")));
        next.unwrap()
    }

    #[test]
    fn what_changed_is_taken_over_or_named() {
        let same = again(BASE, "one");
        assert!(same.changes.is_empty() && same.waiting.is_empty() && same.keys.is_none());
        let password = again(BASE, "two");
        assert_eq!(
            (password.changes.as_slice(), password.waiting.as_slice()),
            (&["sink.clickhouse.password"][..], &[][..])
        );
        let SinkConfig::ClickHouse(sink) = &password.config.sink else { panic!("not ClickHouse") };
        assert_eq!(sink.password.expose(), "two");
        for (more, changes, waiting) in [
            ("limits: { requests_per_second: 7 }\n", &["limits"][..], &[][..]),
            ("cors: { allowed_origins: 'https://a' }\n", &["cors"], &[]),
            ("keys: { max_failures_per_minute: 3 }\n", &["keys.max_failures_per_minute"], &[]),
            ("keys: { clickstack: { url: 'https://app' } }\n", &["keys.file", "keys.clickstack"], &[]),
            ("log: { level: debug }\nspool: { dir: /elsewhere }\n", &["log.level"], &["state_dir", "spool.dir"]),
            ("spool: none\n", &[], &["batch", "spool.dir"]),
            ("telemetry: { metrics: 30s }\n", &[], &["telemetry"]),
            ("request: { timeout: 5s }\nadmin: { token: '0123456789abcdef' }\n", &[], &["admin.token", "request"]),
        ] {
            let next = again(&format!("{BASE}{more}"), "one");
            assert_eq!((next.changes.as_slice(), next.waiting.as_slice()), (changes, waiting), "{more}");
            let rules = ["limits", "cors", "keys.file"].iter().any(|name| changes.contains(name));
            assert_eq!(next.keys.is_some(), rules, "{more}");
        }
        let elsewhere = BASE.replace("4317", "4318").replace("8123", "8124");
        assert_eq!(again(&elsewhere, "one").waiting, ["listen.otlp", "sink.clickhouse.url"]);
        let other = "tls: { plaintext: true }\nlisten: { otlp: '127.0.0.1:4317' }\n# ${file:pw}\n\
                     sink: { forward: { endpoint: 'http://127.0.0.1:1', token: '${file:pw}' } }\n";
        assert_eq!(again(other, "one").waiting, ["sink", "batch"]);
    }

    #[test]
    fn credentials_go_where_they_are_for() {
        let here = "tls: { plaintext: true }\nlisten: { otlp: '127.0.0.1:4317' }\nsink: { ";
        let direct = |url, password| {
            format!("clickhouse: {{ url: '{url}', user: u, password: '{password}', ttl: {{ logs: 5d }} }}")
        };
        let forward = |url, token| format!("forward: {{ endpoint: '{url}', token: '{token}' }}");
        let shard = |url, password| {
            format!(
                "clickhouse: {{ shards: [[{{ url: '{url}', user: u, password: '{password}' }}], ['http://127.0.0.1:9']], password: x }}"
            )
        };
        type Form<'a> = &'a dyn Fn(&'static str, &'static str) -> String;
        let of_shards = ["sink.clickhouse.shards"];
        let all: [(Form<'_>, &[&str], &[&str]); 3] = [
            (&direct, &["sink.clickhouse.password"], &["sink.clickhouse.url", "sink.clickhouse.password"]),
            (&forward, &["sink.forward.token"], &["sink.forward.endpoint", "sink.forward.token"]),
            (&shard, &of_shards, &of_shards),
        ];
        for (sink, changes, waiting) in all {
            let text = |url, secret| format!("{here}{} }}\n", sink(url, secret));
            let current =
                load(Path::new("/o/otelgate.yaml"), &fake(&text("http://127.0.0.1:1", "one"), "")).unwrap().config;
            let next = |text: String| read_again(Path::new("/o/otelgate.yaml"), &current, &fake(&text, "")).1.unwrap();
            let renewed = next(text("http://127.0.0.1:1", "two"));
            assert_eq!((renewed.changes.as_slice(), renewed.waiting.as_slice()), (changes, &[][..]));
            if let SinkConfig::ClickHouse(sink) = &renewed.config.sink {
                assert_eq!(sink.login(&sink.urls[0]).1.expose(), "two");
            }
            let moved = next(text("http://127.0.0.1:2", "two"));
            assert_eq!((moved.changes.as_slice(), moved.waiting.as_slice()), (&[][..], waiting));
        }
        let moved_but_for_its_rows = again(&BASE.replace("8123'", "8124', ttl: { logs: 5d }"), "two");
        assert_eq!(moved_but_for_its_rows.changes, [TTL]);
    }

    #[test]
    fn a_secret_that_waits_is_named() {
        let shared = |word| format!("{BASE}limits: {{ shared: {{ url: 'rediss://h', password: '{word}' }} }}\n");
        let digests =
            |word| format!("{BASE}spool: {{ shared_digests: {{ url: 'rediss://h', password: '{word}' }} }}\n");
        let admin = |word| format!("{BASE}admin: {{ token: '0123456789abcdef{word}' }}\n");
        let acme = |word| {
            let eab = format!("eab: {{ key_id: k, hmac_key: '{word}{word}{word}' }}");
            BASE.replace("plaintext: true", &format!("acme: {{ domains: [t.example.com], {eab} }}"))
        };
        let all: [(&dyn Fn(&'static str) -> String, &str); 4] =
            [(&shared, "limits.shared"), (&digests, "spool"), (&admin, "admin.token"), (&acme, "tls")];
        for (text, name) in all {
            let file = Path::new("/o/otelgate.yaml");
            let [one, other] = ["abcdabcdabcdabcd", "efghefghefghefgh"].map(|word| fake(&text(word), ""));
            let current = load(file, &one).unwrap().config;
            assert_eq!(read_again(file, &current, &other).1.unwrap().waiting, [name]);
        }
    }

    #[test]
    fn keys_that_the_new_rules_refuse_refuse_the_whole() {
        let file = Path::new("/o/otelgate.yaml");
        let current = load(file, &fake(BASE, "one")).unwrap().config;
        let text = format!("{BASE}limits: {{ burst: 1s }}\n");
        let broken = || fake(&text, "one").file("/o/keys.yaml", "keys: [{ name: x }]\n");
        let (seen, next) = read_again(file, &current, &broken());
        assert!(next.unwrap_err().to_string().contains("/o/keys.yaml:1:"));
        assert!(
            seen.is_current(&broken()) && !seen.is_current(&fake(&text, "one")),
            "it is looked at again when mended"
        );
        let same = fake(BASE, "one").file("/o/keys.yaml", "keys: [{ name: x }]\n");
        assert!(read_again(file, &current, &same).1.is_ok(), "somebody else reads it");
    }
}
