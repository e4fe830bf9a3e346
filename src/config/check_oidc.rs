//! Section `keys.oidc`: a list of issuers whose tokens are keys.

use std::time::Duration;

use super::rules::{is_loopback, key_defaults, key_limits, signals};
use super::section::Section;
use super::value::{count, name, positive_time, time, word};
use super::{KeyLimits, KeyRules, Largest, OidcIssuer, OidcRule, tls_files};

/// The whole list.
pub(super) fn issuers(s: &Section<'_>, rules: &KeyRules) -> Vec<OidcIssuer> {
    let mut seen: Vec<(String, String)> = Vec::new();
    let issuers = s.sections("oidc", |section| {
        let issuer = issuer(section, rules)?;
        if seen.iter().any(|(other, _)| *other == issuer.issuer) {
            section.mistake("issuer", "is there twice; keep one");
        } else if seen.iter().any(|(_, prefix)| *prefix == issuer.name_prefix) {
            let message =
                "must be written, and differ from issuer to issuer: what two issuers call by one name is not the same";
            section.mistake("name_prefix", message);
        }
        seen.push((issuer.issuer.clone(), issuer.name_prefix.clone()));
        Some(issuer)
    });
    issuers.into_iter().flatten().collect()
}

/// `None` after a mistake.
fn issuer(s: &Section<'_>, rules: &KeyRules) -> Option<OidcIssuer> {
    let issuer = s.required("issuer", "write the issuer's address as its tokens have it in `iss`", issuer_url);
    let audience = s.list("audience", word);
    if !s.has("audience") {
        s.mistake("audience", "is missing; a token that is meant for somebody else must not be a key here");
    }
    let ca_file = s.optional("ca_file", |text| s.reader.path(text));
    if let Some(file) = &ca_file {
        tls_files::check_ca(s, "ca_file", file);
    }
    let defaults = key_defaults(s, rules);
    let own = s.sections("rules", |section| rule(section, &defaults.limits, rules.largest));
    let refresh_interval = s.or("refresh_interval", Duration::from_secs(600), positive_time);
    let keys_max_age = s.or("keys_max_age", Duration::from_secs(86_400), positive_time);
    super::rules::shorter(s, "refresh_interval", refresh_interval, "keys_max_age", keys_max_age);
    Some(OidcIssuer {
        ca_file,
        name_claim: s.or("name_claim", "sub".to_owned(), word),
        name_prefix: s.or("name_prefix", String::new(), |text| name(text).and_then(short)),
        max_names: s.or("max_names", 1000, count),
        leeway: s.or("leeway", Duration::from_secs(60), |text| time(text).and_then(at_most_ten_minutes)),
        refresh_interval,
        keys_max_age,
        rules: own.into_iter().flatten().collect(),
        defaults,
        issuer: issuer?,
        audience: audience?,
    })
}

fn rule(s: &Section<'_>, limits: &KeyLimits, largest: Largest) -> Option<OidcRule> {
    let claim = s.required("claim", "name the claim that is looked at", word);
    let value = s.required("value", "write what the claim is, lists, or has among its words", word);
    let (signals, limits) = (signals(s), s.section("limits", |section| key_limits(section, *limits, largest)));
    Some(OidcRule { claim: claim?, value: value?, signals, limits })
}

/// What is signed over plain text is signed by whoever sits on the way.
fn issuer_url(text: &str) -> Result<String, String> {
    let url: http::Uri =
        text.parse().map_err(|_| "is not a URL; write for example https://login.example.com".to_owned())?;
    let https = url.scheme_str() == Some("https");
    if url.host().is_none_or(str::is_empty) || !(https || url.scheme_str() == Some("http") && is_loopback(&url)) {
        return Err("is not an https:// address (http:// is for an issuer on this machine)".to_owned());
    }
    if url.query().is_some() || url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("holds a user or a query, which no issuer has".to_owned());
    }
    Ok(text.to_owned())
}

fn short(text: String) -> Result<String, String> {
    if text.len() > 32 { Err("is longer than 32 characters".to_owned()) } else { Ok(text) }
}

fn at_most_ten_minutes(time: Duration) -> Result<Duration, String> {
    if time > Duration::from_secs(600) { Err("is longer than 10m".to_owned()) } else { Ok(time) }
}
