//! Who may ask what, and who may give orders.
//!
//! Probes and metrics are open to whoever reaches the listener. What is in the spool is shown to people and programs, never to a web page: one
//! that has made its own name resolve to this machine (DNS rebinding) shows that name as `Host`, one of another origin shows its `Origin`. An order takes
//! the token, where one is configured; without one it takes a peer on this machine. Who opens the socket may give orders: its file's mode is
//! the right.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use tokio::net::{TcpListener, UnixListener};

use crate::config::{Secret, digest_of};

/// Where a connection of the admin listener comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// An address.
    Address(SocketAddr),
    /// The Unix socket.
    Socket,
}

impl Connected<IncomingStream<'_, TcpListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Caller::Address(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(_: IncomingStream<'_, UnixListener>) -> Self {
        Caller::Socket
    }
}

/// What an order takes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Right {
    token: Option<Arc<Secret>>,
}

/// Why something is not done for a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Denied {
    #[error("not for a web page of another origin")]
    Page,
    #[error("not under this host name; use an IP address or localhost, or send the admin token")]
    Host,
    #[error(
        "an order takes the header `authorization: Bearer TOKEN` with the token of admin.token, or the socket of admin.socket"
    )]
    Token,
    #[error("orders are taken from this machine only; set admin.token to give them from elsewhere")]
    Elsewhere,
}

impl Right {
    /// Orders take this token; without one they take a peer on this machine.
    pub(crate) fn new(token: Option<Secret>) -> Self {
        Right { token: token.map(Arc::new) }
    }

    fn check(&self, caller: Option<Caller>, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Denied> {
        if caller == Some(Caller::Socket) {
            return Ok(());
        }
        let host =
            headers.get(header::HOST).and_then(|host| host.to_str().ok()).or(uri.authority().map(|a| a.as_str()));
        let of_its_own = |origin: &[u8]| host.is_some_and(|host| origin == format!("http://{host}").as_bytes());
        if headers.get_all(header::ORIGIN).iter().any(|origin| !of_its_own(origin.as_bytes())) {
            return Err(Denied::Page);
        }
        if self.token.as_ref().is_some_and(|token| shows(headers, token)) {
            return Ok(());
        }
        if !host.is_some_and(is_this_machine_or_an_address) {
            return Err(Denied::Host);
        }
        let here = matches!(caller, Some(Caller::Address(peer)) if peer.ip().to_canonical().is_loopback());
        match method {
            &Method::GET | &Method::HEAD => Ok(()),
            _ if self.token.is_some() => Err(Denied::Token),
            _ if here => Ok(()),
            _ => Err(Denied::Elsewhere),
        }
    }
}

/// The layer around what needs a right.
pub(crate) async fn ask(State(right): State<Right>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<ConnectInfo<Caller>>().map(|info| info.0);
    match right.check(caller, request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(denied) => denied.into_response(),
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let text = format!("{self}\n");
        match self {
            Denied::Token => (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], text).into_response(),
            _ => (StatusCode::FORBIDDEN, text).into_response(),
        }
    }
}

/// Digests are compared, so that the time it takes tells nothing about the token.
fn shows(headers: &HeaderMap, token: &Secret) -> bool {
    let shown = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let shown = shown.and_then(|value| value.strip_prefix(b"Bearer "));
    shown.is_some_and(|shown| digest_of(shown) == digest_of(token.expose().as_bytes()))
}

/// No page can have a name of its own that is one of these.
fn is_this_machine_or_an_address(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "127.0.0.1:5000";
    const THERE: &str = "192.0.2.7:5000";

    fn check(right: &Right, method: &Method, from: Option<&str>, headers: &[(&str, &str)]) -> Result<(), Denied> {
        let caller = from.map(|from| Caller::Address(from.parse().unwrap()));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(header::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        right.check(caller, method, &Uri::from_static("/spool/1/drop"), &map)
    }

    #[test]
    fn without_a_token_orders_come_from_this_machine_and_no_page() {
        let right = Right::default();
        let order = |from, headers: &[_]| check(&right, &Method::POST, from, headers);
        for host in ["127.0.0.1:9317", "localhost:9317", "[::1]:9317", "localhost", "10.0.0.1"] {
            assert_eq!(order(Some(HERE), &[("host", host)]), Ok(()), "{host}");
            assert_eq!(order(Some("[::ffff:127.0.0.1]:1"), &[("host", host)]), Ok(()), "{host}");
            assert_eq!(order(Some(THERE), &[("host", host)]), Err(Denied::Elsewhere), "{host}");
            assert_eq!(order(None, &[("host", host)]), Err(Denied::Elsewhere), "{host}");
        }
        for host in ["evil.example", "evil.example:9317", "127.0.0.1.evil.example", "localhost.evil.example:9317", ""] {
            assert_eq!(order(Some(HERE), &[("host", host)]), Err(Denied::Host), "{host}");
            assert_eq!(check(&right, &Method::GET, Some(HERE), &[("host", host)]), Err(Denied::Host), "{host}");
        }
        assert_eq!(order(Some(HERE), &[]), Err(Denied::Host));
        for origin in ["https://evil.example", "null", "http://localhost:9317", "https://127.0.0.1:9317"] {
            let headers = [("host", "127.0.0.1:9317"), ("origin", origin)];
            assert_eq!(order(Some(HERE), &headers), Err(Denied::Page), "{origin}");
        }
        assert_eq!(order(Some(HERE), &[("host", "127.0.0.1:9317"), ("origin", "http://127.0.0.1:9317")]), Ok(()));
        assert_eq!(check(&right, &Method::GET, Some(THERE), &[("host", "192.0.2.1:9317")]), Ok(()));
    }

    #[test]
    fn with_a_token_every_order_takes_it_and_the_socket_takes_none() {
        let right = Right::new(Some(Secret::new("a-token-of-some-length")));
        let good = ("authorization", "Bearer a-token-of-some-length");
        for (from, host) in [(HERE, "localhost"), (THERE, "gate.example:9317")] {
            assert_eq!(check(&right, &Method::POST, Some(from), &[("host", host), good]), Ok(()));
        }
        for wrong in ["Bearer a-token-of-some-lengtH", "Bearer ", "a-token-of-some-length", "Bearer a-token"] {
            let headers = [("host", "localhost"), ("authorization", wrong)];
            assert_eq!(check(&right, &Method::POST, Some(HERE), &headers), Err(Denied::Token), "{wrong}");
            assert_eq!(check(&right, &Method::GET, Some(HERE), &headers), Ok(()));
        }
        let page = [("host", "localhost"), good, ("origin", "https://evil.example")];
        assert_eq!(check(&right, &Method::POST, Some(HERE), &page), Err(Denied::Page));
        let socket = Some(Caller::Socket);
        assert_eq!(right.check(socket, &Method::POST, &Uri::from_static("/spool/1/drop"), &HeaderMap::new()), Ok(()));
    }
}
