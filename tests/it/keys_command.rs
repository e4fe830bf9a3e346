//! `otelgate keys` changes keys.yaml under a running otelgate: what a person wrote there stays, and nobody is refused in between.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use otelgate::signal::Signal;

use crate::support::client::{Call, Client, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually, otelgate};

async fn status(client: &Client, key: &str) -> u16 {
    let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "keys_command", 0, 1);
    client.send(Call::export(Protocol::HttpProtobuf, Signal::Logs, key, body)).await.status
}

/// The key in the output of a command that made one; it stands nowhere else.
fn key_of(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let key = out.strip_prefix("key: ").expect("the key alone").trim_end().to_owned();
    assert!(key.starts_with("otg_") && !err.contains(&key), "{out}{err}");
    key
}

#[tokio::test]
async fn a_key_is_added_rotated_and_revoked_while_it_serves() {
    let clickhouse = clickhouse().await;
    let socket = tempfile::tempdir().expect("a folder");
    let sections = format!("admin: {{ socket: {}/admin.sock }}\n", socket.path().display());
    let edge = Edge::start(clickhouse, Setup { name: "keys_command", sections: &sections, ..Setup::default() }).await;
    let (client, file, config) = (edge.client(true), edge.keys_file(), edge.config());
    let config = config.to_str().expect("UTF-8");
    let text = fs::read_to_string(&file).expect("there");
    fs::write(&file, format!("# Ours.\n{text}    # the one for all\n\n# The end.\n")).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("chmod");

    let first = key_of(&otelgate(&["keys", "new", "--name", "shop", "--write", "--config", config]).await);
    assert_eq!(eventually(200, || status(&client, &first)).await, 200, "{}", edge.logged());
    let second = key_of(&otelgate(&["keys", "rotate", "shop", "--config", config]).await);
    assert_eq!(eventually(200, || status(&client, &second)).await, 200, "{}", edge.logged());
    assert_eq!(status(&client, &first).await, 200, "the old one is good for a day");
    let revoked = otelgate(&["keys", "revoke", "shop", "--file", file.to_str().expect("UTF-8")]).await;
    let said = String::from_utf8_lossy(&revoked.stderr).into_owned();
    assert!(revoked.status.success() && said.contains("shop.old-1 is still good"), "{said}");
    assert_eq!(eventually(401, || status(&client, &second)).await, 401);
    assert_eq!((status(&client, &first).await, status(&client, KEY).await), (200, 200));
    // At once, and with what remains of the rest.
    let third = key_of(&otelgate(&["keys", "rotate", "shop.old-1", "--grace", "0s", "--config", config]).await);
    assert_eq!(eventually(200, || status(&client, &third)).await, 200);
    assert_eq!(status(&client, &first).await, 401);

    let text = fs::read_to_string(&file).expect("there");
    assert!(text.starts_with("# Ours.\n") && text.ends_with("\n\n# The end.\n"), "{text}");
    assert!(text.contains("    # the one for all\n  - name: shop\n    enabled: false\n"), "{text}");
    assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o640);
    for key in [first, second, third] {
        assert!(!text.contains(&key) && !edge.logged().contains(&key), "a key is written down");
    }

    let list = otelgate(&["keys", "list", "--config", config]).await;
    let (out, err) = (String::from_utf8_lossy(&list.stdout), String::from_utf8_lossy(&list.stderr));
    assert!(list.status.success() && err.is_empty(), "{err}");
    let row = |name: &str| out.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap_or_default();
    let this_year = jiff::Timestamp::now().to_string()[..4].to_owned();
    let used = |row: &str| row.split_whitespace().last().is_some_and(|used| used.starts_with(&this_year));
    assert!(row("all").contains(" file ") && row("all").contains(" valid ") && row("all").contains("1000/s"), "{out}");
    assert!(used(row("all")) && used(row("shop")) && row("shop").contains(" disabled "), "{out}");
    edge.stop().await;
}

#[tokio::test]
async fn what_cannot_be_done_exits_2_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("keys.yaml");
    let path = file.to_str().expect("UTF-8");
    let text = "keys:\n  - { name: shop, sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa }\n";
    fs::write(&file, text).expect("written");
    let missing = folder.path().join("missing.yaml");
    let missing = missing.to_str().expect("UTF-8");
    for (arguments, says) in [
        (&["revoke", "nobody", "--file", path][..], "no key is named nobody"),
        (&["rotate", "nobody", "--file", path], "no key is named nobody"),
        (&["rotate", "shop", "--file", path, "--grace", "soon"], "is not a time"),
        (&["new", "--name", "shop", "--write", "--file", path], "named shop already"),
        (&["new", "--name", "two words", "--write", "--file", path], "is not a name"),
        (&["new", "--name", "shop", "--write"], "--config FILE"),
        (&["list", "--config", missing], "cannot be read"),
        (&["revoke", "shop", "--config", missing], "cannot be read"),
    ] {
        let mut command = tokio::process::Command::new(stack::binary("otelgate").expect("built"));
        let output = command.arg("keys").args(arguments).env_remove("OTELGATE_CONFIG").output().await.expect("runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.contains(says)), (Some(2), true), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    assert_eq!(fs::read_to_string(&file).expect("there"), text);
    // Where nothing runs, the file says what there is; the rest of the configuration is nothing to it.
    let config = folder.path().join("otelgate.yaml");
    fs::write(&config, "listen: { admin: '127.0.0.1:0' }\nsink: { clickhouse: { password: '${env:NOT_SET}' } }\n")
        .expect("written");
    let list = otelgate(&["keys", "list", "--config", config.to_str().expect("UTF-8")]).await;
    let (out, err) = (String::from_utf8_lossy(&list.stdout), String::from_utf8_lossy(&list.stderr));
    assert!(list.status.success() && err.contains("nothing listens") && out.contains("shop"), "{out}{err}");
    assert!(out.contains(" traces,logs,metrics "), "ClickHouse takes no profiles: {out}");
    fs::write(&file, "keys: [{ name: x }]\n").expect("written");
    let output = otelgate(&["keys", "revoke", "x", "--file", path]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("keys.yaml:1:"), "{said}");
}

#[test]
fn hash_reads_a_key_and_says_its_digest() {
    let hash = |input: &str| {
        let mut command = Command::new(stack::binary("otelgate").expect("built"));
        command.args(["keys", "hash"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("runs");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("taken");
        child.wait_with_output().expect("ends")
    };
    for input in ["a-key-of-some-length", "a-key-of-some-length\n", "a-key-of-some-length\r\n"] {
        let digest = format!("{}\n", stack::digest("a-key-of-some-length"));
        assert_eq!(String::from_utf8_lossy(&hash(input).stdout), digest);
    }
    for input in ["", "short", "two words of some length", "a-key-of-some-length\nand-another-one"] {
        let output = hash(input);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
        assert!(input.is_empty() || !said.contains(input), "{said}");
    }
}
