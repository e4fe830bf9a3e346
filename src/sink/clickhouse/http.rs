//! ClickHouse's HTTP interface: one statement, one answer, and what is known when there is no answer.
//!
//! The official `clickhouse` crate reads the schema (`schema::read`). Inserts, statements whose failure has to be
//! told apart by its code, and looks go through here, because the crate hands an exception on as text only. User and
//! password travel in headers, never in a URL, and nothing here prints them.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::net::TcpStream;

use super::error::{CERTIFICATE, Failure, NO_TLS};
use crate::causes::{causes, readable, tls};
use crate::config;
use crate::https::{self, Connector};
use crate::sink::body::Pieces;

/// Longest answer that is read; an insert's is empty, a look's one line.
const MAX_ANSWER: usize = 1 << 20;
/// Below the shortest time after which a ClickHouse server closes an idle connection (3 s in older ones).
const POOL_IDLE: Duration = Duration::from_secs(2);

/// Why no connection can be attempted at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The certificates that servers are checked against.
    #[error(transparent)]
    Https(#[from] https::SetupError),
    /// A user's name or password that cannot be sent in a header.
    #[error("sink.clickhouse.{0} holds a character that cannot be sent in an HTTP header")]
    Credential(&'static str),
}

/// Sends statements as the ingest user.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client<Connector, Pieces>,
    /// Of whoever sends by a clone of this too.
    credentials: Arc<ArcSwap<Credentials>>,
}

/// The ingest user's names and passwords, as they are sent.
#[derive(Debug)]
pub(super) struct Credentials {
    usual: Login,
    /// Of servers that have one of their own.
    own: Vec<(Uri, Login)>,
}

#[derive(Debug)]
struct Login {
    user: HeaderValue,
    password: HeaderValue,
}

impl Credentials {
    pub(super) fn new(config: &config::ClickHouse) -> Result<Credentials, SetupError> {
        let mut own = Vec::new();
        for (url, login) in &config.logins {
            own.push((url.clone(), Login::new(&login.user, &login.password)?));
        }
        Ok(Credentials { usual: Login::new(&config.user, &config.password)?, own })
    }

    fn at(&self, server: &Uri) -> &Login {
        self.own.iter().find(|(of, _)| of == server).map_or(&self.usual, |(_, own)| own)
    }
}

impl Login {
    fn new(user: &str, password: &config::Secret) -> Result<Login, SetupError> {
        let user = HeaderValue::from_str(user).map_err(|_| SetupError::Credential("user"))?;
        let mut password = HeaderValue::from_str(password.expose()).map_err(|_| SetupError::Credential("password"))?;
        password.set_sensitive(true);
        Ok(Login { user, password })
    }
}

/// A statement's parameters in the URL: settings, and the statement itself when the body is data.
#[derive(Debug, Clone, Default)]
pub(super) struct Parameters(String);

impl Parameters {
    /// Adds `name=value`.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                self.0.push(char::from(byte));
            } else {
                self.0.push_str(&format!("%{byte:02X}"));
            }
        }
        self
    }
}

impl Http {
    pub(super) fn new(connector: Connector, config: &config::ClickHouse) -> Result<Http, SetupError> {
        let credentials = Arc::new(ArcSwap::from_pointee(Credentials::new(config)?));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Http { client, credentials })
    }

    /// Sends as this user from now on.
    pub(super) fn renew(&self, credentials: Credentials) {
        self.credentials.store(Arc::new(credentials));
    }

    /// Posts a statement to a server and reads the answer's body.
    ///
    /// # Errors
    /// [`Failure`]; no answer within `timeout` is one.
    pub(super) async fn post(
        &self,
        server: &Uri,
        parameters: Parameters,
        content_type: Option<HeaderValue>,
        body: Vec<Bytes>,
        timeout: Duration,
    ) -> Result<Bytes, Failure> {
        let (body, sent) = Pieces::new(body);
        let exchange = async {
            let request = self.request(server, &parameters, content_type, body)?;
            let response = self.client.request(request).await.map_err(|error| {
                let why = format!("{}: {}", Server(server), causes(&error));
                match tls(&error).and_then(remedy) {
                    Some(remedy) if error.is_connect() => Failure::Mistaken { why, remedy },
                    _ if error.is_connect() => Failure::NotSent(why),
                    _ if sent.whole() => Failure::Lost(why),
                    _ => Failure::Cut(why),
                }
            })?;
            answer(server, response).await
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| {
            let why = format!("{}: no answer within {timeout:?}", Server(server));
            Err(Failure::TooSlow { sent: sent.whole(), why })
        })
    }

    fn request(
        &self,
        server: &Uri,
        parameters: &Parameters,
        content_type: Option<HeaderValue>,
        body: Pieces,
    ) -> Result<Request<Pieces>, Failure> {
        let uri = format!("{}{}", base(server), parameters.0);
        let empty = body.is_end_stream();
        let mut request =
            Request::post(uri).body(body).map_err(|error| Failure::NotSent(format!("{}: {error}", Server(server))))?;
        let headers = request.headers_mut();
        let credentials = self.credentials.load();
        let login = credentials.at(server);
        headers.insert("x-clickhouse-user", login.user.clone());
        headers.insert("x-clickhouse-key", login.password.clone());
        if empty {
            // An insert of nothing: ClickHouse wants to be told that it has no body.
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, content_type);
        }
        Ok(request)
    }
}

/// What a person has to do about an error of TLS, where it stays until somebody does.
fn remedy(error: &rustls::Error) -> Option<&'static str> {
    match error {
        rustls::Error::InvalidMessage(_) => Some(NO_TLS),
        rustls::Error::InvalidCertificate(_) => Some(CERTIFICATE),
        _ => None,
    }
}

/// Whether somebody listens at a server's address.
///
/// # Errors
/// In words.
pub(super) async fn knock(server: &Uri, timeout: Duration) -> Result<(), String> {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = server.port_u16().unwrap_or(if server.scheme_str() == Some("https") { 443 } else { 80 });
    match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("{}: {error}", Server(server))),
        Err(_) => Err(format!("{}: no connection within {timeout:?}", Server(server))),
    }
}

/// Scheme, host, port and path of a server's address, ready for a query string: without user information.
pub(super) fn base(server: &Uri) -> String {
    let host = server.host().unwrap_or_default();
    let port = server.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    let path = server.path().trim_end_matches('/');
    let scheme = server.scheme_str().unwrap_or("http");
    format!("{scheme}://{host}{port}{path}/")
}

/// A server's address in a message.
pub(super) struct Server<'a>(pub(super) &'a Uri);

impl std::fmt::Display for Server<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(base(self.0).trim_end_matches('/'))
    }
}

/// The answer's body, or the exception in its headers or, late, in its body.
async fn answer(server: &Uri, response: Response<Incoming>) -> Result<Bytes, Failure> {
    let (head, body) = response.into_parts();
    let code = exception_code(&head.headers);
    let body = match Limited::new(body, MAX_ANSWER).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => {
            return Err(Failure::Lost(format!("{}: the answer is too long", Server(server))));
        }
        // The head said what the body would only have explained.
        Err(_) if code.is_some() => Bytes::new(),
        Err(error) => {
            return Err(Failure::Lost(format!("{}: the answer was cut: {error}", Server(server))));
        }
    };
    let message = || readable(&body);
    match code.or_else(|| late_exception(&head.headers, &body)) {
        Some(code) => Err(Failure::Exception { code, message: message() }),
        None if head.status == StatusCode::OK => Ok(body),
        None => Err(Failure::Http { status: head.status.as_u16(), message: message() }),
    }
}

fn exception_code(headers: &HeaderMap) -> Option<u16> {
    let code = headers.get("x-clickhouse-exception-code")?;
    // A code that cannot be read is an exception all the same; 0 is in no table, so it may be in.
    Some(code.to_str().ok().and_then(|code| code.parse().ok()).unwrap_or(0))
}

/// An exception after the 200 was sent: a last block `__exception__`, tag, `Code: N. …`, length, tag, `__exception__`, where the tag
/// was announced in a header (25.11 and newer). Older servers end the body with the exception itself.
fn late_exception(headers: &HeaderMap, body: &[u8]) -> Option<u16> {
    const MARK: &[u8] = b"__exception__";
    const CODE: &[u8] = b"Code: ";
    let text = match headers.get("x-clickhouse-exception-tag") {
        Some(tag) => {
            let opening = [MARK, b"\r\n", tag.as_bytes(), b"\r\n"].concat();
            let at = memchr::memmem::find(body, &opening)?;
            body.get(at + opening.len()..)?
        }
        None => body,
    };
    let at = memchr::memmem::find(text, CODE)?;
    let digits = text.get(at + CODE.len()..)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    let is_exception = memchr::memmem::find(digits, b". DB::").is_some_and(|at| at == end);
    if headers.get("x-clickhouse-exception-tag").is_none() && !is_exception {
        return None;
    }
    let code = std::str::from_utf8(digits.get(..end)?).ok()?;
    Some(code.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_escaped() {
        let parameters = Parameters::default().with("query", "INSERT INTO `a b` (x)").with("b", "1");
        assert_eq!(parameters.0, "?query=INSERT%20INTO%20%60a%20b%60%20%28x%29&b=1");
    }

    #[test]
    fn addresses_lose_their_user_information() {
        let uri: Uri = "https://user:secret@host:8443/path/".parse().unwrap();
        assert_eq!(base(&uri), "https://host:8443/path/");
        assert_eq!(Server(&uri).to_string(), "https://host:8443/path");
        let uri: Uri = "http://[::1]:8123".parse().unwrap();
        assert_eq!(base(&uri), "http://[::1]:8123/");
    }

    #[test]
    fn late_exceptions_are_found() {
        let mut headers = HeaderMap::new();
        let old = b"Code: 241. DB::Exception: Memory limit (version 24.8)\n";
        assert_eq!(late_exception(&headers, old), Some(241));
        assert_eq!(late_exception(&headers, b"Code: none"), None);
        assert_eq!(late_exception(&headers, b""), None);
        headers.insert("x-clickhouse-exception-tag", HeaderValue::from_static("abcd"));
        let new = b"\r\n__exception__\r\nabcd\r\nCode: 252. DB::Exception: x\n30 abcd\r\n__exception__\r\n";
        assert_eq!(late_exception(&headers, new), Some(252));
        assert_eq!(late_exception(&headers, b"Code: 1. DB::Exception: a log's body"), None);
    }
}
