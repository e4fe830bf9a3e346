//! What lies in deploy/ is what its documentation says: checked by the tools that read it, where they are there. `make test-deploy` has the tools that are fetched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use stack::Certificates;

use crate::support::skipped;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file(name: &str) -> String {
    fs::read_to_string(root().join("deploy").join(name)).expect("shipped")
}

/// The lines below `marker` that are indented by `indent`, without it: a configuration inside of another file.
fn inside(text: &str, marker: &str, indent: &str) -> String {
    let (_, rest) = text.split_once(marker).expect("a configuration");
    rest.lines().map_while(|line| line.strip_prefix(indent)).map(|line| format!("{line}\n")).collect()
}

/// What `otelgate check` says of a configuration, with files in the places where it is used; empty when it is well.
fn mistakes(config: &str, places: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let made = folder.path().join("made");
    fs::create_dir(&made).expect("a folder");
    let made = Certificates::in_folder(&made).expect("certificates");
    for (name, text) in [
        ("clickhouse-password", "secret\n"),
        ("admin-token", "0123456789abcdef0123456789abcdef\n"),
        ("forward-token", "key\n"),
        ("keys.yaml", "keys: []\n"),
    ] {
        fs::write(folder.path().join(name), text).expect("written");
    }
    fs::create_dir(folder.path().join("tls")).expect("a folder");
    for place in ["server.crt", "tls/server.crt", "tls.crt"] {
        fs::copy(&made.certificate, folder.path().join(place)).expect("copied");
    }
    for place in ["server.key", "tls.key"] {
        fs::copy(&made.key, folder.path().join(place)).expect("copied");
    }
    let dir = folder.path().to_str().expect("UTF-8");
    let config =
        places.iter().fold(config.to_owned(), |text, (place, name)| text.replace(place, &format!("{dir}{name}")));
    let path = folder.path().join("otelgate.yaml");
    fs::write(&path, config).expect("written");
    let mut check = Command::new(stack::binary("otelgate").expect("built"));
    check.arg("check").arg("--config").arg(&path);
    // What ClickStack's chart has in its ConfigMap and its Secret.
    check
        .env("CLICKHOUSE_ENDPOINT", "tcp://clickstack-clickhouse:9000?dial_timeout=10s")
        .env("CLICKHOUSE_PASSWORD", "pass");
    check.env("OPAMP_SERVER_URL", "http://clickstack-app:4320").env("HYPERDX_OTEL_EXPORTER_TABLES_TTL", "720h");
    check.env("HYPERDX_OTEL_EXPORTER_LOGS_TTL", "180d");
    let output = check.output().expect("it runs");
    if output.status.success() { String::new() } else { String::from_utf8_lossy(&output.stderr).into_owned() }
}

fn stand_in(folder: &Path) -> PathBuf {
    let unit = file("systemd/otelgate.service").replace("ExecStart=otelgate", "ExecStart=/bin/true");
    fs::write(folder.join("otelgate.service"), unit).expect("written");
    fs::write(folder.join("otelgate.socket"), file("systemd/otelgate.socket")).expect("written");
    folder.join("otelgate.service")
}

#[test]
fn systemd_understands_the_units_and_finds_them_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = stand_in(folder.path());
    let analyze = |arguments: &[&str]| Command::new("systemd-analyze").args(arguments).output();
    let (Some(service), Some(socket)) =
        (service.to_str(), folder.path().join("otelgate.socket").to_str().map(str::to_owned))
    else {
        panic!("a folder without a name");
    };
    let Ok(verified) = analyze(&["verify", service, &socket]) else {
        return skipped("no systemd-analyze, so the units were not verified");
    };
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && !said.contains("otelgate"), "{said}");
    let rated = analyze(&["security", "--offline=yes", "--threshold=20", service]).expect("it is there");
    assert!(rated.status.success(), "{}", String::from_utf8_lossy(&rated.stdout));
}

#[test]
fn the_configuration_beside_the_units_fits_them() {
    let text = file("systemd/otelgate.yaml");
    assert_eq!(mistakes(&text, &[("/run/credentials/otelgate.service", "")]), "");
    let (service, socket) = (file("systemd/otelgate.service"), file("systemd/otelgate.socket"));
    for port in ["4317", "4318", "9317"] {
        assert!(text.contains(&format!(":{port}\"")) && socket.contains(&format!("{port}\n")), "{port}");
    }
    for secret in ["clickhouse-password", "server.key"] {
        let used = text.contains(&format!("/run/credentials/otelgate.service/{secret}"));
        assert!(used && service.contains(&format!("LoadCredential={secret}:/etc/otelgate/")), "{secret}");
    }
}

/// The part of the Compose file that is otelgate's own, and what it no longer publishes.
#[test]
fn the_configuration_in_the_compose_file_is_one() {
    let text = file("compose/otelgate.yaml");
    // Compose takes a dollar for itself.
    let config = inside(&text, "    content: |\n", "      ").replace("$$", "$");
    assert_eq!(mistakes(&config, &[("/etc/otelgate", ""), ("/run/secrets", "")]), "");
    assert!(text.contains("otel-collector:\n    ports: !reset []\n"), "the collector stays published");
}

/// docs/clickstack.md says it of all of them: rows in another database are rows that HyperDX does not show.
#[test]
fn everything_stores_where_clickstack_has_its_tables() {
    for name in ["systemd/otelgate.yaml", "compose/otelgate.yaml", "kubernetes/edge.yaml", "kubernetes/clickstack.yaml"]
    {
        let text = file(name);
        let said: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("database: ")).collect();
        let default = |said: &&str| said.starts_with("default") || said.ends_with(":-default}");
        assert!(!said.is_empty() && said.iter().all(default), "{name}: {said:?}");
    }
}

/// `otelgate.yaml` in a rendered ConfigMap.
fn checked_in_cluster(name: &str, manifests: &str) {
    let config = inside(manifests, "\n  otelgate.yaml: |\n", "    ");
    let places = [("/etc/otelgate/secrets", ""), ("/etc/otelgate/tls", "")];
    assert_eq!(mistakes(&config, &places), "", "{name}:\n{config}");
    let seconds = |text: &str, name: &str| -> u64 {
        let (_, rest) = text.split_once(name).expect("it is written");
        let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a number")
    };
    let grace = seconds(manifests, "terminationGracePeriodSeconds:");
    assert!(grace > seconds(&config, "deadline:"), "{name}: it would be killed while it stops");
    for line in
        ["runAsUser: 65532", "readOnlyRootFilesystem: true", "path: /readyz, port: admin", "path: /livez, port: admin"]
    {
        assert!(manifests.contains(line), "{name}: {line}");
    }
}

#[test]
fn the_configuration_in_each_manifest_is_one() {
    for mode in ["edge", "clickstack", "agent"] {
        checked_in_cluster(mode, &file(&format!("kubernetes/{mode}.yaml")));
    }
    let version = format!("appVersion: \"{}\"\n", env!("CARGO_PKG_VERSION"));
    assert!(file("helm/otelgate/Chart.yaml").contains(&version), "the chart is of another version");
    let clickstack = file("kubernetes/clickstack.yaml");
    assert!(!clickstack.contains("envFrom"), "that would bring MongoDB's password into the public edge");
}

/// The path of a tool that is there already.
fn built(tool: &str) -> Option<PathBuf> {
    let found = Command::new(root().join("scripts/tool.sh")).args(["--if-built", tool]).output().ok()?;
    found.status.success().then(|| PathBuf::from(String::from_utf8_lossy(&found.stdout).trim()))
}

#[test]
fn the_chart_renders_configurations_and_the_manifests() {
    let (Some(helm), Some(_)) = (built("helm"), built("helm-docs")) else {
        return skipped("no helm and helm-docs (`make test-deploy` builds them), so the chart was not rendered");
    };
    let chart = root().join("deploy/helm/otelgate");
    for entry in fs::read_dir(chart.join("ci")).expect("values") {
        let values = entry.expect("an entry").path();
        let mut template = Command::new(&helm);
        template.args(["template", "otelgate", "--namespace", "otelgate", "--kube-version", "1.34.0"]).arg(&chart);
        let rendered = template.arg("--values").arg(&values).output().expect("it runs");
        assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
        checked_in_cluster(&values.display().to_string(), &String::from_utf8_lossy(&rendered.stdout));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let made = Command::new(root().join("scripts/manifests.sh")).arg(folder.path()).output().expect("it runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for name in
        ["kubernetes/edge.yaml", "kubernetes/clickstack.yaml", "kubernetes/agent.yaml", "helm/otelgate/README.md"]
    {
        let now = fs::read_to_string(folder.path().join("deploy").join(name)).expect("made");
        assert!(now == file(name), "deploy/{name} is not what the chart makes: `make manifests`");
    }
}
