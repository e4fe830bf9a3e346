//! Whole files: every mistake with its line, all at once, and the example that ships.

mod examples;
mod of_cluster;
mod of_keys;
mod of_listen;
mod of_sink;
mod of_tls;

use std::collections::BTreeSet;
use std::path::Path;

use super::testing::{Fake, key_rules};
use super::*;
use crate::signal::Signal;

const SINK: &str = "sink: { clickhouse: { url: 'https://c:8443', password: '${env:PW}' } }\n";

fn surroundings() -> Fake {
    let pair = rcgen::generate_simple_self_signed(["edge.example".to_owned()]).unwrap();
    Fake::new()
        .variable("PW", "hunter2")
        .variable("CLICKHOUSE_PASSWORD", "hunter2")
        .variable("BROWSER_KEY", "otg_0123456789abcdef")
        .variable("BAD", "not-a-size-but-secret")
        .file("/o/certs/server.crt", pair.cert.pem())
        .file("/o/certs/server.key", pair.signing_key.serialize_pem())
        .file("/o/keys.yaml", include_str!("../../keys.example.yaml"))
}

fn load_with(fake: Fake, text: &str) -> Result<Loaded, Mistakes> {
    load(Path::new("/o/otelgate.yaml"), &fake.file("/o/otelgate.yaml", text))
}

fn load_text(text: &str) -> Result<Loaded, Mistakes> {
    load_with(surroundings(), text)
}

const FILES: &str = "tls: { cert_file: certs/server.crt, key_file: certs/server.key }\n";

/// The mistakes of a file, each as `line path: message`.
fn mistakes(text: &str) -> Vec<String> {
    lines(load_text(text).expect_err(text).0)
}

fn lines(remarks: Vec<Remark>) -> Vec<String> {
    let line = |remark: Remark| format!("{} {}: {}", remark.mark.line, remark.path, remark.message);
    remarks.into_iter().map(line).collect()
}

/// `text` has this one mistake; SINK and FILES are added after it when they are not in it.
#[track_caller]
fn only(text: &str, at: &str, remedy: &str) {
    let sink = if text.contains("sink:") { "" } else { SINK };
    let files = if text.contains("tls:") { "" } else { FILES };
    let found = mistakes(&format!("{text}{files}{sink}"));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with(at) && found[0].contains(remedy), "{found:#?}");
    assert!(!found[0].contains("hunter2") && !found[0].contains("secret"), "{found:#?}");
}

#[test]
fn the_example_shows_every_default() {
    let example = load_text(include_str!("../../otelgate.example.yaml")).unwrap();
    assert_eq!(lines(example.warnings), Vec::<String>::new());
    assert_eq!(example.keys.len(), 2);
    let least = format!(
        "{FILES}sink: {{ clickhouse: {{ url: 'https://clickhouse.example:8443', password: '${{env:PW}}' }} }}\n\
         spool: {{}}\n"
    );
    let least = load_text(&least).unwrap();
    assert_eq!(format!("{:#?}", example.config), format!("{:#?}", least.config));
    let keys = include_str!("../../keys.example.yaml");
    assert!(keys.contains("limits: { requests_per_second: 50 }"));
    assert_eq!(example.keys[0].limits, KeyLimits { requests_per_second: 50, ..least.config.limits });
    assert_eq!(example.keys[1].signals, BTreeSet::from([Signal::Traces]));
    assert_eq!(example.keys[0].resource.keys().collect::<Vec<_>>(), ["tenant"]);
    assert!(example.keys[1].resource.is_empty());
}

#[test]
fn every_field_is_in_the_example() {
    // A field that is left out of the example is a field that nobody finds: ask each section what it knows.
    let example = include_str!("../../otelgate.example.yaml");
    let nested = [
        "sink: { clickhouse: { NEW } }",
        "sink: { forward: { NEW } }",
        "sink: { clickhouse: { ttl: { NEW } } }",
        "keys: { clickstack: { NEW } }",
        "limits: { shared: { NEW } }",
        "keys: { oidc: [ { NEW } ] }",
        "tls: { acme: { NEW } }",
        "tls: { acme: { eab: { NEW } } }",
        "keys: { oidc: [ { rules: [ { NEW } ] } ] }",
    ];
    let sections =
        ["listen", "admin", "tls", "keys", "limits", "request", "logs", "batch", "spool", "cors", "shutdown", "log"];
    for text in sections.map(|name| format!("{name}: {{ NEW }}")).into_iter().chain(nested.map(str::to_owned)) {
        let text = text.replace("NEW", "zzzzzzzzzzzzzzzzzzzzzz: 1");
        let all = mistakes(&text).join("\n");
        let known = all.split("known here: ").nth(1).unwrap().lines().next().unwrap();
        for field in known.split(", ") {
            assert!(example.contains(&format!("{field}:")), "`{field}` of {text} is not in the example");
        }
    }
}

#[test]
fn who_speaks_for_others_is_named() {
    only("listen: { proxy_protocol: { from: ['0.0.0.0/0'] } }\n", "1 listen.proxy_protocol.from:", "every address");
    only("listen: { proxy_protocol: { from: [balancer] } }\n", "1 listen.proxy_protocol.from[0]:", "10.0.0.0/8");
    only("listen: { forwarded: { header: forwarded } }\n", "1 listen.forwarded.from:", "is missing");
    only("listen: { forwarded: { from: 10.0.0.1, header: via } }\n", "1 listen.forwarded.header:", "x-forwarded-for");
}

#[test]
fn all_mistakes_at_once() {
    let text = "\
listen:
  otlp: ['0.0.0.0:4317', 4318]
  idle_timeout: 5
tls:
  plaintext: true
limts: {}
limits: { burst: 0s }
sink:
  clickhouse:
    urll: https://c:8443
    password: ${env:MISSING}
    max_execution_time: 40s
  forward: {}
batch:
  max_bytes: 64MB
  max_bytes: 64MiB
";
    let found = mistakes(text);
    let expected = [
        "2 listen.otlp[1]: `4318` is neither an IP address",
        "3 listen.idle_timeout: `5` is not a time; write a whole number and a unit",
        "5 tls.plaintext: 0.0.0.0:4317 in listen.otlp is not a loopback address",
        "6 limts: unknown field; did you mean `limits`?",
        "7 limits.burst: `0s` must be longer than zero",
        "8 sink: `clickhouse` and `forward` are both set",
        "9 sink.clickhouse.url: is missing; write for example https://",
        "10 sink.clickhouse.urll: unknown field; did you mean `url`?",
        "11 sink.clickhouse.password: the environment variable MISSING is not set",
        "12 sink.clickhouse.max_execution_time: 40s must be shorter than insert_timeout (30s)",
        "13 sink.forward.endpoint: is missing; write for example http://collector:4317",
        "15 batch.max_bytes: `64MB` is not a size",
        "16 batch.max_bytes: is there twice, first in line 15",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn mistakes_of_both_files_are_shown_with_their_files() {
    let fake = surroundings().file("/o/keys.yaml", "keys:\n  - nam: x\n");
    let mistakes = load_with(fake, &format!("log: {{ levl: info }}\n{FILES}{SINK}")).unwrap_err();
    let shown = mistakes.to_string();
    assert!(shown.starts_with("/o/otelgate.yaml:1:8: log.levl: unknown field; did you mean `level`?\n"), "{shown}");
    assert!(shown.contains("/o/keys.yaml:2:5: keys[0].nam: unknown field; did you mean `name`?"), "{shown}");
}

#[test]
fn forwarding() {
    let load = |fields: &str| load_text(&format!("sink: {{ forward: {{ {fields} }} }}\n{FILES}"));
    let least = load("endpoint: 'http://127.0.0.1:4317'").unwrap();
    assert!(lines(least.warnings).is_empty());
    let SinkConfig::Forward(forward) = least.config.sink else { panic!("not forward") };
    assert_eq!((forward.protocol, forward.max_message_bytes), (ForwardProtocol::Grpc, 4 << 20));
    assert!(forward.token.is_none() && forward.client_certificate.is_none());
    let all = load(
        "endpoint: ['https://a/otel', 'https://b:1'], protocol: http, compression: zstd, token: 'Bearer ${env:PW}', \
         ca_file: certs/server.crt, cert_file: certs/server.crt, key_file: certs/server.key, max_message_bytes: 16MiB",
    );
    let SinkConfig::Forward(all) = all.unwrap().config.sink else { panic!("not forward") };
    assert_eq!(all.endpoints.len(), 2);
    assert!(all.token.unwrap().expose().starts_with("Bearer "));
    for (fields, remedy) in [
        ("endpoint: 'collector:4317'", "neither http:// nor"),
        ("endpoint: 'https://c/otel'", "over gRPC write scheme, host and port only"),
        ("protocol: http, endpoint: 'https://c/v1/traces'", "leave out /v1/"),
        ("endpoint: 'https://t@c'", "`token`"),
        ("endpoint: 'https://c', pass_key: true", "cannot be honoured"),
        ("endpoint: 'https://c', cert_file: certs/server.crt", "needs its private key"),
        ("endpoint: 'https://c', max_message_bytes: 1KiB", "too small"),
        ("endpoint: 'https://c', compression: lz4", "known are none, gzip, zstd"),
        ("endpoint: { zone: a }, zone: a", "1 sink.forward.endpoint.url: is missing"),
        ("endpoint: ['https://c', { url: 'ftp://d' }]", "1 sink.forward.endpoint[1].url: `ftp://d` is neither"),
        ("endpoint: ['https://c', { url: 'https://d', zones: a }]", "did you mean `zone`?"),
        ("endpoint: ['https://c', { url: 'https://d', zone: a }]", "1 sink.forward.zone: is missing"),
        ("endpoint: []", "is an empty list"),
    ] {
        let found = lines(load(fields).unwrap_err().0);
        assert!(found.len() == 1 && found[0].contains(remedy), "{fields}: {found:#?}");
    }
    let zoned =
        |zone| load(&format!("endpoint: ['https://c', {{ url: 'https://d', zone: a }}], zone: '{zone}'")).unwrap();
    let SinkConfig::Forward(near) = zoned("a").config.sink else { panic!("not forward") };
    assert_eq!((near.zone.as_deref(), near.endpoints[1].zone.as_deref()), (Some("a"), Some("a")));
    assert!(lines(zoned("${env:UNSET:-}").warnings).is_empty());
    assert!(lines(zoned("b").warnings)[0].contains("no endpoint is in the zone b"));
    let far = load("endpoint: 'http://c:4317', token: '${env:PW}'").unwrap();
    assert!(lines(far.warnings)[0].contains("token and telemetry travel readable to http://c:4317/"));
}

#[test]
fn one_sink_that_can_be_reached() {
    only("sink: {}\n", "1 sink:", "say where telemetry goes");
    let sink = |url: &str| format!("sink: {{ clickhouse: {{ password: '', url: {url} }} }}\n");
    for (url, remedy) in [
        ("'ftp://c:21'", "neither http:// nor https://"),
        ("'c:8443'", ""),
        ("'https://me:secret@c:8443'", ""),
        ("'https://c:8443/otel'", "host and port only"),
        ("[]", "is an empty list"),
        ("{}", "found a section"),
    ] {
        let found = mistakes(&format!("{}{FILES}", sink(url)));
        assert!(found.len() == 1 && found[0].contains(remedy), "{found:#?}");
    }
    let far = load_text(&format!("{}{FILES}", sink("['https://a:1', 'http://b:2']"))).unwrap();
    let SinkConfig::ClickHouse(clickhouse) = far.config.sink else { panic!("not ClickHouse") };
    assert_eq!(clickhouse.urls.len(), 2);
    assert!(lines(far.warnings)[0].contains("readable to http://b:2/; use https"));
    assert!(load_text(&format!("{}{FILES}", sink("'http://127.0.0.1:8123'"))).unwrap().warnings.is_empty());
}

#[test]
fn fields_that_must_fit_each_other() {
    only("request: { max_memory_per_key: 1GiB }\n", "1 request.max_memory_per_key:", "more than max_memory (512MiB)");
    only("request: { max_body_bytes: 300MiB }\n", "1 request.max_body_bytes:", "max_memory_per_key (256MiB)");
    only("listen: { max_connections: 10 }\n", "1 listen.max_connections_per_ip:", "more than max_connections (10)");
    only(
        "listen: { admin: '0.0.0.0:4317' }\nadmin: { token: '${env:PW}-${env:PW}-x' }\n",
        "1 listen.otlp:",
        "used twice",
    );
    only("listen: { admin: '0.0.0.0:9317' }\n", "1 admin.token:", "listen on 127.0.0.1");
    only("admin: { token: '${env:PW}' }\n", "1 admin.token:", "openssl rand");
    only("batch: { commit_interval: 6s }\n", "1 batch.commit_interval:", "shorter than max_age (5s)");
    only("batch: { commit_interval: 2s }\nspool: none\n", "1 batch.commit_interval:", "shorter than max_age (1s)");
    only("batch: { deadline: 2m }\nspool: none\n", "1 batch.deadline:", "request.timeout (1m)");
    only("batch: { max_rows: 100 }\n", "1 batch.max_chunk_rows:", "more than max_rows (100)");
    only("spool: off\n", "1 spool:", "expected a section");
    only(
        "spool: { dir: s, max_bytes: 1GiB, max_bytes_per_key: 2GiB }\n",
        "1 spool.max_bytes_per_key:",
        "max_bytes (1GiB)",
    );
    only("spool: { dir: s, max_bytes: 64MiB }\n", "1 spool.max_bytes:", "less than 192MiB");
    only("limits: { requests_per_second: 200, burst: 1ms }\n", "1 limits.burst:", "less than one");
    only("shutdown: { drain_delay: 30s }\n", "1 shutdown.drain_delay:", "shorter than deadline (25s)");
    only("cors: { allowed_origins: ['*', 'https://a'] }\n", "1 cors.allowed_origins:", "keep `*` alone");
    only("cors: { allowed_origins: 'https://a/' }\n", "1 cors.allowed_origins:", "is not an origin");
    only("log: { level: 'loud=very' }\n", "1 log.level:", "is not a level");
}

#[test]
fn what_a_reference_stood_for_is_never_shown() {
    only("batch: { max_bytes: '${env:BAD}' }\n", "1 batch.max_bytes: `${env:BAD}` is not a size", "");
    only("limits: ['secret']\n", "1 limits: expected a section", "found a list");
}

#[test]
fn sections_may_be_empty_and_paths_begin_at_the_file() {
    let text = format!("listen:\nlimits: ~\nspool: {{ dir: data }}\n{FILES}{SINK}");
    let config = load_text(&text).unwrap().config;
    assert_eq!(config.spool.unwrap().dir, Path::new("/o/data"));
    assert_eq!(config.keys.file.as_deref(), Some(Path::new("/o/keys.yaml")));
    assert_eq!(config.batch.max_age, Duration::from_secs(5));
    assert!(!format!("{:?}", config.sink).contains("hunter2"));
}

#[test]
fn the_spool_is_there_unless_it_is_written_that_it_is_not() {
    let spool = |text: &str| load_text(&format!("{text}{FILES}{SINK}")).unwrap();
    for (text, dir, state_dir) in [
        ("", "/var/lib/otelgate/spool", "/var/lib/otelgate"),
        ("spool:\n", "/var/lib/otelgate/spool", "/var/lib/otelgate"),
        ("state_dir: /srv/gate\n", "/srv/gate/spool", "/srv/gate"),
        ("state_dir: here\nspool: { max_bytes: 4GiB }\n", "/o/here/spool", "/o/here"),
        ("state_dir: here\nspool: { dir: /fast }\n", "/fast", "/o/here"),
        ("spool: { dir: /fast/spool }\n", "/fast/spool", "/fast"),
        ("spool: { dir: data }\n", "/o/data", "/o"),
    ] {
        let loaded = spool(text);
        assert_eq!(loaded.config.state_dir, Path::new(state_dir), "{text}");
        assert_eq!(loaded.config.spool.unwrap().dir, Path::new(dir), "{text}");
        assert_eq!((loaded.config.batch.max_age, loaded.warnings.len()), (Duration::from_secs(5), 0), "{text}");
    }
    let without = spool("spool: none\n");
    assert!(without.config.spool.is_none());
    assert_eq!(without.config.state_dir, Path::new("/var/lib/otelgate"));
    assert_eq!(without.config.batch.max_age, Duration::from_secs(1));
    let warned = lines(without.warnings);
    assert!(
        warned.len() == 1 && warned[0].starts_with("1 spool: none: ") && warned[0].contains("stored twice"),
        "{warned:?}"
    );
}

/// Who looks into the spool needs neither the certificate's key nor the sink's password.
#[test]
fn the_spool_is_found_by_who_may_read_the_configuration() {
    let text = format!(
        "listen: {{ admin: '127.0.0.1:7' }}\nstate_dir: s\ntls: {{ cert_file: no.crt, key_file: no.key }}\nadmin: {{ token: '${{file:no}}' }}\n{SINK}"
    );
    let places = load_places(Path::new("/o/otelgate.yaml"), &Fake::new().file("/o/otelgate.yaml", text)).unwrap();
    assert_eq!((places.listener.port(), places.spool.unwrap().dir), (7, "/o/s/spool".into()));
    let wrong = Fake::new().file("/o/otelgate.yaml", "spool: { dirr: s }\n");
    let said = lines(load_places(Path::new("/o/otelgate.yaml"), &wrong).unwrap_err().0);
    assert!(said.len() == 1 && said[0].contains("did you mean `dir`"), "{said:?}");
}

#[test]
fn files_that_cannot_be_read() {
    let gone = load(Path::new("/o/gone.yaml"), &surroundings()).unwrap_err();
    assert!(gone.to_string().contains("/o/gone.yaml:1:1: cannot be read"), "{gone}");
    assert_eq!(mistakes("listen: [\n").len(), 1);
    assert!(mistakes("").iter().any(|line| line.contains("neither a certificate nor plaintext")));
    let no_keys = lines(load_text(&format!("keys: {{ file: gone.yaml }}\n{FILES}{SINK}")).unwrap_err().0);
    assert!(no_keys[0].contains("otelgate keys new"), "{no_keys:?}");
}
