//! What lies in deploy/ is what its documentation says: checked by the tools that read it, where they are there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use stack::Certificates;

use crate::support::{otelgate, skipped};

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)).expect("shipped")
}

fn stand_in(folder: &Path) -> PathBuf {
    let unit = file("systemd/otelgate.service").replace("/usr/local/bin/otelgate", "/bin/true");
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

#[tokio::test]
async fn the_configuration_beside_the_units_fits_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().to_str().expect("UTF-8");
    let made = Certificates::in_folder(folder.path()).expect("certificates");
    fs::create_dir(folder.path().join("tls")).expect("a folder");
    fs::copy(&made.certificate, folder.path().join("tls/server.crt")).expect("copied");
    fs::write(folder.path().join("clickhouse-password"), "secret\n").expect("written");
    fs::write(folder.path().join("keys.yaml"), "keys: []\n").expect("written");
    let text = file("systemd/otelgate.yaml");
    let config = folder.path().join("otelgate.yaml");
    fs::write(&config, text.replace("/run/credentials/otelgate.service", dir)).expect("written");
    let output = otelgate(&["check", "--config", config.to_str().expect("UTF-8")]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
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
#[tokio::test]
async fn the_configuration_in_the_compose_file_is_one() {
    let text = file("compose/otelgate.yaml");
    let (_, rest) = text.split_once("    content: |\n").expect("the configuration");
    let lines = rest.lines().take_while(|line| line.starts_with("      "));
    let config: String = lines.map(|line| format!("{}\n", &line[6..])).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let made = Certificates::in_folder(folder.path()).expect("certificates");
    let password = folder.path().join("clickhouse-password");
    fs::write(&password, "secret\n").expect("written");
    let config = config
        .replace("/etc/otelgate/server.crt", &made.certificate.display().to_string())
        .replace("/run/secrets/server.key", &made.key.display().to_string())
        .replace("/run/secrets/clickhouse-password", &password.display().to_string())
        // Compose takes a dollar for itself.
        .replace("$$", "$");
    let path = folder.path().join("otelgate.yaml");
    fs::write(&path, config).expect("written");
    let output = otelgate(&["check", "--config", path.to_str().expect("UTF-8")]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("otel-collector:\n    ports: !reset []\n"), "the collector stays published");
}
