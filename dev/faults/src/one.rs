//! One client that sends one request after another, each as soon as the one before it is accepted: so each lies in a frame of its own.

use std::time::Duration;

use anyhow::{Result, ensure};
use otlp_client::{Protocol, Signal, Target};

use crate::client::{self, Said, target};
use crate::crowd::{Fate, Ledger};
use crate::requests::Requests;
use crate::rig::Rig;

/// The client, and what it was told.
pub(crate) struct One {
    target: Target,
    requests: Requests,
    pub(crate) ledger: Ledger,
}

impl One {
    pub(crate) fn new(rig: &Rig, seed: u64) -> Result<One> {
        let target = target(rig.port, &rig.key.key, Protocol::HttpProtobuf, false, Some(&rig.certificates))?;
        Ok(One { target, requests: Requests::new(0, Protocol::HttpProtobuf, seed), ledger: Ledger::default() })
    }

    /// Sends so many requests, of one signal or of all in turn. Each must be accepted.
    pub(crate) async fn send(&mut self, count: usize, only: Option<Signal>) -> Result<()> {
        let mut connection = self.target.connect().await?;
        let mut sent = 0;
        while sent < count {
            let mut request = self.requests.make();
            if only.is_some_and(|only| only != request.signal) {
                continue;
            }
            let said = client::send(&mut connection, &self.target, &request).await?;
            ensure!(said == Said::Accepted, "{said:?}");
            request.body.clear();
            self.ledger.requests.push((request, Fate::Accepted));
            sent += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}
