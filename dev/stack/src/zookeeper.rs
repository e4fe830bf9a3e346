//! A ZooKeeper of one server, out of the distribution's package (`apt-get install zookeeper`, which brings Java).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::free_port;

/// Where Debian's packages put Java libraries.
const JARS: &str = "/usr/share/java";

/// A running ZooKeeper; killed when dropped.
#[derive(Debug)]
pub struct ZooKeeper {
    /// Its port on loopback.
    pub port: u16,
    _child: Child,
}

impl ZooKeeper {
    /// Whether it can be started here; says aloud when it cannot.
    pub fn is_installed() -> bool {
        let java =
            std::process::Command::new("java").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        let installed = java.is_ok_and(|java| java.success()) && Path::new(JARS).join("zookeeper.jar").exists();
        if !installed {
            #[allow(clippy::print_stderr, reason = "a skipped test is said aloud")]
            {
                eprintln!("SKIPPED: no ZooKeeper is installed here (apt-get install zookeeper), which replicas need");
            }
        }
        installed
    }

    /// Starts it with its data in `folder`.
    ///
    /// # Errors
    /// It does not start; its log is named.
    pub async fn start(folder: &Path) -> Result<ZooKeeper> {
        std::fs::create_dir_all(folder)?;
        let port = free_port()?;
        let config = folder.join("zoo.cfg");
        let text = format!(
            "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\ntickTime=1000\nmaxClientCnxns=0\nsyncLimit=5\ninitLimit=10\n",
            folder.join("data").display()
        );
        std::fs::write(&config, text)?;
        let log = folder.join("zookeeper.log");
        let output = std::fs::File::create(&log)?;
        let child = Command::new("java")
            .args(["-Xmx256m", "-Dzookeeper.admin.enableServer=false", "-cp", &class_path()?])
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start java")?;
        for _ in 0..300 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Ok(ZooKeeper { port, _child: child });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("ZooKeeper does not listen; its log is {}", log.display())
    }
}

/// All jars that are there: which of them a package's ZooKeeper needs differs from release to release.
fn class_path() -> Result<String> {
    let jars: Vec<PathBuf> = std::fs::read_dir(JARS)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jar"))
        .collect();
    Ok(jars.iter().map(|jar| jar.to_string_lossy()).collect::<Vec<_>>().join(":"))
}
