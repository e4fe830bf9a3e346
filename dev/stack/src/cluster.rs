//! A shard: two replicas, embedded ones beside a ZooKeeper, or the servers that `CLICKHOUSE_CLUSTER_URLS` names; or a server alone.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::clickhouse::Replica;
use crate::{ClickHouse, ZooKeeper, free_port};

/// Replicas of the same tables.
#[derive(Debug)]
pub struct Cluster {
    /// The replicas; each knows the other as a part of the cluster `replicas`.
    pub replicas: Vec<ClickHouse>,
    zookeeper: Option<ZooKeeper>,
}

impl Cluster {
    /// Starts a cluster with its data in `folder`, or uses the servers of `CLICKHOUSE_CLUSTER_URLS` (two, separated by commas; users and passwords as for
    /// `CLICKHOUSE_URL`). None where neither is to be had, which is said aloud.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start(folder: &Path) -> Result<Option<Cluster>> {
        if let Ok(urls) = std::env::var("CLICKHOUSE_CLUSTER_URLS") {
            let replicas: Vec<ClickHouse> = urls.split(',').map(|url| ClickHouse::at(url.trim(), folder)).collect();
            ensure!(replicas.len() == 2, "CLICKHOUSE_CLUSTER_URLS names two servers, separated by a comma");
            return Ok(Some(Cluster { replicas, zookeeper: None }));
        }
        Self::start_for(folder, &format!("{:032x}", rand::random::<u128>())).await
    }

    /// Starts an embedded cluster with its data in `folder` and this password of its user; none where that cannot be had.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start_for(folder: &Path, password: &str) -> Result<Option<Cluster>> {
        if !ZooKeeper::is_installed() {
            return Ok(None);
        }
        let zookeeper = ZooKeeper::start(&folder.join("zookeeper")).await?;
        let native = [free_port()?, free_port()?];
        let mut replicas = Vec::new();
        for (number, port) in native.into_iter().enumerate() {
            let name = format!("r{}", number + 1);
            let data = folder.join(&name);
            // The same user everywhere: clickhouse-dev takes the password that lies there.
            std::fs::create_dir_all(&data)?;
            std::fs::write(data.join("ingest.password"), password)?;
            let replica = Replica { name, zookeeper: zookeeper.port, interserver: free_port()?, cluster: native };
            replicas.push(ClickHouse::start_replica(&data, port, replica).await?);
        }
        Ok(Some(Cluster { replicas, zookeeper: Some(zookeeper) }))
    }

    /// A server whose tables have no replicas.
    pub fn alone(server: ClickHouse) -> Cluster {
        Cluster { replicas: vec![server], zookeeper: None }
    }

    /// Waits until each replica has what any of them took.
    ///
    /// # Errors
    /// One cannot be asked.
    pub async fn sync(&self, database: &str) -> Result<()> {
        for replica in &self.replicas {
            let tables =
                format!("SELECT name FROM system.tables WHERE database = '{database}' AND engine LIKE 'Replicated%'");
            for table in replica.query(&tables, "TabSeparated").await?.lines() {
                replica.query(&format!("SYSTEM SYNC REPLICA {database}.{table}"), "TabSeparated").await?;
            }
        }
        Ok(())
    }

    /// Runs a statement on each replica.
    ///
    /// # Errors
    /// One refuses it.
    pub async fn query(&self, sql: &str) -> Result<()> {
        for replica in &self.replicas {
            replica.query(sql, "TabSeparated").await?;
        }
        Ok(())
    }

    /// Whether this is an embedded cluster, whose replicas may be killed.
    pub fn is_embedded(&self) -> bool {
        self.zookeeper.is_some()
    }

    /// Ends what was started.
    ///
    /// # Errors
    /// A replica does not end.
    pub async fn stop(mut self) -> Result<()> {
        for replica in &mut self.replicas {
            replica.stop(true).await?;
        }
        Ok(())
    }
}
