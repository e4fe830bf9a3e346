//! Sections `limits.shared` and `spool.shared_digests`: through what replicas know of each other.

use std::time::Duration;

use http::Uri;

use super::rules::{is_loopback, secret};
use super::section::Section;
use super::value::{name, time};
use super::{SharedLimits, SharedServer, tls_files};

/// Section `limits.shared`; `None` where it was not written, or after a mistake. `s` is section `limits`.
pub(super) fn limits(s: &Section<'_>) -> Option<SharedLimits> {
    of(s, "shared", |s, server| {
        let flush = s.or("flush", Duration::from_millis(100), |text| time(text).and_then(in_range));
        server.map(|server| SharedLimits { server, flush })
    })
}

/// Section `spool.shared_digests`, in the same way. `s` is section `spool`.
pub(super) fn digests(s: &Section<'_>) -> Option<SharedServer> {
    of(s, "shared_digests", |_, server| server)
}

fn of<T>(
    s: &Section<'_>,
    name: &'static str,
    read: impl FnOnce(&Section<'_>, Option<SharedServer>) -> Option<T>,
) -> Option<T> {
    s.has(name).then(|| s.section(name, |s| read(s, server(s)))).flatten()
}

fn server(s: &Section<'_>) -> Option<SharedServer> {
    let url = url(s);
    let ca_file = s.optional("ca_file", |text| s.reader.path(text));
    if let Some(file) = &ca_file {
        tls_files::check_ca(s, "ca_file", file);
    }
    let plain = url.as_ref().filter(|(_, url)| url.scheme_str() == Some("redis"));
    if ca_file.is_some() && plain.is_some() {
        s.mistake("ca_file", "is for rediss:// (TLS), and the address says redis://");
    }
    let password = secret(s, "password");
    if password.is_some() && plain.is_some_and(|(_, url)| !is_loopback(url)) {
        s.warning("url", "the password travels readable; keep the server on a private network, or use rediss://");
    }
    let prefix = s.or("prefix", "otelgate".to_owned(), name);
    Some(SharedServer { password, ca_file, prefix, url: url?.0 })
}

/// A password that stands in it is not repeated.
fn url(s: &Section<'_>) -> Option<(String, Uri)> {
    const REMEDY: &str = "write for example redis://valkey:6379, or rediss:// for TLS";
    if !s.has("url") {
        s.mistake("url", format!("is missing; {REMEDY}"));
    }
    let text = s.text("url")?.resolved;
    if let Some(why) = not_one_server(&text) {
        s.mistake("url", why);
        return None;
    }
    let parsed = text.parse::<Uri>().ok();
    let parsed = parsed.filter(|url| matches!(url.scheme_str(), Some("redis" | "rediss")) && url.host().is_some());
    let Some(parsed) = parsed.filter(|url| url.query().is_none()) else {
        s.mistake("url", format!("is not the address of a Redis or Valkey; {REMEDY}"));
        return None;
    };
    let user = parsed.authority().and_then(|authority| authority.as_str().rsplit_once('@'));
    if user.is_some_and(|(user, _)| user.contains(':')) {
        s.mistake("url", "holds a password, which would stand in logs; write it as `password`");
        return None;
    }
    if !parsed.path().trim_start_matches('/').bytes().all(|byte| byte.is_ascii_digit()) {
        s.mistake("url", "has a path that is no database's number; write for example redis://valkey:6379/0");
        return None;
    }
    Some((text.to_string(), parsed))
}

/// What is no address of one server, and what to write instead. Neither Sentinels nor a cluster's other nodes are asked.
fn not_one_server(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let (scheme, several) = (scheme.to_ascii_lowercase(), rest.contains(','));
    let advice = match () {
        () if scheme.contains("sentinel") => {
            "names Sentinels, which are not asked; write the address that leads to the master: a service name, or a proxy's that follows it"
        }
        () if scheme.contains("cluster") => {
            "names a cluster, whose redirections are not followed; write the node that has the slot of `prefix` (redis-cli cluster keyslot '{otelgate}'), or a proxy's address"
        }
        () if matches!(&*scheme, "valkey" | "valkeys") => "is written redis:// for a Valkey too, or rediss:// for TLS",
        () if matches!(&*scheme, "unix" | "redis+unix" | "redis-socket") => {
            "is a socket of this machine, and is for sharing with other machines; write redis:// and the server's name"
        }
        () if several => "names several servers, and one is asked; write one address, or a proxy's",
        () => return None,
    };
    Some(advice.to_owned())
}

fn in_range(time: Duration) -> Result<Duration, String> {
    let (least, most) = (Duration::from_millis(10), Duration::from_secs(1));
    if (least..=most).contains(&time) { Ok(time) } else { Err("is not between 10ms and 1s".to_owned()) }
}
