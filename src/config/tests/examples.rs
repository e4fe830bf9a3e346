//! The examples of docs/, as they are.

use super::*;

#[test]
fn the_three_placements_are_valid() {
    for text in [
        include_str!("../../../docs/examples/edge-stores.yaml"),
        include_str!("../../../docs/examples/edge-forwards.yaml"),
        include_str!("../../../docs/examples/sidecar.yaml"),
    ] {
        let text = text
            .replace("/etc/otelgate/internal-ca.crt", "certs/server.crt")
            .replace("/etc/otelgate/tls", "certs/server");
        let variables = ["CLICKHOUSE_PASSWORD", "COLLECTOR_TOKEN", "CLUSTER_KEY"];
        let fake = variables.into_iter().fold(surroundings(), |fake, name| fake.variable(name, "secret"));
        let loaded = load_with(fake, &text).unwrap_or_else(|mistakes| panic!("{text}{:#?}", lines(mistakes.0)));
        assert_eq!(lines(loaded.warnings), Vec::<String>::new(), "{text}");
    }
}

/// ClickStack's own values: those of its compose file, and those of a collector that stands alone.
#[test]
fn the_example_for_clickstack_names_its_variables() {
    let text = include_str!("../../../docs/examples/clickstack.yaml").replace("/etc/otelgate/tls", "certs/server");
    let load = |variables: &[(&str, &str)]| {
        let fake = surroundings()
            .file("/o/clickstack-keys.yaml", include_str!("../../../docs/examples/clickstack-keys.yaml"))
            .without("CLICKHOUSE_PASSWORD");
        let fake = variables.iter().fold(fake, |fake, (name, value)| fake.variable(name, value));
        load_with(fake, &text).unwrap_or_else(|mistakes| panic!("{:#?}", lines(mistakes.0)))
    };
    let supervised = load(&[
        ("OPAMP_SERVER_URL", "http://app:4320"),
        ("CLICKHOUSE_ENDPOINT", "tcp://ch-server:9000?dial_timeout=10s"),
        ("HYPERDX_OTEL_EXPORTER_CLICKHOUSE_DATABASE", "default"),
        ("HYPERDX_OTEL_EXPORTER_TABLES_TTL", "168h"),
    ]);
    let clickstack = supervised.config.keys.clickstack.expect("a source");
    assert_eq!((clickstack.url.to_string().as_str(), supervised.keys.len()), ("http://app:4320/v1/opamp", 0));
    let SinkConfig::ClickHouse(sink) = supervised.config.sink else { panic!("not ClickHouse") };
    assert_eq!((sink.urls[0].to_string().as_str(), sink.database.as_str()), ("http://ch-server:8123/", "default"));
    assert_eq!((sink.user.as_str(), sink.ttl.sessions), ("default", Duration::from_secs(7 * 86_400)));
    let warnings = lines(supervised.warnings);
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
    assert!(warnings.iter().any(|line| line.contains("names the native protocol") && line.contains(":8123/")));

    let alone = load(&[
        ("OTLP_AUTH_TOKEN", "a-token-of-some-length"),
        ("CLICKHOUSE_ENDPOINT", "tcp://x.clickhouse.cloud:9440?secure=true"),
        ("CLICKHOUSE_USER", "ingest"),
        ("CLICKHOUSE_PASSWORD", "hunter2"),
    ]);
    assert!(alone.config.keys.clickstack.is_none());
    assert_eq!(alone.keys[0].name, "otlp-auth-token");
    let SinkConfig::ClickHouse(sink) = alone.config.sink else { panic!("not ClickHouse") };
    assert_eq!((sink.urls[0].to_string().as_str(), sink.user.as_str()), ("https://x.clickhouse.cloud:8443/", "ingest"));
    assert_eq!(alone.warnings.len(), 1, "{:#?}", alone.warnings);
    let nobody = load(&[("CLICKHOUSE_ENDPOINT", "https://c:8443")]);
    assert!(lines(nobody.warnings)[0].contains("every request is refused"));
}
