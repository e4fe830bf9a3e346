//! Origins of web pages: scheme, host and port (RFC 6454), in the one form in which they can be compared.

use std::fmt;

/// An origin that may send: `https://app.example.com`, or every host below one: `https://*.example.com`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    scheme: String,
    /// Without `*.`.
    host: String,
    /// The scheme's own is filled in.
    port: Option<u16>,
    /// Every host below `host`, and not `host` itself.
    below: bool,
}

impl Origin {
    /// As a person writes it, or a browser sends it: scheme and host in any case, the scheme's own port written or not. `None`: something
    /// else stands there, a path say.
    pub(super) fn parse(text: &str) -> Option<Origin> {
        let (scheme, authority) = text.split_once("://")?;
        let (host, port) = match authority.rsplit_once(':') {
            // The colons of an IPv6 address stand within brackets.
            Some((host, port)) if !port.contains(']') => (host, Some(port.parse().ok()?)),
            _ => (authority, None),
        };
        let (host, below) = host.strip_prefix("*.").map_or((host, false), |host| (host, true));
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
        if scheme.is_empty() || host.is_empty() || !host.bytes().all(allowed) || host.starts_with('.') {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let port = port.or(match scheme.as_str() {
            "https" => Some(443),
            "http" => Some(80),
            _ => None,
        });
        Some(Origin { scheme, host: host.to_ascii_lowercase(), port, below })
    }

    /// Whether a page's origin is this one, or one of these.
    fn covers(&self, page: &Origin) -> bool {
        let host = match self.below {
            false => page.host == self.host,
            true => page.host.strip_suffix(&self.host).is_some_and(|below| below.len() > 1 && below.ends_with('.')),
        };
        host && !page.below && page.scheme == self.scheme && page.port == self.port
    }
}

/// Which origins a browser may send from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AllowedOrigins {
    /// Every origin.
    Any,
    /// These.
    List(Vec<Origin>),
}

impl AllowedOrigins {
    /// Whether a page of this origin, as the browser names it, may send.
    pub(crate) fn allow(&self, origin: &str) -> bool {
        match self {
            AllowedOrigins::Any => true,
            AllowedOrigins::List(list) => {
                Origin::parse(origin).is_some_and(|page| list.iter().any(|allowed| allowed.covers(&page)))
            }
        }
    }
}

impl AllowedOrigins {
    /// Whether some page of this origin may send.
    pub(super) fn meet(&self, origin: &Origin) -> bool {
        let AllowedOrigins::List(list) = self else { return true };
        let below = |host: &str, above: &str| {
            host.strip_suffix(above).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        list.iter().any(|allowed| {
            let hosts = match (allowed.below, origin.below) {
                (_, false) => return allowed.covers(origin),
                (false, true) => allowed.host != origin.host && below(&allowed.host, &origin.host),
                (true, true) => below(&allowed.host, &origin.host) || below(&origin.host, &allowed.host),
            };
            hosts && allowed.scheme == origin.scheme && allowed.port == origin.port
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { scheme, host, port, below } = self;
        write!(f, "{scheme}://{}{host}", if *below { "*." } else { "" })?;
        match (port, scheme.as_str()) {
            (None, _) | (Some(443), "https") | (Some(80), "http") => Ok(()),
            (Some(port), _) => write!(f, ":{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(list: &[&str], origin: &str) -> bool {
        AllowedOrigins::List(list.iter().map(|text| Origin::parse(text).unwrap()).collect()).allow(origin)
    }

    #[test]
    fn one_origin_in_all_its_spellings() {
        for listed in ["https://Shop.example", "https://shop.example:443", "HTTPS://shop.example"] {
            for origin in ["https://shop.example", "https://SHOP.example:443"] {
                assert!(allowed(&[listed], origin), "{listed} {origin}");
            }
            for other in ["http://shop.example", "https://shop.example:8443", "https://a.shop.example", "null", ""] {
                assert!(!allowed(&[listed], other), "{listed} {other}");
            }
        }
        assert!(
            allowed(&["http://[::1]:3000"], "http://[::1]:3000") && !allowed(&["http://[::1]"], "http://[::1]:3000")
        );
        assert!(allowed(&["capacitor://localhost"], "capacitor://localhost"));
    }

    #[test]
    fn a_star_stands_for_hosts_below_and_for_nothing_else() {
        let list = ["https://*.example.com"];
        for origin in ["https://a.example.com", "https://b.a.EXAMPLE.com:443"] {
            assert!(allowed(&list, origin), "{origin}");
        }
        for origin in [
            "https://example.com",
            "https://.example.com",
            "https://evilexample.com",
            "https://example.com.evil.net",
            "http://a.example.com",
            "https://*.example.com",
        ] {
            assert!(!allowed(&list, origin), "{origin}");
        }
    }

    #[test]
    fn two_origins_meet_where_one_page_is_of_both() {
        let origin = |text: &str| Origin::parse(text).unwrap();
        for (allowed, other, meet) in [
            ("https://a.b.c", "https://a.b.c:443", true),
            ("https://*.b.c", "https://a.b.c", true),
            ("https://a.b.c", "https://*.b.c", true),
            ("https://*.c", "https://*.b.c", true),
            ("https://*.a.b.c", "https://*.b.c", true),
            ("https://b.c", "https://*.b.c", false),
            ("https://*.b.c", "https://b.c", false),
            ("https://*.ab.c", "https://*.b.c", false),
            ("http://*.b.c", "https://*.b.c", false),
        ] {
            assert_eq!(AllowedOrigins::List(vec![origin(allowed)]).meet(&origin(other)), meet, "{allowed} {other}");
        }
        assert!(AllowedOrigins::Any.meet(&origin("https://a")));
        for text in ["https://*.b.c", "http://[::1]:3000", "capacitor://localhost", "https://b.c"] {
            assert_eq!(origin(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_origin() {
        for text in [
            "",
            "*",
            "null",
            "shop.example",
            "https://",
            "https://a/",
            "https://a b",
            "https://a:x",
            "https://*",
            "https://a.*.b",
            "://a",
        ] {
            assert_eq!(Origin::parse(text), None, "{text}");
        }
    }
}
