//! Section `keys`: where keys come from. A source more is a field of [`Keys`] and a function here.

use std::time::Duration;

use http::Uri;

use super::rules::{is_loopback, key_defaults};
use super::section::Section;
use super::value::{count, flag, positive_time, time};
use super::{ClickStackKeys, KeyRules, Keys, check_oidc, tls_files};

/// The path of every OpAMP server that names none.
const OPAMP_PATH: &str = "/v1/opamp";

/// The whole section.
pub(super) fn keys(s: &Section<'_>, rules: &KeyRules) -> Keys {
    let path = |text: &str| s.reader.path(text);
    let clickstack = s.has("clickstack").then(|| s.section("clickstack", |section| clickstack(section, rules)));
    let oidc = check_oidc::issuers(s, rules);
    // A configuration that names no source means the file beside it.
    let default = if clickstack.is_some() || !oidc.is_empty() { None } else { path("keys.yaml").ok() };
    Keys {
        file: s.optional("file", path).or(default),
        clickstack: clickstack.flatten(),
        oidc,
        max_failures_per_minute: s.or("max_failures_per_minute", 20, count),
    }
}

/// `None` after a mistake, or where the address is a variable that may be absent and is.
fn clickstack(s: &Section<'_>, rules: &KeyRules) -> Option<ClickStackKeys> {
    let url = (!s.is_absent("url"))
        .then(|| s.required("url", "write for example http://hyperdx:4320, the app's OpAMP port", opamp_url))
        .flatten();
    let ca_file = s.optional("ca_file", |text| s.reader.path(text));
    if let Some(file) = &ca_file {
        tls_files::check_ca(s, "ca_file", file);
    }
    if let Some(url) = url.as_ref().filter(|url| url.scheme_str() == Some("http") && !is_loopback(url)) {
        s.warning(
            "url",
            format!("ClickStack's keys travel readable from {url}; keep it on a private network, or use https"),
        );
    }
    Some(ClickStackKeys {
        ca_file,
        poll_interval: s.or("poll_interval", Duration::from_secs(30), positive_time),
        grace: s.or("grace", Duration::from_secs(600), time),
        open_ingestion: s.or("open_ingestion", false, flag),
        defaults: key_defaults(s, rules),
        url: url?,
    })
}

fn opamp_url(text: &str) -> Result<Uri, String> {
    let wrong = || "is not a URL; write for example http://hyperdx:4320".to_owned();
    let url: Uri = text.parse().map_err(|_| wrong())?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none_or(str::is_empty) {
        return Err(wrong());
    }
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("holds a user or password; the app's OpAMP server asks for none".to_owned());
    }
    if url.path() != "/" {
        return Ok(url);
    }
    format!("{}{OPAMP_PATH}", text.trim_end_matches('/')).parse().map_err(|_| wrong())
}
