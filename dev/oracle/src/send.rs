//! Sends the same requests to both sides.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use otlp_client::{Call, Client, Protocol, Signal};
use tokio::task::JoinSet;

/// Requests in flight: without a spool an answer waits for its batch.
const IN_FLIGHT: usize = 64;

/// Sends each body to the address until it is accepted.
pub(crate) async fn send_all(base: &str, signal: Signal, key: &str, bodies: &[Vec<u8>]) -> Result<()> {
    let client = Arc::new(Client::new(base, None, false)?);
    let mut sending = JoinSet::new();
    for body in bodies {
        if sending.len() >= IN_FLIGHT
            && let Some(sent) = sending.join_next().await
        {
            sent??;
        }
        sending.spawn(send(client.clone(), Call::export(Protocol::HttpProtobuf, signal, key, body.clone())));
    }
    while let Some(sent) = sending.join_next().await {
        sent??;
    }
    Ok(())
}

async fn send(client: Arc<Client>, call: Call) -> Result<()> {
    for _ in 0..20 {
        let answer = client.try_send(call.clone()).await?;
        match answer.status {
            200 => return Ok(()),
            429 | 503 => tokio::time::sleep(Duration::from_secs(1)).await,
            status => bail!("{} answered {status}: {}", call.path, String::from_utf8_lossy(&answer.body)),
        }
    }
    bail!("{} was not ready in 20 s", call.path)
}
