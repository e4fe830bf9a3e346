//! One export: the request around the bytes of a part, and the exchange with one peer.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, TE, USER_AGENT};
use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt as _, Limited};

use super::answer::{self, Answer, Class, Failure};
use super::connect::SetupError;
use super::endpoints::Peer;
use super::refusal::certificate_refused;
use crate::blocking;
use crate::causes::causes;
use crate::config::{self, ForwardCompression, ForwardProtocol};
use crate::signal::Signal;
use crate::sink::body::Pieces;

/// Longest answer that is read.
const MAX_ANSWER: usize = 1 << 20;
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// As fast as each can: the collector is near.
const ZSTD_LEVEL: i32 = 1;
/// Fewer bytes than this are compressed where they are.
const INLINE_BYTES: usize = 32 << 10;

/// How exports are written.
#[derive(Debug)]
pub(super) struct Exporter {
    protocol: ForwardProtocol,
    compression: ForwardCompression,
    timeout: Duration,
    headers: HeaderMap,
    token: ArcSwapOption<HeaderValue>,
}

/// The body of an export, ready to be sent as often as it takes.
#[derive(Debug, Clone)]
pub(super) struct Message(Vec<Bytes>);

/// `sink.forward.token` as it is sent.
pub(super) fn token(config: &config::Forward) -> Result<Option<HeaderValue>, SetupError> {
    let Some(token) = &config.token else { return Ok(None) };
    let mut token = HeaderValue::from_str(token.expose()).map_err(|_| SetupError::Token)?;
    token.set_sensitive(true);
    Ok(Some(token))
}

impl Exporter {
    pub(super) fn new(config: &config::Forward) -> Result<Exporter, SetupError> {
        let mut headers = HeaderMap::new();
        let agent = HeaderValue::from_static(concat!("otelgate/", env!("CARGO_PKG_VERSION")));
        headers.insert(USER_AGENT, agent);
        let token = ArcSwapOption::from(token(config)?.map(Arc::new));
        let encoding = match config.compression {
            ForwardCompression::None => None,
            ForwardCompression::Gzip => Some(HeaderValue::from_static("gzip")),
            ForwardCompression::Zstd => Some(HeaderValue::from_static("zstd")),
        };
        let encoding_header = match config.protocol {
            ForwardProtocol::Grpc => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                headers.insert(TE, HeaderValue::from_static("trailers"));
                // At most eight digits (gRPC over HTTP/2, "Timeout").
                let seconds = config.timeout.as_secs().clamp(1, 99_999_999);
                let timeout = format!("{seconds}S").parse().map_err(|_| SetupError::Token)?;
                headers.insert(GRPC_TIMEOUT, timeout);
                GRPC_ENCODING
            }
            ForwardProtocol::Http => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
                CONTENT_ENCODING
            }
        };
        if let Some(encoding) = encoding {
            headers.insert(encoding_header, encoding);
        }
        let (protocol, compression, timeout) = (config.protocol, config.compression, config.timeout);
        Ok(Exporter { protocol, compression, timeout, headers, token })
    }

    /// Sends this as `authorization` from now on.
    pub(super) fn renew(&self, token: Option<HeaderValue>) {
        self.token.store(token.map(Arc::new));
    }

    /// Compresses and frames a part's bytes.
    ///
    /// # Errors
    /// The compressor fails.
    pub(super) async fn message(&self, pieces: Vec<Bytes>) -> io::Result<Message> {
        let compression = self.compression;
        let len: usize = pieces.iter().map(Bytes::len).sum();
        let pieces = match compression {
            ForwardCompression::None => pieces,
            _ if len <= INLINE_BYTES => vec![compress(compression, &pieces)?],
            _ => vec![blocking::run_io(move || compress(compression, &pieces)).await?],
        };
        Ok(Message(match self.protocol {
            ForwardProtocol::Grpc => framed(pieces, compression != ForwardCompression::None)?,
            ForwardProtocol::Http => pieces,
        }))
    }

    /// Sends a message to a peer and reads its answer.
    pub(super) async fn exchange(&self, peer: &Peer, signal: Signal, message: Message) -> Answer {
        let (body, sent) = Pieces::new(message.0);
        let mut request = Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = match self.uri(&peer.uri, signal) {
            Ok(uri) => uri,
            Err(error) => return failed(Class::Hold("check sink.forward.endpoint"), error.to_string()),
        };
        *request.headers_mut() = self.headers.clone();
        if let Some(token) = self.token.load().as_deref() {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        let exchange = async {
            let response = peer.connections.request(request).await.map_err(|error| {
                let class = match (error.is_connect(), sent.whole()) {
                    (true, _) => Class::Unreachable,
                    _ if certificate_refused(&error) => Class::Hold(answer::CREDENTIALS),
                    // It cannot have the whole request.
                    (false, false) => Class::Retry(None),
                    (false, true) => Class::Unknown,
                };
                Failure::new(class, causes(&error))
            })?;
            Ok(self.read(response).await)
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(answer) => answer.unwrap_or_else(Answer::Failed),
            Err(_) => {
                let class = if sent.whole() { Class::Unknown } else { Class::Retry(None) };
                failed(class, format!("no answer within {:?}", self.timeout))
            }
        }
    }

    async fn read(&self, response: http::Response<hyper::body::Incoming>) -> Answer {
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        match (self.protocol, body) {
            (ForwardProtocol::Grpc, Ok(body)) => {
                let trailers = body.trailers().cloned();
                answer::grpc(head.status, &head.headers, &body.to_bytes(), trailers.as_ref())
            }
            (ForwardProtocol::Grpc, Err(error)) => failed(Class::Unknown, format!("the answer was cut: {error}")),
            (ForwardProtocol::Http, body) => {
                // The status said what the body would only have explained.
                let body = body.map(|body| body.to_bytes()).unwrap_or_default();
                answer::http(head.status, &head.headers, &body)
            }
        }
    }

    /// The path of a signal, below the endpoint's own over HTTP.
    fn uri(&self, endpoint: &Uri, signal: Signal) -> Result<Uri, http::Error> {
        let path = match self.protocol {
            ForwardProtocol::Grpc => signal.grpc_path().to_owned(),
            ForwardProtocol::Http => format!("{}{}", endpoint.path().trim_end_matches('/'), signal.http_path()),
        };
        let (Some(scheme), Some(authority)) = (endpoint.scheme().cloned(), endpoint.authority().cloned()) else {
            return Uri::builder().build();
        };
        Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build()
    }
}

fn failed(class: Class, why: String) -> Answer {
    Answer::Failed(Failure::new(class, why))
}

/// One whole member or frame: several are allowed by both formats, and some servers read only the first.
fn compress(compression: ForwardCompression, pieces: &[Bytes]) -> io::Result<Bytes> {
    let len: usize = pieces.iter().map(Bytes::len).sum();
    let mut out = Vec::with_capacity(len / 4 + 64);
    match compression {
        ForwardCompression::None => pieces.iter().for_each(|piece| out.extend_from_slice(piece)),
        ForwardCompression::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
            pieces.iter().try_for_each(|piece| gzip.write_all(piece))?;
            gzip.finish()?;
        }
        ForwardCompression::Zstd => {
            let mut zstd = zstd::stream::write::Encoder::new(&mut out, ZSTD_LEVEL)?;
            zstd.set_pledged_src_size(u64::try_from(len).ok())?;
            pieces.iter().try_for_each(|piece| zstd.write_all(piece))?;
            zstd.finish()?;
        }
    }
    Ok(out.into())
}

/// A gRPC message: whether it is compressed, its length in four bytes, itself.
fn framed(mut pieces: Vec<Bytes>, compressed: bool) -> io::Result<Vec<Bytes>> {
    let len: usize = pieces.iter().map(Bytes::len).sum();
    let len = u32::try_from(len).map_err(|_| io::Error::other("a gRPC message over 4 GiB"))?;
    let [a, b, c, d] = len.to_be_bytes();
    pieces.insert(0, Bytes::copy_from_slice(&[u8::from(compressed), a, b, c, d]));
    Ok(pieces)
}
