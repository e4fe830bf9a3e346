//! `GET /`: the status page. One file, which asks `/status`, `/metrics` and `/readyz` by itself and shows nothing that does not stand there.
//!
//! Invariant: nothing on it comes from elsewhere, and nothing that is shown can become script. The policy of its content (CSP) allows
//! the file's own style and script by their digests, and requests to this listener only.

use std::sync::LazyLock;

use axum::Router;
use axum::http::header;
use axum::response::Html;
use axum::routing::get;
use data_encoding::BASE64;
use sha2::{Digest, Sha256};

const PAGE: &str = include_str!("page.html");

static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; connect-src 'self'; style-src {}; script-src {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        digest("style"),
        digest("script")
    )
});

/// The page's route.
pub(super) fn router() -> Router {
    let headers = || {
        [
            (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-cache"),
        ]
    };
    Router::new().route("/", get(move || async move { (headers(), Html(PAGE)) }))
}

/// The digest of what stands in the file's only element of this name, as CSP has it.
fn digest(element: &str) -> String {
    let inside =
        PAGE.split_once(&format!("<{element}>")).and_then(|(_, rest)| rest.split_once(&format!("</{element}>")));
    let (inside, _) = inside.unwrap_or_default();
    format!("'sha256-{}'", BASE64.encode(&Sha256::digest(inside)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_small_and_takes_nothing_from_elsewhere() {
        assert!(PAGE.len() < 60_000, "{}", PAGE.len());
        for element in ["style", "script"] {
            assert_eq!(PAGE.matches(&format!("<{element}")).count(), 1, "{element}");
            assert_ne!(digest(element), format!("'sha256-{}'", BASE64.encode(&Sha256::digest(""))));
        }
        let foreign = PAGE.replace("http://www.w3.org/2000/svg", "");
        for way_in in ["://", "src=", "href=", "innerHTML", "style=", "onclick", "eval("] {
            assert!(!foreign.contains(way_in), "{way_in}");
        }
        assert!(POLICY.starts_with("default-src 'none'") && !POLICY.contains("unsafe"), "{}", *POLICY);
    }
}
