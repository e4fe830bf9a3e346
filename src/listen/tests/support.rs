//! A gateway of one handler, on real sockets, and clients for it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{self, testing::only_certificate};
use crate::keys::Standing;
use crate::listen::registry::tests::key;
use crate::listen::{Answer, Listeners, Tls, bind};
use crate::metrics::Metrics;

/// Longer than anything here takes.
pub(super) const SOON: Duration = Duration::from_secs(20);

/// Limits under which nothing ends by itself within a test.
pub(super) fn limits() -> config::Listen {
    config::Listen {
        otlp: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        max_connections: 100,
        max_connections_per_ip: 100,
        max_handshakes_per_second: 1000,
        max_handshakes_per_second_per_ip: 1000,
        handshake_timeout: SOON,
        header_timeout: SOON,
        idle_timeout: SOON * 10,
        first_key_timeout: SOON,
        max_connection_age: SOON * 10,
        connection_age_grace: SOON,
        proxy_protocol: Vec::new(),
        forwarded: None,
        max_concurrent_streams: 128,
        handover: Duration::ZERO,
        grpc_reflection: false,
        admin: SocketAddr::from(([127, 0, 0, 1], 0)),
    }
}

pub(super) struct Gateway {
    pub(super) address: SocketAddr,
    pub(super) listeners: Listeners,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tls: Option<Arc<Tls>>,
    /// `/slow` is answered once for each permit added here.
    pub(super) slow: Arc<Semaphore>,
    /// What became of each answer, in order.
    pub(super) answers: Arc<Mutex<Vec<Answer>>>,
    /// By the first byte of their value.
    pub(super) keys: Keys,
}

type Keys = Arc<Mutex<BTreeMap<u8, Arc<Standing>>>>;

impl Gateway {
    pub(super) async fn start(limits: config::Listen, tls: config::Tls) -> Self {
        let metrics = Arc::new(Metrics::default());
        let tls = Tls::load(&tls, &limits.otlp, Arc::clone(&metrics)).expect("good files");
        let bound = bind(&limits, &mut crate::listen::Inherited::default(), tls.clone(), Arc::clone(&metrics))
            .await
            .expect("a free port");
        let address = bound.addresses().expect("an address")[0];
        let slow = Arc::new(Semaphore::new(0));
        let answers: Arc<Mutex<Vec<Answer>>> = Arc::default();
        let keys = Keys::default();
        let listeners = bound.serve({
            let (slow, answers, keys) = (Arc::clone(&slow), Arc::clone(&answers), Arc::clone(&keys));
            move |request| answer(request, Arc::clone(&slow), Arc::clone(&answers), Arc::clone(&keys))
        });
        Gateway { address, listeners, metrics, tls, slow, answers, keys }
    }

    pub(super) async fn plaintext(limits: config::Listen) -> Self {
        Self::start(limits, config::Tls::Plaintext).await
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connected")
    }

    /// An HTTP/1.1 or HTTP/2 client without TLS.
    pub(super) async fn client(&self, version: Version) -> Client {
        Client::over(self.connect().await, version).await
    }

    pub(super) fn closed(&self, reason: &'static str) -> u64 {
        let labels = crate::metrics::Reason { reason };
        self.metrics.connections_closed.get_or_create(&labels).get()
    }
}

/// `/unauthorized` is refused with the body unread, `/slow` waits, `/read` reads its body, `/endless` is never done answering, and a request with the header `key` has a valid key.
async fn answer(
    request: Request<Incoming>,
    slow: Arc<Semaphore>,
    answers: Arc<Mutex<Vec<Answer>>>,
    keys: Keys,
) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let peer = request.extensions().get::<crate::listen::Peer>();
    let peer = peer.expect("every request has its peer").clone();
    answers.lock().push(peer.answer());
    if let Some(value) = request.headers().get("key") {
        let first = value.as_bytes()[0];
        let key = keys.lock().entry(first).or_insert_with(|| key(first)).clone();
        peer.mark_authenticated(&key);
    }
    let version = format!("{:?} {}", request.version(), peer.ip);
    let mut response = Response::new(Full::from(version).boxed_unsync());
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/endless" => *response.body_mut() = UnsyncBoxBody::new(Endless),
        "/read" => {
            let read = request.into_body().collect().await.map(|body| body.to_bytes().len());
            *response.body_mut() = Full::from(format!("{read:?}")).boxed_unsync();
        }
        "/unauthorized" => *response.status_mut() = StatusCode::UNAUTHORIZED,
        "/slow" => slow.acquire().await.expect("never closed").forget(),
        _ => {}
    }
    response
}

/// A body that never comes to its end.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// A client of either version.
pub(super) struct Client {
    sender: Sender,
    /// Ends when the connection does.
    pub(super) ended: JoinHandle<()>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    pub(super) async fn over<S>(stream: S, version: Version) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        let (sender, ended) = if version == Version::HTTP_2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.expect("a handshake");
            let ended = tokio::spawn(async move { drop(connection.await) });
            (Sender::Http2(sender), ended)
        } else {
            let (sender, connection) = http1::handshake(io).await.expect("a handshake");
            let ended = tokio::spawn(async move { drop(connection.await) });
            (Sender::Http1(sender), ended)
        };
        Client { sender, ended }
    }

    /// POSTs to `path`, with a valid key; the answer's status and body.
    pub(super) async fn post(&mut self, path: &str) -> hyper::Result<(StatusCode, String)> {
        self.send(path, true, Bytes::new()).await
    }

    pub(super) async fn send(
        &mut self,
        path: &str,
        with_key: bool,
        body: Bytes,
    ) -> hyper::Result<(StatusCode, String)> {
        let mut request = Request::post(format!("http://gateway{path}")).header("host", "gateway");
        if with_key {
            request = request.header("key", "valid");
        }
        let request = request.body(Full::new(body)).expect("a request");
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Waits until the gateway has closed the connection.
    pub(super) async fn closed(self) {
        tokio::time::timeout(SOON, self.ended).await.expect("closed in time").expect("no panic");
    }
}

/// Waits until the gateway has closed the socket.
pub(super) async fn closed(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    // A reset is a close too.
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await.expect("closed in time");
}

/// Waits until `condition` holds.
pub(super) async fn eventually(condition: impl Fn() -> bool) {
    tokio::time::timeout(SOON, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("in time");
}

/// A CA, and what it signed.
pub(super) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Ca(CertifiedIssuer::self_signed(params, key).expect("a CA"))
    }

    /// A certificate for `gateway` and its key, in PEM.
    pub(super) fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        (self.sign_for(&["gateway"], &key), key.serialize_pem())
    }

    /// A certificate for these names, in PEM.
    pub(super) fn sign_for(&self, names: &[&str], key: &KeyPair) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("names");
        params.signed_by(key, &self.0).expect("a certificate").pem()
    }

    /// Writes a new pair (and this CA, for clients' certificates) where the configuration looks for them.
    pub(super) fn write(&self, dir: &Path, ask_clients: bool) -> config::Tls {
        let (certificate, key) = self.sign();
        let path = |name| dir.join(name);
        for (name, text) in [("cert.pem", &certificate), ("key.pem", &key), ("ca.pem", &self.0.pem())] {
            std::fs::write(path(name), text).expect("written");
        }
        let mut tls = only_certificate(path("cert.pem"), path("key.pem"));
        if let config::Tls::Files(files) = &mut tls {
            files.client_ca_file = ask_clients.then(|| path("ca.pem"));
        }
        tls
    }

    /// A TLS client that trusts this CA, offers `alpn`, and shows `own`, if any.
    pub(super) async fn connect(
        &self,
        gateway: &Gateway,
        alpn: &[&str],
        own: Option<(String, String)>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.over(gateway.connect().await, alpn, own).await
    }

    /// The same, over a socket on which something was said before.
    pub(super) async fn over(
        &self,
        socket: TcpStream,
        alpn: &[&str],
        own: Option<(String, String)>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = self.client(rustls::ALL_VERSIONS, own);
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        handshake(socket, "gateway", Arc::new(config)).await
    }

    /// What a client is set up with that trusts this CA, speaks these versions, and shows `own`, if any.
    pub(super) fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<(String, String)>,
    ) -> ClientConfig {
        self.client_with(rustls::crypto::aws_lc_rs::default_provider(), versions, own)
    }

    /// The same with other cryptography.
    pub(super) fn client_with(
        &self,
        provider: CryptoProvider,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<(String, String)>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a root");
        let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(versions);
        let builder = builder.expect("versions").with_root_certificates(roots);
        match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM"),
                )
                .expect("a pair"),
        }
    }
}

/// A handshake with whoever has this name.
pub(super) async fn handshake(
    socket: TcpStream,
    name: &'static str,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    TlsConnector::from(config).connect(ServerName::try_from(name).expect("a name"), socket).await
}
