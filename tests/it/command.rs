//! What a person meets at the command line: every mistake at once, with its line and what to do about it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use stack::Certificates;

use crate::support::edge::keys_yaml;
use crate::support::otelgate;

const SINK: &str = "sink: { clickhouse: { url: 'https://c:8443', password: '${env:CLICKHOUSE_PASSWORD}' } }\n";
const NO_KEYS: &str = "keys: []\n";

/// `otelgate COMMAND --config` with these two files in `folder`.
async fn run(command: &str, folder: &Path, config: &str, keys: &str) -> Output {
    let file = folder.join("otelgate.yaml");
    fs::write(&file, config).expect("written");
    fs::write(folder.join("keys.yaml"), keys).expect("written");
    otelgate(&[command, "--config", file.to_str().expect("UTF-8")]).await
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn check_names_every_mistake_with_its_line_and_the_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = "listen: { otlp: ['0.0.0.0:4317'] }\n\
                  tls:\n  plaintext: true\n\
                  keys: { file: keys.yaml }\n\
                  limit: { requests_per_second: 5 }\n\
                  sink:\n  clickhouse: { url: 'https://c:8443', password: '${env:CLICKHOUSE_PASSWORD}' }\n  \
                  forward: { endpoint: 'http://collector:4317' }\n";
    let keys = "keys:\n  - name: shop\n    value: otg_a-key-that-everybody-reads\n";
    let output = run("check", folder.path(), config, keys).await;
    let said = said(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    let lines = [
        ("otelgate.yaml:3:", "allow_public_plaintext"),
        ("otelgate.yaml:5:", "did you mean `limits`"),
        ("otelgate.yaml:", "exactly one sink"),
        ("keys.yaml:3:", "sha256"),
    ];
    for (at, remedy) in lines {
        assert!(said.lines().any(|line| line.contains(at) && line.contains(remedy)), "no {at} {remedy} in: {said}");
    }
    assert!(said.contains("4 mistakes") && !said.contains("otg_a-key"), "{said}");
    let serve = run("serve", folder.path(), config, keys).await;
    assert_eq!(serve.status.code(), Some(2), "serve starts with mistakes");
}

/// The example for ClickStack is ready as it ships: only the certificate is somebody's own.
#[tokio::test]
async fn the_example_for_clickstack_takes_clickstacks_own_values() {
    let folder = tempfile::tempdir().expect("a folder");
    Certificates::in_folder(folder.path()).expect("certificates");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples");
    let example = |name: &str| fs::read_to_string(examples.join(name)).expect("shipped");
    fs::write(folder.path().join("clickstack-keys.yaml"), example("clickstack-keys.yaml")).expect("written");
    let file = folder.path().join("clickstack.yaml");
    fs::write(&file, example("clickstack.yaml").replace("/etc/otelgate/tls", "server")).expect("written");
    let check = |endpoint: &'static str| {
        let mut command = tokio::process::Command::new(stack::binary("otelgate").expect("built"));
        command.args(["check", "--config"]).arg(&file).env_clear().envs([
            ("OPAMP_SERVER_URL", "http://app:4320"),
            ("CLICKHOUSE_ENDPOINT", endpoint),
            ("HYPERDX_OTEL_EXPORTER_CLICKHOUSE_DATABASE", "default"),
        ]);
        async move { command.output().await.expect("runs") }
    };
    let good = check("tcp://ch-server:9000?dial_timeout=10s").await;
    assert_eq!(good.status.code(), Some(0), "{}", said(&good));
    assert!(said(&good).contains("http://ch-server:8123/"), "{}", said(&good));
    let strange = check("tcp://ch-server:19000").await;
    assert_eq!(strange.status.code(), Some(2), "{}", said(&strange));
    assert!(said(&strange).contains("clickstack.yaml:12:10: sink.clickhouse.url: "), "{}", said(&strange));
}

#[tokio::test]
async fn a_private_key_that_others_can_read_is_a_warning() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = Certificates::in_folder(folder.path()).expect("certificates");
    let config =
        format!("listen: {{ otlp: '127.0.0.1:4317' }}\ntls: {{ cert_file: server.crt, key_file: server.key }}\n{SINK}");
    let output = run("check", folder.path(), &config, &keys_yaml(&[])).await;
    assert_eq!((output.status.code(), said(&output).contains("warning")), (Some(0), false), "{}", said(&output));
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).expect("chmod");
    let output = run("check", folder.path(), &config, &keys_yaml(&[])).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("warning: ") && said(&output).contains("chmod 600"), "{}", said(&output));
}

#[tokio::test]
async fn a_new_key_is_shown_once_and_its_entry_holds_its_digest() {
    let mut keys = Vec::new();
    for _ in 0..2 {
        let output = otelgate(&["keys", "new", "--name", "shop"]).await;
        assert!(output.status.success(), "{}", said(&output));
        let text = String::from_utf8(output.stdout).expect("text");
        let key = text.lines().find_map(|line| line.strip_prefix("key: ")).expect("the key").to_owned();
        let digest = stack::digest(&key);
        assert_eq!(text.matches(&key).count(), 1, "{text}");
        assert!(text.contains(&format!("  - name: shop\n    sha256: \"{digest}\"")), "{text}");
        keys.push(key);
    }
    assert_ne!(keys[0], keys[1]);
    let refused = otelgate(&["keys", "new", "--name", "a name"]).await;
    assert_eq!(refused.status.code(), Some(2), "a mistake in the arguments");
    assert!(said(&refused).contains("letters"), "{}", said(&refused));
}

#[tokio::test]
async fn each_user_of_the_servers_has_its_statements() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("otelgate.yaml");
    let shards = "[['https://127.0.0.1:8443', {url: 'https://127.0.0.1:8444', user: of_b, password: other}], ['https://127.0.0.1:8445']]";
    let config = |shards: &str| {
        format!(
            "tls: {{ plaintext: true }}\nlisten: {{ otlp: '127.0.0.1:0' }}\nspool: none\nsink: {{ clickhouse: {{ {shards}, password: usual }} }}\n"
        )
    };
    fs::write(folder.path().join("keys.yaml"), NO_KEYS).expect("written");
    let print = async |shards: &str| {
        fs::write(&file, config(shards)).expect("written");
        let output = otelgate(&["users", "print", "--config", file.to_str().expect("UTF-8")]).await;
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    let printed = print(&format!("shards: {shards}")).await;
    let (usual, own) = printed.split_once("-- On https://127.0.0.1:8444/:\n").expect("the one with its own user");
    assert!(usual.starts_with("-- On https://127.0.0.1:8443/, https://127.0.0.1:8445/:\n"), "{printed}");
    for (statements, user, password) in [(usual, "hyperdx_ingest", "usual"), (own, "of_b", "other")] {
        let create =
            format!("CREATE USER IF NOT EXISTS {user} IDENTIFIED WITH sha256_hash BY '{}'", stack::digest(password));
        assert!(statements.contains(&create) && statements.contains(&format!("otel_logs TO {user};")), "{printed}");
    }
    assert_eq!(printed.matches("CREATE USER").count(), 3, "HyperDX's too: {printed}");
    let alone = print("url: 'https://127.0.0.1:8443'").await;
    assert!(!alone.contains("-- On ") && alone.matches("CREATE USER").count() == 2, "{alone}");
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_said_with_the_remedy() {
    let output = otelgate(&["serve", "--config", "/nowhere/otelgate.yaml"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("/nowhere/otelgate.yaml"), "{}", said(&output));

    let folder = tempfile::tempdir().expect("a folder");
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = holder.local_addr().expect("its address");
    let rest = "tls: { plaintext: true }\nspool: none\nsink: { forward: { endpoint: 'http://127.0.0.1:9' } }\n";
    for (field, other) in [("otlp", "admin"), ("admin", "otlp")] {
        let address = |field: &str, address: &str| match field {
            "otlp" => format!("otlp: ['{address}']"),
            _ => format!("admin: '{address}'"),
        };
        let listen = [address(field, &taken.to_string()), address(other, "127.0.0.1:0")].join(", ");
        let output = run("serve", folder.path(), &format!("listen: {{ {listen} }}\n{rest}"), NO_KEYS).await;
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&taken.to_string()) && said.contains(&format!("listen.{field}")), "{said}");
    }
}
