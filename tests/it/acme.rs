//! Certificates that are ordered, from Pebble: the test directory of Let's Encrypt's own people, which looks whether the names lead here.

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use otelgate::signal::Signal;
use stack::{Certificates, Config, Gateway, Key, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::support::client::Protocol;
use crate::support::requests::numbered;
use crate::support::{get_text, skipped};

const KEY: &str = "acme-5d1f7e90a3c2";
const VERSION: &str = "2.10.3";
/// How long a certificate counts, in seconds; it is renewed when a third of that is left.
const VALID: u64 = 24;
/// The same where what happens before the renewal takes longer.
const VALID_FOR_TWO: u64 = 60;

/// Pebble's program, from the cache or from the Go module; none where there is neither.
async fn program() -> Option<PathBuf> {
    let cache = PathBuf::from(std::env::var_os("HOME")?).join(".cache/otelgate");
    let program = cache.join(format!("pebble-{VERSION}"));
    if !program.is_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let module = format!("github.com/letsencrypt/pebble/v2/cmd/pebble@v{VERSION}");
        let built = Command::new("go").args(["install", &module]).env("GOBIN", folder.path()).status().await;
        built.ok().filter(std::process::ExitStatus::success)?;
        std::fs::create_dir_all(&cache).ok()?;
        std::fs::copy(folder.path().join("pebble"), &program).ok()?;
    }
    Some(program)
}

/// Says that every name is this machine. Over TCP, as Pebble asks.
async fn dns() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                while let Ok(length) = client.read_u16().await {
                    let mut query = vec![0; length.into()];
                    client.read_exact(&mut query).await.expect("a query");
                    // RFC 1035: a header of 12 bytes, then the name, its type and its class.
                    let end = 12 + query[12..].iter().position(|byte| *byte == 0).expect("a name") + 5;
                    let is_a = query[end - 4..end - 2] == [0, 1];
                    let head = [0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0];
                    let mut answer = [&query[..2], &head, &query[12..end]].concat();
                    if is_a {
                        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
                    }
                    client.write_u16(u16::try_from(answer.len()).expect("short")).await.expect("sent");
                    client.write_all(&answer).await.expect("sent");
                }
            });
        }
    });
    address
}

struct Pebble {
    folder: PathBuf,
    certificates: Certificates,
    port: u16,
    management: u16,
}

impl Pebble {
    /// Where it will be; nobody is there yet.
    fn at(folder: &Path) -> Pebble {
        let folder = folder.join("pebble");
        std::fs::create_dir(&folder).expect("a folder");
        let certificates = Certificates::in_folder(&folder).expect("certificates");
        Pebble { folder, certificates, port: free_port().expect("a port"), management: free_port().expect("a port") }
    }

    fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    async fn start(&self, program: &Path, tls: u16, http: u16, valid: u64) -> Child {
        self.start_with(program, tls, http, valid, serde_json::json!({})).await
    }

    /// The same with more settings.
    async fn start_with(&self, program: &Path, tls: u16, http: u16, valid: u64, more: serde_json::Value) -> Child {
        let mut config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.port),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": self.certificates.certificate, "privateKey": self.certificates.key,
            "httpPort": http, "tlsPort": tls, "retryAfter": { "authz": 1, "order": 1 },
            "keyAlgorithm": "ecdsa",
            "profiles": { "default": { "description": "for a short time", "validityPeriod": valid } },
        }});
        config["pebble"].as_object_mut().expect("an object").extend(more.as_object().expect("settings").clone());
        let file = self.folder.join("config.json");
        std::fs::write(&file, config.to_string()).expect("written");
        let log = std::fs::File::create(self.folder.join("log")).expect("a log");
        let mut command = Command::new(program);
        command.arg("-config").arg(file).arg("-dnsserver").arg(dns().await.to_string());
        command.env_remove("PEBBLE_VA_ALWAYS_VALID").env("PEBBLE_VA_NOSLEEP", "1");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log).kill_on_drop(true);
        command.spawn().expect("Pebble starts")
    }

    /// The CA that it signs with, which is new with each start.
    async fn root(&self) -> Option<reqwest::Certificate> {
        let ca = std::fs::read(&self.certificates.ca).expect("the CA");
        let ca = reqwest::Certificate::from_pem(&ca).expect("PEM");
        let client = reqwest::Client::builder().tls_certs_only([ca]).build().expect("a client");
        let asked = client.get(format!("https://127.0.0.1:{}/roots/0", self.management)).send().await.ok()?;
        reqwest::Certificate::from_pem(&asked.bytes().await.ok()?).ok()
    }
}

async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < Duration::from_secs(90), "{what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn edge(folder: &Path, pebble: &Pebble, domain: &str, challenge: &str) -> Gateway {
    let (directory, ca) = (pebble.directory(), pebble.certificates.ca.display());
    let acme = format!("domains: [{domain}], email: ops@{domain}, directory: \"{directory}\", ca_file: {ca}");
    let config = Config::new(folder, domain).tls_section(&format!("acme: {{ {acme}, {challenge} }}"));
    let config = config.forward("http://127.0.0.1:9", "grpc").spool().key(&Key::known("all", KEY));
    config.start().await.unwrap_or_else(|error| panic!("{error:#}"))
}

/// Sends something to a name; the status, or why there is no connection.
async fn send(edge: &Gateway, domain: &str, root: &reqwest::Certificate) -> Result<u16, String> {
    let address: SocketAddr = edge.otlp[0].trim_start_matches("https://").parse().expect("an address");
    let client = reqwest::Client::builder().tls_certs_only([root.clone()]).resolve(domain, address);
    let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "acme", 0, 1);
    let url = format!("https://{domain}:{}/v1/logs", address.port());
    let request = client.build().expect("a client").post(url).header("authorization", KEY);
    let answer = request.header("content-type", "application/x-protobuf").body(body).send().await;
    answer.map(|answer| answer.status().as_u16()).map_err(|error| {
        let (mut said, mut cause) = (error.to_string(), error.source());
        while let Some(error) = cause {
            said += &format!(": {error}");
            cause = error.source();
        }
        said
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_ordered_kept_and_renewed() {
    let Some(program) = program().await else {
        return skipped("certificates from a directory: neither Pebble nor Go is here");
    };
    let folder = tempfile::tempdir().expect("a folder");
    let pebble = Pebble::at(folder.path());
    let http = free_port().expect("a port");
    let over_tls = edge(folder.path(), &pebble, "a.test", "challenge: tls-alpn-01").await;
    let over_http = edge(folder.path(), &pebble, "b.test", &format!("http: \"127.0.0.1:{http}\"")).await;
    let both = [(&over_tls, "a.test"), (&over_http, "b.test")];

    // Nobody is there who signs: it says so, and goes on.
    for (edge, _) in both {
        let why = until("a reason", async || {
            let (status, text) = get_text(&edge.admin, "/readyz").await;
            text.contains("no certificate: no certificate yet: the directory").then_some((status, text))
        });
        assert_eq!(why.await.0, 503);
    }
    let ca = std::fs::read(&pebble.certificates.ca).expect("the CA");
    let anybody = reqwest::Certificate::from_pem(&ca).expect("PEM");
    let refused = send(&over_tls, "a.test", &anybody).await.expect_err("no certificate");
    assert!(refused.contains("AccessDenied"), "{refused}");

    let tls = over_tls.otlp[0].rsplit(':').next().expect("a port").parse().expect("a port");
    let _running = pebble.start(&program, tls, http, VALID).await;
    let root = until("Pebble's root", async || pebble.root().await).await;
    for (edge, domain) in both {
        until("ready", async || (get_text(&edge.admin, "/readyz").await.0 == 200).then_some(())).await;
        until("an answer", async || (send(edge, domain, &root).await == Ok(200)).then_some(())).await;
    }
    if std::env::var_os("ACME_RENEWAL").is_none() {
        return skipped("renewal of a certificate from a directory: `make test-acme` waits for it");
    }
    let renewed = "otelgate_acme_orders_total{outcome=\"ok\"} 2";
    for (edge, domain) in both {
        until("renewed", async || get_text(&edge.admin, "/metrics").await.1.contains(renewed).then_some(())).await;
        until("an answer", async || (send(edge, domain, &root).await == Ok(200)).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_knows_its_accounts_gives_one_to_whoever_has_the_right_external_key() {
    let Some(program) = program().await else {
        return skipped("certificates from a directory: neither Pebble nor Go is here");
    };
    let folder = tempfile::tempdir().expect("a folder");
    let pebble = Pebble::at(folder.path());
    let of = |key: &str| format!("challenge: tls-alpn-01, eab: {{ key_id: shop, hmac_key: {key} }}");
    let (right, wrong) =
        ("cmlnaHQtcmlnaHQtcmlnaHQtcmlnaHQtcmlnaHQtcmlnaHQh", "d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmch");
    let edges = [("d.test", of(right)), ("e.test", of(wrong)), ("f.test", "challenge: tls-alpn-01".to_owned())];
    let mut started = Vec::new();
    for (domain, settings) in &edges {
        started.push(edge(folder.path(), &pebble, domain, settings).await);
    }
    let tls = started[0].otlp[0].rsplit(':').next().expect("a port").parse().expect("a port");
    let external =
        serde_json::json!({ "externalAccountBindingRequired": true, "externalAccountMACKeys": { "shop": right } });
    let _running = pebble.start_with(&program, tls, free_port().expect("a port"), VALID_FOR_TWO, external).await;
    let root = until("Pebble's root", async || pebble.root().await).await;
    until("an answer", async || (send(&started[0], "d.test", &root).await == Ok(200)).then_some(())).await;
    for edge in &started[1..] {
        let refused = "no certificate yet: the directory";
        let why = until("a refusal", async || {
            let (_, text) = get_text(&edge.admin, "/readyz").await;
            (text.contains(refused) && text.contains("xternal")).then_some(text)
        });
        let why = why.await;
        assert!(!why.contains(wrong), "{why}");
    }
}

/// As a balancer that knows nothing of TLS: connections go to one after the other, or to the one that is there.
async fn balancer(behind: [SocketAddr; 2]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let mut order = behind;
        while let Ok((mut client, _)) = listener.accept().await {
            order.reverse();
            tokio::spawn(async move {
                for address in order {
                    if let Ok(mut server) = TcpStream::connect(address).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                        return;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_share_a_folder_order_once_and_either_renews() {
    let Some(program) = program().await else {
        return skipped("certificates from a directory: neither Pebble nor Go is here");
    };
    let folder = tempfile::tempdir().expect("a folder");
    let pebble = Pebble::at(folder.path());
    let shared = format!("challenge: tls-alpn-01, cache_dir: {}", folder.path().join("shared").display());
    let start = async |name: &str| {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        edge(&folder, &pebble, "c.test", &shared).await
    };
    let mut both = vec![start("one").await, start("two").await];
    let address = |edge: &Gateway| edge.otlp[0].trim_start_matches("https://").parse().expect("an address");
    let tls = balancer([address(&both[0]), address(&both[1])]).await;
    let _running = pebble.start(&program, tls, free_port().expect("a port"), VALID_FOR_TWO).await;
    let root = until("Pebble's root", async || pebble.root().await).await;
    for edge in &both {
        until("ready", async || (get_text(&edge.admin, "/readyz").await.0 == 200).then_some(())).await;
        until("an answer", async || (send(edge, "c.test", &root).await == Ok(200)).then_some(())).await;
    }
    let ordered = async |edge: &Gateway| {
        let (_, metrics) = get_text(&edge.admin, "/metrics").await;
        let orders = metrics.lines().find_map(|line| line.strip_prefix("otelgate_acme_orders_total{outcome=\"ok\"} "));
        orders.map_or(0, |orders| orders.parse::<u64>().expect("a number"))
    };
    let orders = [ordered(&both[0]).await, ordered(&both[1]).await];
    assert_eq!(orders[0] + orders[1], 1, "{orders:?}");
    if std::env::var_os("ACME_RENEWAL").is_none() {
        return skipped("renewal by the one that is left: `make test-acme` waits for it");
    }
    let first = both.swap_remove(usize::from(orders[1] == 1));
    first.process.kill().await.expect("killed");
    let left = &both[0];
    until("renewed", async || (ordered(left).await == 1).then_some(())).await;
    until("an answer", async || (send(left, "c.test", &root).await == Ok(200)).then_some(())).await;
}
