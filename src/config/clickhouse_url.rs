//! ClickHouse's address, as a person writes it for otelgate or as ClickStack's collector takes it: `CLICKHOUSE_ENDPOINT` names the native protocol's
//! port, and otelgate speaks the HTTP interface of the same server.

use http::Uri;

/// The native protocol's ports in ClickHouse's own configuration, without TLS and with it.
const NATIVE: (u16, u16) = (9000, 9440);
/// The HTTP interface's.
const HTTP: (u16, u16) = (8123, 8443);

/// What Go's client for ClickHouse reads from an address and what means nothing for otelgate, which has settings of its own for it or needs none.
const OF_THE_CLIENT: [&str; 12] = [
    "async_insert",
    "block_buffer_size",
    "compress",
    "compress_level",
    "connection_open_strategy",
    "debug",
    "dial_timeout",
    "http_proxy",
    "max_execution_time",
    "max_idle_conns",
    "max_open_conns",
    "read_timeout",
];

const NO_CREDENTIALS: &str = "holds a user or password; write them as `user` and `password`";
const NO_PATH: &str = "holds a path; write scheme, host and port only, and the database as `database`";

/// Where to reach ClickHouse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// Scheme, host and port of the HTTP interface.
    pub(super) url: Uri,
    /// The native protocol's address was written.
    pub(super) was_native: bool,
}

/// Reads one address.
///
/// # Errors
/// What is wrong with it, in words. None of them shows what stands there.
pub(super) fn address(text: &str) -> Result<Address, String> {
    if text.split(['/', '?']).nth(2).is_some_and(|hosts| hosts.contains(',')) {
        return Err("names more than one server; write a list, one address each".to_owned());
    }
    let wrong = || "is not a URL; write for example https://clickhouse:8443".to_owned();
    let url: Uri = text.parse().map_err(|_| wrong())?;
    let authority = url.authority().ok_or_else(wrong)?;
    if authority.as_str().contains('@') {
        return Err(NO_CREDENTIALS.to_owned());
    }
    if !matches!(url.path(), "/" | "") {
        return Err(NO_PATH.to_owned());
    }
    let secure = secure(url.query().unwrap_or_default())?;
    let was_native = match url.scheme_str() {
        Some("http" | "https") => false,
        Some("tcp" | "clickhouse" | "native") => true,
        _ => {
            let message =
                "is neither http:// nor https://; ClickHouse's HTTP interface is meant, usually port 8123 or 8443";
            return Err(message.to_owned());
        }
    };
    let (scheme, port) = match (was_native, url.port_u16()) {
        (false, port) => (url.scheme_str().unwrap_or_default(), port),
        (true, port) => {
            let tls = secure || port == Some(NATIVE.1);
            if port.is_some_and(|port| port != NATIVE.0 && port != NATIVE.1) {
                return Err(
                    "names a port of the native protocol that is not ClickHouse's usual one; write where its HTTP \
                            interface listens, for example http://clickhouse:8123"
                        .to_owned(),
                );
            }
            if tls { ("https", Some(HTTP.1)) } else { ("http", Some(HTTP.0)) }
        }
    };
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    let url = format!("{scheme}://{}{port}", authority.host()).parse().map_err(|_| wrong())?;
    Ok(Address { url, was_native })
}

/// Host and port: what stays the same of a server however its address is written.
pub(crate) fn place(url: &Uri) -> String {
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
    format!("{}:{port}", url.host().unwrap_or_default())
}

/// Whether the query asks for TLS. What it may say besides is the client's own business.
fn secure(query: &str) -> Result<bool, String> {
    let mut secure = false;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, "true"));
        let on = !matches!(value, "false" | "0" | "f" | "F" | "FALSE" | "False");
        match name {
            "secure" => secure = on,
            "username" | "password" => return Err(NO_CREDENTIALS.to_owned()),
            "skip_verify" if on => {
                return Err(
                    "asks not to check the server's certificate (skip_verify); name its CA as `ca_file`".to_owned()
                );
            }
            "skip_verify" => {}
            name if OF_THE_CLIENT.contains(&name) => {}
            _ => {
                return Err("holds a query that otelgate does not know; write scheme, host and port only, and the \
                            database as `database`"
                    .to_owned());
            }
        }
    }
    Ok(secure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_http_interface_of_the_server_that_is_meant() {
        for (written, url, was_native) in [
            ("https://c:8443", "https://c:8443/", false),
            ("http://c", "http://c/", false),
            ("http://c:8123/?dial_timeout=10s&compress=lz4", "http://c:8123/", false),
            ("tcp://ch-server:9000?dial_timeout=10s", "http://ch-server:8123/", true),
            ("tcp://ch-server:9000", "http://ch-server:8123/", true),
            ("tcp://ch-server", "http://ch-server:8123/", true),
            ("clickhouse://c:9000?secure=false", "http://c:8123/", true),
            ("tcp://x.clickhouse.cloud:9440?secure=true&dial_timeout=10s", "https://x.clickhouse.cloud:8443/", true),
            ("tcp://c:9440", "https://c:8443/", true),
            ("tcp://c:9000/?secure", "https://c:8443/", true),
            ("tcp://[::1]:9000", "http://[::1]:8123/", true),
        ] {
            let found = address(written).unwrap_or_else(|wrong| panic!("{written} {wrong}"));
            assert_eq!((found.url.to_string().as_str(), found.was_native), (url, was_native), "{written}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_remedy() {
        for (written, remedy) in [
            ("tcp://c:19000", "http://clickhouse:8123"),
            ("tcp://a:9000,b:9000", "write a list"),
            ("tcp://me:secret@c:9000", "`user` and `password`"),
            ("tcp://c:9000?username=me&password=secret", "`user` and `password`"),
            ("tcp://c:9000/otel", "`database`"),
            ("https://c:8443/otel", "`database`"),
            ("https://c:8443?database=otel", "`database`"),
            ("tcp://c:9440?secure=true&skip_verify=true", "`ca_file`"),
            ("ftp://c:21", "neither http:// nor https://"),
            ("ch-server:9000", ""),
            ("", "https://clickhouse:8443"),
        ] {
            let wrong = address(written).expect_err(written);
            assert!(wrong.contains(remedy) && !wrong.contains("secret"), "{written} {wrong}");
        }
    }
}
