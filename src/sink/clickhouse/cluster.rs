//! `sink.clickhouse.cluster`: the shards as a server knows them (`system.clusters`), read at a start.
//!
//! What stands there are the ports of the native protocol, and rows travel over HTTP: only shards and hosts are taken from it, scheme and port are
//! those of the address that was asked. So servers of one cluster that share a host cannot be told apart and have to be written as `shards`.
//!
//! A cluster that changes while otelgate runs changes nothing in it: parts keep to the shards that they were given to. The change is logged, and the next
//! start takes it up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use serde::{Deserialize, Serialize};

use super::create::FIRST_ANSWER;
use super::http::{Http, SetupError};
use super::query::Query;
use super::schema::literal;
use super::start::StartError;
use crate::{config, https};

/// How often a cluster is asked whether it has changed.
const EVERY: Duration = Duration::from_secs(300);

/// A cluster as it was read, to be kept for a start while nobody answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Members {
    cluster: String,
    /// The addresses of each shard.
    shards: Vec<Vec<String>>,
}

impl Members {
    /// Reads the cluster that the configuration names; none where it names none. Each of its addresses is asked until one knows the cluster.
    ///
    /// # Errors
    /// [`StartError`]: none answers, none knows it, or it cannot be used.
    pub(crate) async fn read(config: &config::ClickHouse) -> Result<Option<Members>, StartError> {
        let Some(cluster) = config.cluster.clone() else { return Ok(None) };
        let http = Http::new(https::connector(config.ca_file.as_deref()).map_err(SetupError::from)?, config)?;
        let statement = format!(
            "SELECT shard_num, host_name FROM system.clusters WHERE cluster = {} ORDER BY shard_num, replica_num FORMAT TabSeparatedRaw",
            literal(&cluster)
        );
        let mut refused = StartError::Cluster(format!("{cluster}: no server that was asked knows it"));
        for server in &config.urls {
            match Query::new(&http, server).within(FIRST_ANSWER).run(&statement).await {
                Ok(answer) if answer.is_empty() => {}
                Ok(answer) => {
                    let shards = shards(&String::from_utf8_lossy(&answer), server)
                        .map_err(|why| StartError::Cluster(format!("{cluster}: {why}")))?;
                    return Ok(Some(Members { cluster, shards }));
                }
                Err(failure) => refused = failure.into(),
            }
        }
        Err(refused)
    }

    /// Whether this is what the configuration names.
    pub(crate) fn are_of(&self, config: &config::ClickHouse) -> bool {
        config.cluster.as_ref() == Some(&self.cluster)
    }

    /// The configuration with these shards, as if they were written there.
    pub(crate) fn in_place(&self, config: &config::ClickHouse) -> config::ClickHouse {
        let parse = |urls: &Vec<String>| urls.iter().filter_map(|url| url.parse().ok()).collect();
        let shards: Vec<Vec<Uri>> = self.shards.iter().map(parse).collect();
        config::ClickHouse { urls: shards.concat(), shards, ..config.clone() }
    }

    /// Each shard, whatever the order of its servers.
    fn each(&self) -> BTreeSet<String> {
        let sorted = |urls: &Vec<String>| {
            let mut urls = urls.clone();
            urls.sort();
            urls.join(",")
        };
        self.shards.iter().map(sorted).collect()
    }
}

/// The configuration with the shards of the cluster that it names; as it is where it names none.
///
/// # Errors
/// As [`Members::read`].
pub async fn with_its_shards(config: config::ClickHouse) -> Result<config::ClickHouse, StartError> {
    Ok(Members::read(&config).await?.map_or(config.clone(), |members| members.in_place(&config)))
}

/// Says when the cluster is not what it was read as any more, once for each change, for as long as somebody needs it.
pub(crate) async fn watch(config: config::ClickHouse, members: Members, is_needed: impl Fn() -> bool) {
    let mut said = members.each();
    while let Some(now) = changed(&config, &mut said, EVERY, &is_needed).await {
        let (new, gone) = difference(&members, &now);
        if new.is_empty() && gone.is_empty() {
            tracing::info!(cluster = now.cluster, "the cluster is again as it was at the start");
            continue;
        }
        tracing::warn!(
            cluster = now.cluster,
            ?new,
            ?gone,
            "the cluster has changed; rows go on to its shards as they were at the start, and a restart takes the change up"
        );
    }
}

/// Asks every so often, until the cluster has other shards, or shards of other servers, than was `said`; none when nobody needs to know any more.
async fn changed(
    config: &config::ClickHouse,
    said: &mut BTreeSet<String>,
    every: Duration,
    is_needed: impl Fn() -> bool,
) -> Option<Members> {
    loop {
        tokio::time::sleep(every).await;
        if !is_needed() {
            return None;
        }
        // A server that is away is said elsewhere.
        let Ok(Some(now)) = Members::read(config).await else { continue };
        let each = now.each();
        if each != *said {
            *said = each;
            return Some(now);
        }
    }
}

/// The shards that are only in `now`, and those that are only in `before`.
fn difference(before: &Members, now: &Members) -> (Vec<String>, Vec<String>) {
    let (before, now) = (before.each(), now.each());
    (now.difference(&before).cloned().collect(), before.difference(&now).cloned().collect())
}

/// The addresses of each shard, from lines of a shard's number and a host.
fn shards(answer: &str, asked: &Uri) -> Result<Vec<Vec<String>>, String> {
    let scheme = asked.scheme_str().unwrap_or("http");
    let port = asked.port_u16().map_or_else(String::new, |port| format!(":{port}"));
    let mut all = BTreeMap::<u32, Vec<String>>::new();
    for line in answer.lines() {
        let (shard, host) = line.split_once('\t').ok_or("system.clusters has an answer of another form")?;
        let shard = shard.parse().map_err(|_| "a shard without a number")?;
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let authority: Authority =
            format!("{host}{port}").parse().map_err(|_| format!("{host} is no name of a host"))?;
        let url = format!("{scheme}://{authority}");
        if all.values().flatten().any(|known| *known == url) {
            return Err(format!(
                "several of its servers are on {host}, and all would be {url}; write sink.clickhouse.shards with the ports of their HTTP interfaces"
            ));
        }
        all.entry(shard).or_default().push(url);
    }
    Ok(all.into_values().collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use parking_lot::Mutex;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::SinkConfig;
    use crate::config::testing::Fake;

    /// A server that says what its cluster is, or nothing.
    #[derive(Default)]
    struct Server {
        cluster: Mutex<Option<&'static str>>,
        asked: AtomicU32,
    }

    impl Server {
        async fn start() -> (Arc<Server>, config::ClickHouse) {
            let (server, listener) = (Arc::new(Server::default()), TcpListener::bind("127.0.0.1:0").await.unwrap());
            let port = listener.local_addr().unwrap().port();
            let serving = server.clone();
            tokio::spawn(async move {
                while let Ok((mut client, _)) = listener.accept().await {
                    let mut said = Vec::new();
                    while !String::from_utf8_lossy(&said).contains("TabSeparatedRaw") {
                        said.push(client.read_u8().await.unwrap());
                    }
                    serving.asked.fetch_add(1, Ordering::Relaxed);
                    let Some(rows) = *serving.cluster.lock() else { continue };
                    let head =
                        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", rows.len());
                    client.write_all(format!("{head}{rows}").as_bytes()).await.unwrap();
                }
            });
            let text = format!(
                "tls: {{ plaintext: true }}\nlisten: {{ otlp: '127.0.0.1:4317' }}\nspool: none\nsink: {{ clickhouse: {{ url: 'http://127.0.0.1:{port}', \
                 password: p, cluster: c }} }}\n"
            );
            let fake = Fake::new().file("/f/otelgate.yaml", text).file("/f/keys.yaml", "keys: []\n");
            match config::load(Path::new("/f/otelgate.yaml"), &fake).unwrap().config.sink {
                SinkConfig::ClickHouse(config) => (server, config),
                SinkConfig::Forward(_) => unreachable!("it stores"),
            }
        }
    }

    /// Servers that come, go, or stand in another order while otelgate runs.
    #[tokio::test]
    async fn a_change_is_noticed_while_it_runs_and_once() {
        let (server, config) = Server::start().await;
        *server.cluster.lock() = Some("1\ta\n1\tb\n2\tc\n");
        let start = Members::read(&config).await.unwrap().unwrap();
        let (mut said, port) = (start.each(), config.urls[0].port_u16().unwrap());
        let url =
            |hosts: &[&str]| hosts.iter().map(|host| format!("http://{host}:{port}")).collect::<Vec<_>>().join(",");
        let (shard, other) = (vec![url(&["a", "b"])], vec![url(&["c"])]);
        for (now, expected) in [
            (Some("1\tc\n2\tb\n2\ta\n"), None),
            (None, None),
            (Some("1\ta\n1\tb\n2\tc\n3\td\n"), Some((vec![url(&["d"])], vec![]))),
            (Some("1\ta\n1\tb\n2\tc\n3\td\n"), None),
            (None, None),
            (Some("1\ta\n1\tb\n"), Some((vec![], other))),
            (Some("1\ta\n1\tb\n2\tc\n"), Some((vec![], vec![]))),
            (Some("1\ta\n1\tb\n1\te\n2\tc\n"), Some((vec![url(&["a", "b", "e"])], shard))),
        ] {
            *server.cluster.lock() = now;
            let until = server.asked.load(Ordering::Relaxed) + 3;
            let is_needed = || server.asked.load(Ordering::Relaxed) < until;
            let found = changed(&config, &mut said, Duration::from_millis(1), is_needed).await;
            assert_eq!(found.map(|found| difference(&start, &found)), expected, "{now:?}");
        }
    }

    fn of(answer: &str, asked: &str) -> Result<Vec<Vec<String>>, String> {
        shards(answer, &asked.parse().unwrap())
    }

    #[test]
    fn hosts_come_from_the_cluster_and_ports_from_the_address_that_was_asked() {
        let answer = "1\ta1.example\n1\ta2.example\n2\tb1.example\n2\tfd00::7\n";
        let found = of(answer, "https://a1.example:8443").unwrap();
        let expected = [["a1.example", "a2.example"], ["b1.example", "[fd00::7]"]];
        assert_eq!(found, expected.map(|shard| shard.map(|host| format!("https://{host}:8443"))));
        assert_eq!(of("1\ta\n", "http://lb").unwrap(), [["http://a"]]);
    }

    #[test]
    fn servers_that_cannot_be_told_apart_are_refused_with_what_to_write() {
        let why = of("1\tlocalhost\n2\tlocalhost\n", "http://localhost:8123").unwrap_err();
        assert!(why.contains("on localhost") && why.contains("sink.clickhouse.shards"), "{why}");
        assert!(of("1\tno host\n", "http://localhost:8123").is_err());
        assert!(of("nothing\n", "http://localhost:8123").is_err());
    }

    #[test]
    fn a_change_is_a_shard_that_came_or_went_whatever_the_order() {
        let members = |answer| Members { cluster: "c".to_owned(), shards: of(answer, "http://x:1").unwrap() };
        let before = members("1\ta\n1\tb\n2\tc\n");
        assert_eq!(difference(&before, &members("1\tc\n2\tb\n2\ta\n")), (Vec::new(), Vec::new()));
        let (new, gone) = difference(&before, &members("1\ta\n1\tb\n3\td\n"));
        assert_eq!((new, gone), (vec!["http://d:1".to_owned()], vec!["http://c:1".to_owned()]));
    }
}
