//! Tables of several servers.

use super::*;

#[test]
fn tables_of_several_servers() {
    let text = |schema: &str| {
        format!("{FILES}sink: {{ clickhouse: {{ url: 'https://a:8443', password: p, schema: {schema} }} }}\n")
    };
    let layout = |schema: &str| match load_text(&text(schema)).unwrap().config.sink {
        SinkConfig::ClickHouse(sink) => *sink.schema,
        SinkConfig::Forward(_) => unreachable!("it stores"),
    };
    assert_eq!(layout("{ engine: merge_tree }"), Layout::default());
    let all = layout("{ engine: replicated, cluster: main, distributed: true }");
    assert_eq!(all.suffix, "_local");
    assert_eq!(all.replicated.unwrap().path, "/clickhouse/tables/{shard}/{database}/{table}");
    for (schema, mistake) in [
        ("{ engine: shared }", "is neither merge_tree nor replicated"),
        ("{ distributed: true }", "needs `cluster`"),
        ("{ distributed: true, cluster: c, suffix: '' }", "sink.clickhouse.schema.suffix"),
        ("{ path: \"it's\" }", "holds a quote"),
    ] {
        let found = lines(load_text(&text(schema)).unwrap_err().0);
        assert!(found.len() == 1 && found[0].contains(mistake), "{schema}: {found:#?}");
    }
}

#[test]
fn a_cluster_is_read_from_the_servers_of_url() {
    let of = |sink: &str| load_text(&format!("{FILES}sink: {{ clickhouse: {{ password: p, {sink} }} }}\n"));
    match of("url: ['https://a:8443', 'https://b:8443'], cluster: main").unwrap().config.sink {
        SinkConfig::ClickHouse(sink) => {
            assert_eq!((sink.cluster.as_deref(), sink.urls.len(), sink.shards.len()), (Some("main"), 2, 0));
        }
        SinkConfig::Forward(_) => unreachable!("it stores"),
    }
    for (sink, mistake) in [
        ("shards: [['https://a:8443'], ['https://b:8443']], cluster: main", "stands beside `shards`"),
        ("cluster: main", "sink.clickhouse.url"),
    ] {
        let found = lines(of(sink).unwrap_err().0);
        assert!(found.len() == 1 && found[0].contains(mistake), "{sink}: {found:#?}");
    }
}
