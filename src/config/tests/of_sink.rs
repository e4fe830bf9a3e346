//! What section `sink` may say.

use super::*;

#[test]
fn a_batch_and_its_inserts_are_as_large_and_as_many_as_is_written_or_fit_the_sink() {
    let max_rows = |sink: &str, more: &str| load_text(&format!("{sink}{FILES}{more}")).unwrap().config.batch.max_rows;
    let forward = "sink: { forward: { endpoint: 'http://127.0.0.1:4317' } }\n";
    assert_eq!([max_rows(SINK, "spool: { dir: s }\n"), max_rows(SINK, "spool: none\n")], [200_000, 100_000]);
    assert_eq!(max_rows(forward, "spool: { dir: s }\n"), 100_000);
    assert_eq!(max_rows(SINK, "spool: { dir: s }\nbatch: { max_rows: 5000 }\n"), 5000);
    let text = |at_once: &str| {
        format!("sink: {{ clickhouse: {{ url: 'https://a:1', password: p, inserts_per_table: {at_once} }} }}\n{FILES}")
    };
    for (written, meant) in [("auto", None), ("7", Some(7))] {
        let SinkConfig::ClickHouse(sink) = load_text(&text(written)).unwrap().config.sink else { panic!("{written}") };
        assert_eq!(sink.inserts_per_table, meant);
    }
    assert_eq!(mistakes(&text("some")).len(), 1);
    assert!(mistakes(&text("0"))[0].contains("1 sink.clickhouse.inserts_per_table: `0`"), "{:?}", mistakes(&text("0")));
}

#[test]
fn shards_are_lists_of_servers_each_of_which_may_have_its_own_user() {
    let text = |shards: &str| format!("sink: {{ clickhouse: {{ shards: {shards}, password: p }} }}\n{FILES}");
    let shards = "[['https://a:8443', { url: 'https://b:8443', user: u, password: q }], 'https://c:8443']";
    let SinkConfig::ClickHouse(sink) = load_text(&text(shards)).unwrap().config.sink else { panic!("not ClickHouse") };
    let lens: Vec<usize> = sink.shards.iter().map(Vec::len).collect();
    assert_eq!((sink.urls.len(), lens), (3, vec![2, 1]));
    assert_eq!([0, 1].map(|url| sink.login(&sink.urls[url]).0), ["hyperdx_ingest", "u"]);
    let users = sink.of_each_user();
    let users: Vec<_> = users.iter().map(|one| (one.user.as_str(), one.password.expose(), one.urls.len())).collect();
    assert_eq!(users, [("hyperdx_ingest", "p", 2), ("u", "q", 1)]);
    for (shards, mistake) in [
        ("[]", "1 sink.clickhouse.shards: is an empty list"),
        ("[['https://a:1'], []]", "1 sink.clickhouse.shards[1]: is an empty list"),
        ("[['https://a:1'], ['https://b:1', 'HTTPS://a:1/']]", "1 sink.clickhouse.shards: names https://a:1/ twice"),
        ("[['https://a'], ['https://a:443']]", "twice; a server belongs to one shard"),
        ("[['ftp://a:1']]", "1 sink.clickhouse.shards[0][0].url: `ftp://a:1` is neither"),
        ("[[{ url: 'https://a:1', user: u }]]", "1 sink.clickhouse.shards[0][0]: has only one of"),
        ("[[{ user: u, password: p }]]", "1 sink.clickhouse.shards[0][0].url: is missing"),
        ("[[{ url: 'https://a:1', name: x }]]", "1 sink.clickhouse.shards[0][0].name: unknown field"),
        ("[['https://a:1']], insert_quorum: 1", "1 sink.clickhouse.insert_quorum: `1` is no quorum"),
        ("[['https://a:1']], url: 'https://b:1'", "1 sink.clickhouse.shards: stands beside `url`"),
    ] {
        let found = mistakes(&text(shards));
        assert!(found.len() == 1 && found[0].contains(mistake), "{shards}: {found:#?}");
    }
}
