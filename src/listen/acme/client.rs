//! HTTP to the directory: with the same trust and connector as the other clients, a time for each request, and an end to each answer.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Limited;
use hyper_util::client::legacy::Client as Http;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use crate::https::Connector;

const PATIENCE: Duration = Duration::from_secs(30);
const LARGEST_ANSWER: usize = 1 << 20;

/// What asks the directory.
pub(super) struct Client(Http<Connector, BodyWrapper<Bytes>>);

impl Client {
    pub(super) fn new(connector: Connector) -> Client {
        Client(Http::builder(TokioExecutor::new()).build(connector))
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let asking = tokio::time::timeout(PATIENCE, self.0.request(request));
        Box::pin(async move {
            match asking.await {
                Ok(Ok(answer)) => Ok(BytesResponse::from(answer.map(|body| Limited::new(body, LARGEST_ANSWER)))),
                Ok(Err(error)) => Err(Error::Other(Box::new(error))),
                Err(late) => Err(Error::Other(Box::new(late))),
            }
        })
    }
}
