//! What a stranger is told at a port who shows nothing: whether MongoDB, ClickHouse, HyperDX's OpAMP and the collector let in whoever comes, over TLS or
//! without. Nothing is written: requests carry no record, statements read.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::any_certificate;

/// For a connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of an answer that are looked at.
const ENOUGH: usize = 16 << 10;

/// What a port does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nobody answers.
    Closed,
    /// Somebody takes connections, and does not let a stranger in as far as can be told.
    Open(Transport),
    /// It does what a stranger asks for.
    LetsIn(Transport),
}

/// What can be read on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// No handshake of TLS came about.
    Plain,
    /// One did.
    Tls,
}

/// Knocks: with TLS first, which leaves a plain port as it was.
pub(super) async fn at(host: &str, port: u16) -> Seen {
    knock(host, port, port).await
}

/// At this port, for what usually listens on `usual`.
async fn knock(host: &str, port: u16, usual: u16) -> Seen {
    let Some(stream) = connect(host, port).await else { return Seen::Closed };
    let protocol: &[u8] = match usual {
        4317 => b"h2",
        4318 | 4320 | 8000 | 8080 | 8123 | 8443 => b"http/1.1",
        _ => b"",
    };
    let secure = tokio::time::timeout(PATIENCE, any_certificate::handshake(stream, host, protocol)).await;
    let (transport, lets_in) = match secure.ok().flatten() {
        Some(stream) => (Transport::Tls, tokio::time::timeout(PATIENCE, ask(stream, usual)).await),
        None => {
            let Some(stream) = connect(host, port).await else { return Seen::Open(Transport::Plain) };
            (Transport::Plain, tokio::time::timeout(PATIENCE, ask(stream, usual)).await)
        }
    };
    match lets_in {
        Ok(Some(true)) => Seen::LetsIn(transport),
        _ => Seen::Open(transport),
    }
}

/// Whether what usually listens on this port lets in who is connected; none where it does not answer as that does.
async fn ask(stream: impl Stream, port: u16) -> Option<bool> {
    match port {
        8123 | 8443 => http1(stream, Method::GET, "/?query=SELECT%201", "", b"").await,
        4318 => http1(stream, Method::POST, "/v1/logs", "application/json", b"{}").await,
        4320 => http1(stream, Method::POST, "/v1/opamp", "application/x-protobuf", b"").await,
        4317 => grpc(stream).await,
        9000 | 9440 => native(stream).await,
        27017 => mongo(stream).await,
        _ => Some(false),
    }
}

/// A connection, with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

async fn connect(host: &str, port: u16) -> Option<TcpStream> {
    tokio::time::timeout(PATIENCE, TcpStream::connect((host, port))).await.ok()?.ok()
}

/// Whether one request in plain HTTP is answered well.
async fn http1(
    stream: impl Stream,
    method: Method,
    path: &str,
    content_type: &str,
    body: &'static [u8],
) -> Option<bool> {
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", "otelgate-doctor");
    let request = request.header("content-type", content_type).body(Full::new(Bytes::from_static(body))).ok()?;
    Some(client.send_request(request).await.ok()?.status().is_success())
}

/// Whether a request without a record and without a key is taken: gRPC's status 0.
async fn grpc(stream: impl Stream) -> Option<bool> {
    let io = TokioIo::new(stream);
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.ok()?;
    tokio::spawn(connection);
    let request = Request::post("http://otelgate-doctor/opentelemetry.proto.collector.logs.v1.LogsService/Export")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(&[0; 5])))
        .ok()?;
    let (head, body) = client.send_request(request).await.ok()?.into_parts();
    let trailers = body.collect().await.ok()?.trailers().cloned().unwrap_or_default();
    let status = trailers.get("grpc-status").or_else(|| head.headers.get("grpc-status"))?;
    Some(status == "0")
}

/// Whether ClickHouse's native protocol greets `default` without a password: packet 0 is its hello, 2 an exception.
async fn native(mut stream: impl Stream) -> Option<bool> {
    let mut hello = vec![0];
    let text = |hello: &mut Vec<u8>, text: &str| {
        // Shorter than 128 bytes, so its length is one.
        hello.push(text.len() as u8);
        hello.extend(text.as_bytes());
    };
    text(&mut hello, "otelgate doctor");
    // Version 1.1 of the client, revision 54058 as a varint: old, so that every server speaks it.
    hello.extend([1, 1, 0xaa, 0xa6, 0x03]);
    ["", "default", ""].into_iter().for_each(|word| text(&mut hello, word));
    stream.write_all(&hello).await.ok()?;
    Some(stream.read_u8().await.ok()? == 0)
}

/// Whether MongoDB names its databases to whoever asks: `hello` is answered to everybody, this is not where logins are needed.
async fn mongo(mut stream: impl Stream) -> Option<bool> {
    stream.write_all(&command(&[("listDatabases", 1), ("nameOnly", 1)])).await.ok()?;
    let answer = message(&mut stream).await.ok()?;
    // The field `ok`, a double, is 1.
    let ok: Vec<u8> = [&b"\x01ok\0"[..], &1_f64.to_le_bytes()].concat();
    Some(answer.windows(ok.len()).any(|part| part == ok))
}

/// An `OP_MSG` with one section: these fields as 32-bit integers, then the database.
fn command(fields: &[(&str, i32)]) -> Vec<u8> {
    let mut document = Vec::new();
    for (name, number) in fields {
        document.push(0x10);
        document.extend([name.as_bytes(), b"\0", &number.to_le_bytes()].concat());
    }
    document.extend(b"\x02$db\0\x06\0\0\0admin\0\0");
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    let mut message = length(16 + 4 + 1 + 4 + document.len()).to_vec();
    // Request 1, answer to none, OP_MSG, no flags, a section of kind 0.
    message.extend([1_u32, 0, 2013, 0].map(u32::to_le_bytes).concat());
    message.push(0);
    message.extend(length(4 + document.len()));
    message.extend(document);
    message
}

async fn message(stream: &mut impl Stream) -> io::Result<Vec<u8>> {
    let length = usize::try_from(stream.read_u32_le().await?).unwrap_or(usize::MAX);
    let mut answer = vec![0; length.clamp(16, ENOUGH) - 4];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection with these bytes, after it has sent some; says what it sent.
    async fn answering(answer: Vec<u8>) -> (TcpStream, tokio::task::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut asked = vec![0; 1024];
            let length = stream.read(&mut asked).await.expect("asked");
            stream.write_all(&answer).await.expect("answered");
            asked.truncate(length);
            asked
        });
        (TcpStream::connect(address).await.expect("connected"), task)
    }

    fn reply(ok: f64) -> Vec<u8> {
        let document = [&b"\x01ok\0"[..], &ok.to_le_bytes(), b"\0"].concat();
        let length = 16 + 5 + 4 + document.len();
        let mut reply = u32::try_from(length).expect("short").to_le_bytes().to_vec();
        reply.extend([0; 17]);
        reply.extend(u32::try_from(4 + document.len()).expect("short").to_le_bytes());
        [reply, document].concat()
    }

    #[tokio::test]
    async fn mongodb_and_clickhouse_are_understood() {
        for (ok, lets_in) in [(1.0, true), (0.0, false)] {
            let (stream, asked) = answering(reply(ok)).await;
            assert_eq!(ask(stream, 27017).await, Some(lets_in));
            let asked = asked.await.expect("ended");
            assert_eq!(asked.len(), usize::from(asked[0]), "the length that it says: {asked:?}");
        }
        for (first, lets_in) in [(0, true), (2, false)] {
            let (stream, _) = answering(vec![first, 10]).await;
            assert_eq!(ask(stream, 9000).await, Some(lets_in));
        }
        let (stream, _) = answering(Vec::new()).await;
        assert_eq!(ask(stream, 27017).await, None);
    }

    #[tokio::test]
    async fn http_of_clickhouse_the_collector_and_the_app_is_understood() {
        for (port, line) in [(8123, "GET /?query=SELECT%201 "), (4318, "POST /v1/logs "), (4320, "POST /v1/opamp ")] {
            for (status, lets_in) in [("200 OK", true), ("401 Unauthorized", false), ("400 Bad Request", false)] {
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                let (stream, asked) = answering(answer.into_bytes()).await;
                assert_eq!(ask(stream, port).await, Some(lets_in), "{port}: {status}");
                let asked = String::from_utf8(asked.await.expect("ended")).expect("text");
                assert!(asked.starts_with(line), "{asked}");
            }
        }
    }

    #[tokio::test]
    async fn a_port_is_asked_over_tls_where_it_speaks_that() {
        let made = rcgen::generate_simple_self_signed(["whoever".to_owned()]).expect("made");
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a certificate");
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        for (secure, transport) in [(true, Transport::Tls), (false, Transport::Plain)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("bound").port();
            let acceptor = acceptor.clone();
            let server = tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let answer =
                        |_| async { Ok::<_, std::convert::Infallible>(http::Response::new(Full::<Bytes>::default())) };
                    let (http, service) =
                        (hyper::server::conn::http1::Builder::new(), hyper::service::service_fn(answer));
                    // What fails here is seen by who knocks.
                    if !secure {
                        tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
                    } else if let Ok(stream) = acceptor.accept(stream).await {
                        tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
                    }
                }
            });
            assert_eq!(knock("127.0.0.1", port, 8443).await, Seen::LetsIn(transport));
            assert_eq!(knock("127.0.0.1", port, 8080).await, Seen::Open(transport));
            server.abort();
            let _ = server.await;
            assert_eq!(knock("127.0.0.1", port, 8443).await, Seen::Closed);
        }
    }

    #[tokio::test]
    async fn grpc_is_understood() {
        for (status, lets_in) in [("0", true), ("16", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("bound");
            tokio::spawn(async move {
                let (stream, _) = listener.accept().await.expect("a client");
                let answer = move |_| async move {
                    let answer = http::Response::builder().header("grpc-status", status);
                    Ok::<_, std::convert::Infallible>(answer.body(Full::<Bytes>::default()).expect("an answer"))
                };
                let service = hyper::service::service_fn(answer);
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await
            });
            let stream = TcpStream::connect(address).await.expect("connected");
            assert_eq!(ask(stream, 4317).await, Some(lets_in), "{status}");
        }
    }
}
