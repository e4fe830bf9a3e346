//! Alerts and the dashboards ask for metrics that the program has, and each alert says what to do.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn text(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("shipped")
}

/// The names under which Prometheus sees what `src/metrics.rs` lists.
fn exposed() -> BTreeSet<String> {
    let source = text("src/metrics.rs");
    let (_, list) = source.split_once("\nfamilies! {\n").expect("the list");
    let (list, _) = list.split_once("\n}\n").expect("its end");
    let mut names = BTreeSet::new();
    for line in list.lines().filter(|line| !line.trim().is_empty()) {
        let (name, rest) = line.trim().split_once(": ").expect("a name");
        let (kind, _) = rest.split_once(" = ").expect("a kind");
        let endings: &[&str] = match kind {
            _ if kind.contains("Counter") => &["_total"],
            _ if kind.starts_with("Seconds") => &["_bucket", "_count", "_sum"],
            _ => &[""],
        };
        names.extend(endings.iter().map(|ending| format!("otelgate_{name}{ending}")));
    }
    names
}

fn used(text: &str) -> BTreeSet<String> {
    let ends = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let rests = text.match_indices("otelgate_").map(|(at, _)| &text[at..]);
    rests.map(|rest| rest.split(ends).next().expect("there is one").to_owned()).collect()
}

#[test]
fn rules_and_dashboard_ask_for_what_the_program_has() {
    let exposed = exposed();
    assert!(exposed.len() > 50 && exposed.contains("otelgate_insert_seconds_bucket"), "{exposed:?}");
    for name in ["deploy/prometheus/alerts.yaml", "deploy/prometheus/alerts.test.yaml", "deploy/grafana/otelgate.json"]
    {
        let used = used(&text(name));
        assert!(used.len() > 5, "{name}: {used:?}");
        let unknown: Vec<_> = used.difference(&exposed).collect();
        assert!(unknown.is_empty(), "{name} asks for {unknown:?}");
    }
}

#[test]
fn each_alert_has_its_page_and_its_test() {
    let (rules, tests, runbook) =
        (text("deploy/prometheus/alerts.yaml"), text("deploy/prometheus/alerts.test.yaml"), text("docs/runbook.md"));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 20, "{alerts:?}");
    let anchors: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("runbook: docs/runbook.md#")).collect();
    let expected: Vec<String> = alerts.iter().map(|alert| alert.to_lowercase()).collect();
    assert_eq!(anchors, expected, "an alert leads to its own entry");
    let pages: Vec<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## Otelgate")).collect();
    let names: Vec<&str> = alerts.iter().filter_map(|alert| alert.strip_prefix("Otelgate")).collect();
    assert_eq!(pages, names, "docs/runbook.md has an entry for each alert, in their order");
    for alert in alerts {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} has no test");
    }
}

#[test]
fn the_dashboard_is_json_whose_panels_ask_something() {
    let board: serde_json::Value = serde_json::from_str(&text("deploy/grafana/otelgate.json")).expect("JSON");
    let panels = board["panels"].as_array().expect("panels");
    assert!(panels.len() > 10);
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().expect("queries");
        assert!(targets.iter().all(|target| target["expr"].as_str().is_some_and(|expr| !expr.is_empty())), "{panel}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
    }
}

/// Own telemetry has counters as sums, gauges as gauges and times as histograms, under the names that Prometheus sees but for a histogram's endings (docs/telemetry.md).
#[test]
fn hyperdx_dashboard_asks_for_what_own_telemetry_has() {
    let exposed = exposed();
    let board: serde_json::Value = serde_json::from_str(&text("deploy/hyperdx/otelgate.json")).expect("JSON");
    let tiles = board["tiles"].as_array().expect("tiles");
    assert!(tiles.len() > 10);
    for tile in tiles {
        let config = &tile["config"];
        assert!(config["where"].as_str().is_some_and(|sql| sql.starts_with("ServiceName = 'otelgate'")), "{tile}");
        for select in config["select"].as_array().expect("what is selected") {
            let name = select["metricName"].as_str().expect("a name");
            let (kind, seen) = match name {
                _ if exposed.contains(&format!("{name}_bucket")) => ("histogram", true),
                _ if name.ends_with("_total") => ("sum", exposed.contains(name)),
                _ => ("gauge", exposed.contains(name)),
            };
            assert!(seen, "{name} is none of its metrics");
            assert_eq!(select["metricType"], kind, "{name}");
            assert_eq!(select["level"].is_number(), kind == "histogram", "{name}");
            // HyperDX's import drops the level of a quantile without a condition.
            assert!(select["aggCondition"].is_string() && select["aggConditionLanguage"].is_string(), "{name}");
        }
    }
}
