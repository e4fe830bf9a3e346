//! Sends the same requests to both sides.

use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;

/// Requests in flight: without a spool an answer waits for its batch.
const IN_FLIGHT: usize = 64;

/// Sends each body to `path` of the address until it is accepted.
pub(crate) async fn send_all(base: &str, path: &str, key: &str, bodies: &[Vec<u8>]) -> Result<()> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut sending = JoinSet::new();
    for body in bodies {
        if sending.len() >= IN_FLIGHT
            && let Some(sent) = sending.join_next().await
        {
            sent??;
        }
        sending.spawn(send(client.clone(), format!("{base}{path}"), key.to_owned(), body.clone().into()));
    }
    while let Some(sent) = sending.join_next().await {
        sent??;
    }
    Ok(())
}

async fn send(client: Client<HttpConnector, Full<Bytes>>, uri: String, key: String, body: Bytes) -> Result<()> {
    for _ in 0..20 {
        let request = http::Request::post(&uri)
            .header("content-type", "application/x-protobuf")
            .header("authorization", &key)
            .body(Full::new(body.clone()))?;
        let response = client.request(request).await?;
        let status = response.status().as_u16();
        match status {
            200 => return Ok(()),
            429 | 503 => tokio::time::sleep(Duration::from_secs(1)).await,
            _ => {
                let answer = response.into_body().collect().await?.to_bytes();
                bail!("{uri} answered {status}: {}", String::from_utf8_lossy(&answer));
            }
        }
    }
    bail!("{uri} was not ready in 20 s")
}
