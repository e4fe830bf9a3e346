//! The one line by which scripts and tests know that they may begin, and where.

use std::fmt;
use std::net::SocketAddr;

/// Where everything listens, with the ports that the system chose where the configuration says 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Each as `https://IP:PORT`, or `http://` in plaintext.
    pub(crate) otlp: Vec<String>,
    /// As `http://IP:PORT`.
    pub(crate) admin: String,
}

impl Ready {
    pub(super) fn new(otlp: &[SocketAddr], tls: bool, admin: SocketAddr) -> Self {
        let scheme = if tls { "https" } else { "http" };
        Ready {
            otlp: otlp.iter().map(|address| format!("{scheme}://{address}")).collect(),
            admin: format!("http://{admin}"),
        }
    }
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ready otlp={} admin={}", self.otlp.join(","), self.admin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line() {
        let otlp = ["0.0.0.0:4317", "[::1]:4318"].map(|address| address.parse().unwrap());
        let ready = Ready::new(&otlp, true, "127.0.0.1:9317".parse().unwrap());
        let line = "ready otlp=https://0.0.0.0:4317,https://[::1]:4318 admin=http://127.0.0.1:9317";
        assert_eq!(ready.to_string(), line);
    }
}
