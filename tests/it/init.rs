//! From a running ClickHouse to the first stored span without an editor: `otelgate init`, then `serve` with what it wrote. And the SQL of
//! `users print`: the engine reads it, and the rights in it are enough.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use stack::{ClickHouse, Gateway};

use crate::sdk::{export, grpc};
use crate::support::{eventually, skipped};

const USER: &str = "least";

async fn otelgate(arguments: &[&str], password: &str) -> Output {
    let mut command = tokio::process::Command::new(stack::binary("otelgate").expect("built"));
    command.args(arguments).env("CLICKHOUSE_PASSWORD", password).kill_on_drop(true);
    let ended = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
    ended.expect("ends").expect("starts")
}

async fn init(url: &str, dir: &Path, password: &str, more: &[&str]) -> Output {
    let dir = dir.to_str().expect("UTF-8");
    let fixed = ["init", "--clickhouse", url, "--user", USER, "--dir", dir];
    let ports = ["--otlp", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    otelgate(&[&fixed[..], &ports, more].concat(), password).await
}

fn text(output: &Output) -> (String, String) {
    let of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (of(&output.stdout), of(&output.stderr))
}

/// What docs/start.md sends with curl, in a shell that has the three variables; what curl said.
async fn first_span(endpoint: &str, key: &str, ca: &str) -> Option<Output> {
    tokio::process::Command::new("curl").arg("--version").output().await.ok()?;
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/start.md")).expect("docs/start.md");
    let (_, rest) = page.split_once("\n    curl ").expect("a command");
    let (command, _) = rest.split_once("\n    END\n").expect("its end");
    let command = format!("curl {}\nEND\n", command.replace("\n    ", "\n"));
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", &command]).env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    shell.env("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization={key}")).env("OTEL_EXPORTER_OTLP_CERTIFICATE", ca);
    Some(shell.output().await.expect("a shell"))
}

/// The statements of a file of SQL.
fn statements(sql: &str) -> Vec<String> {
    let lines: Vec<&str> = sql.lines().filter(|line| !line.starts_with("--")).collect();
    lines
        .join("\n")
        .split(";\n")
        .map(|one| one.trim().trim_end_matches(';').to_owned())
        .filter(|one| !one.is_empty())
        .collect()
}

/// The names in `SETTINGS a = 1, b = 2` of a profile.
fn settings(statement: &str) -> Vec<&str> {
    let named =
        statement.starts_with("CREATE SETTINGS PROFILE").then(|| statement.split_once("SETTINGS PROFILE")).flatten();
    let list = named.and_then(|(_, rest)| rest.split_once("SETTINGS ")).map_or("", |(_, list)| list);
    list.split(", ").filter_map(|pair| pair.split_once(" = ")).map(|(name, _)| name).collect()
}

/// The engine knows the statements, and the settings in them.
async fn understood(clickhouse: &ClickHouse, statements: &[String]) {
    for statement in statements {
        clickhouse.query(&format!("EXPLAIN AST {statement}"), "TabSeparated").await.expect("parsed");
        for name in settings(statement) {
            let known = format!("SELECT count() FROM system.settings WHERE name = '{name}'");
            assert_eq!(clickhouse.number(&known).await.expect("a number"), 1, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::too_many_lines, reason = "one story")]
async fn from_a_clickhouse_to_the_first_span_without_an_editor() {
    if std::env::var_os("CLICKHOUSE_URL").is_some() {
        skipped("the users of the server that CLICKHOUSE_URL names are not this test's to make");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    // The rights, as init writes them, and a server whose user has exactly these.
    let offline = init("http://127.0.0.1:9", &path("offline"), "", &["--offline"]).await;
    assert!(offline.status.success(), "{:?}", text(&offline));
    let sql = fs::read_to_string(path("offline/clickhouse-users.sql")).expect("written");
    let ingest = statements(&sql);
    let rights = ingest.iter().filter_map(|sql| sql.strip_prefix("GRANT ")?.strip_suffix(" TO least"));
    let rights: Vec<String> = rights.map(str::to_owned).collect();
    assert!(rights.len() > 10, "{sql}");
    let clickhouse = ClickHouse::start_with_user(&path("clickhouse"), USER, &rights).await.expect("ClickHouse starts");
    understood(&clickhouse, &ingest).await;

    let edge = path("edge");
    let (out, err) = text(&init(&clickhouse.url, &edge, &clickhouse.password, &[]).await);
    assert!(err.contains("ClickHouse ") && err.contains("otel gets ClickStack's tables"), "{out}{err}");
    assert!(!edge.join("clickhouse-users.sql").exists(), "the user is there already");
    let variable = |name: &str| {
        let line = out.lines().find_map(|line| line.trim().strip_prefix("export ")?.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {out}")).trim_start_matches('=').to_owned()
    };
    let key = variable("OTEL_EXPORTER_OTLP_HEADERS=authorization");
    let ca = variable("OTEL_EXPORTER_OTLP_CERTIFICATE");
    assert!(variable("OTEL_EXPORTER_OTLP_ENDPOINT").starts_with("https://localhost:"), "{out}");

    let gateway = Gateway::start(&edge.join("otelgate.yaml"), &[], Some(&path("log"))).await.expect("it starts");
    let endpoint = gateway.otlp[0].replace("127.0.0.1", "localhost");
    export("first", grpc(&endpoint, Path::new(&ca), &key)).await;
    let stored = async || clickhouse.number("SELECT count() FROM otel.otel_traces").await.unwrap_or(0);
    let log = fs::read_to_string(path("log")).expect("a log");
    assert_eq!(eventually(10, stored).await, 10, "{log}");
    assert!(!log.contains("which it does not need"), "{log}");
    match first_span(&endpoint, &key, &ca).await {
        Some(sent) => {
            let (out, err) = text(&sent);
            assert!(out.contains(" 200") && out.ends_with("{}"), "{out}{err}");
            let hello = "SELECT count() FROM otel.otel_traces WHERE SpanName = 'hello' AND ServiceName = 'first'";
            assert_eq!(eventually(1, async || clickhouse.number(hello).await.unwrap_or(0)).await, 1, "{log}");
        }
        None => skipped("no curl, so the first span of docs/start.md was not sent"),
    }

    for (name, mode) in [
        ("keys.yaml", 0o600),
        ("clickhouse-password", 0o600),
        ("tls/server.key", 0o600),
        ("tls/ca.key", 0o600),
        ("tls/ca.crt", 0o644),
    ] {
        let found = fs::metadata(edge.join(name)).expect("written").permissions().mode() & 0o777;
        assert_eq!(format!("{found:o}"), format!("{mode:o}"), "{name}");
        let held = fs::read_to_string(edge.join(name)).expect("text");
        assert!(!held.contains(&key), "{name} holds the key");
    }
    let before = fs::read_to_string(edge.join("keys.yaml")).expect("there");
    let again = init(&clickhouse.url, &edge, &clickhouse.password, &[]).await;
    assert_eq!(again.status.code(), Some(2), "nothing is overwritten: {:?}", text(&again));
    assert_eq!(fs::read_to_string(edge.join("keys.yaml")).expect("there"), before);

    // Who has no password yet is asked for nothing either: the administrator sees the tables and whence this machine comes.
    let (out, err) = text(&init(&clickhouse.url, &path("second"), "", &[]).await);
    assert!(err.contains("the database otel has ClickStack's tables"), "{err}");
    assert!(out.contains("clickhouse-client --host 127.0.0.1 --user default --queries-file"), "{out}");
    let sql = fs::read_to_string(path("second/clickhouse-users.sql")).expect("written");
    assert!(sql.contains("HOST IP '127.0.0.1', IP '::1'"), "{sql}");

    let config = edge.join("otelgate.yaml");
    for cloud in [&[][..], &["--cloud"]] {
        let print = [&["users", "print", "--config", config.to_str().expect("UTF-8")], cloud].concat();
        let (out, err) = text(&otelgate(&print, "").await);
        let password = err.lines().find_map(|line| line.strip_prefix("the password of hyperdx, shown only now: "));
        assert!(password.is_some_and(|password| password.len() == 48 && !out.contains(password)), "{err}");
        assert!(!out.contains(&clickhouse.password) && out.contains("readonly = 2"), "{out}");
        understood(&clickhouse, &statements(&out)).await;
    }
    gateway.process.stop(Duration::from_secs(60)).await.expect("ends");
}

#[tokio::test]
async fn what_init_cannot_know_it_asks_for_and_writes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("new");
    for (url, more, code, says) in [
        ("http://127.0.0.1:9", &[][..], 1, "--offline"),
        ("ftp://c:21", &["--offline"], 2, "neither http:// nor https://"),
        ("http://127.0.0.1:9", &["--offline", "--domain", "not a name\u{e9}"], 2, "no certificate"),
        ("http://127.0.0.1:9", &["--offline", "--domain", "a.example", "--self-signed"], 2, "cannot be used with"),
    ] {
        let output = init(url, &dir, "", more).await;
        let (_, err) = text(&output);
        assert_eq!((output.status.code(), err.contains(says)), (Some(code), true), "{url} {more:?}: {err}");
        assert!(!dir.exists(), "{url} {more:?}");
    }
    let forward = [
        "init",
        "--forward",
        "http://127.0.0.1:4319",
        "--clickhouse",
        "http://127.0.0.1:9",
        "--domain",
        "edge.example",
        "--dir",
        dir.to_str().expect("UTF-8"),
        "--offline",
    ];
    let (out, err) = text(&otelgate(&forward, "").await);
    assert!(out.contains("OTEL_EXPORTER_OTLP_ENDPOINT=https://edge.example:4317"), "{out}{err}");
    let config = dir.join("otelgate.yaml");
    let check = otelgate(&["check", "--config", config.to_str().expect("UTF-8")], "").await;
    assert!(check.status.success(), "{:?}", text(&check));
    // Swapping the two sections is all that it takes to store.
    let written = fs::read_to_string(&config).expect("there");
    assert!(written.contains("  forward:\n") && written.contains("#  clickhouse:\n"), "{written}");
    // What orders a certificate stands beside the files, or in their place.
    assert!(written.contains("  # acme:") && written.contains("  #   domains: [\"edge.example\"]"), "{written}");
    let ordered = dir.with_extension("ordered");
    let mut acme = forward.to_vec();
    acme[8] = ordered.to_str().expect("UTF-8");
    acme.push("--acme");
    let (out, err) = text(&otelgate(&acme, "").await);
    assert!(!out.contains("OTLP_CERTIFICATE") && !ordered.join("tls").exists(), "{out}{err}");
    let config = ordered.join("otelgate.yaml");
    let check = otelgate(&["check", "--config", config.to_str().expect("UTF-8")], "").await;
    assert!(check.status.success(), "{:?}", text(&check));
}
