//! A replica for tests: an engine that keeps its tables' parts in step with others through a ZooKeeper.
//!
//! The library is ClickHouse's "local" program, which reads `<zookeeper>`, `<macros>` and `<remote_servers>` but lacks two things: it never
//! learns its own address among servers, so that a Replicated table stays read-only, and it serves no parts to other replicas. [`mod@patch`]
//! gives it the address, [`exchange`] serves the parts.

mod exchange;
mod patch;

use std::net::TcpListener;

use anyhow::Context;
use clap::Args as Group;

pub(crate) use patch::patch;

/// What makes the engine a replica.
#[derive(Debug, Clone, Group)]
pub(crate) struct ReplicaArgs {
    /// Makes the engine a replica of this name, of the one shard of the cluster `replicas`; needs the three options after it and --tcp-port.
    #[arg(long, requires_all = ["zookeeper", "interserver_port", "cluster_ports", "tcp_port"])]
    pub(crate) replica: Option<String>,
    /// HOST:PORT of a ZooKeeper.
    #[arg(long)]
    zookeeper: Option<String>,
    /// Port on loopback where other replicas fetch parts.
    #[arg(long)]
    pub(crate) interserver_port: Option<u16>,
    /// Native ports of all replicas on loopback.
    #[arg(long = "cluster-port")]
    cluster_ports: Vec<u16>,
}

impl ReplicaArgs {
    /// Sections of config.xml; none when the engine is no replica.
    ///
    /// # Errors
    /// The ZooKeeper's address has no port.
    pub(crate) fn config_xml(&self) -> anyhow::Result<String> {
        let Some(name) = &self.replica else { return Ok(String::new()) };
        let (host, port) = self
            .zookeeper
            .as_deref()
            .and_then(|address| address.split_once(':'))
            .context("--zookeeper is HOST:PORT")?;
        let replicas: String = self
            .cluster_ports
            .iter()
            .map(|port| format!("<replica><host>127.0.0.1</host><port>{port}</port></replica>"))
            .collect();
        Ok(format!(
            "  <zookeeper>
    <node><host>{host}</host><port>{port}</port></node>
    <sessions_path>/clickhouse/sessions/{name}</sessions_path>
    <session_timeout_ms>6000</session_timeout_ms>
  </zookeeper>
  <macros><shard>1</shard><replica>{name}</replica><cluster>replicas</cluster></macros>
  <remote_servers><replicas><shard><internal_replication>true</internal_replication>{replicas}</shard></replicas></remote_servers>
"
        ))
    }

    /// Serves this engine's parts to other replicas, from threads of their own; HTTP at `http` is the engine's.
    ///
    /// # Errors
    /// The port is taken.
    pub(crate) fn serve(&self, http: u16) -> anyhow::Result<()> {
        let (Some(_), Some(port)) = (&self.replica, self.interserver_port) else { return Ok(()) };
        let listener = TcpListener::bind(("127.0.0.1", port));
        let listener = listener.with_context(|| format!("cannot listen on 127.0.0.1:{port} for other replicas"))?;
        std::thread::spawn(move || exchange::serve(&listener, http));
        Ok(())
    }
}
