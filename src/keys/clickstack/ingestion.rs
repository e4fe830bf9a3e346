//! What the collector's configuration, which ClickStack's app hands out, says about ingestion keys.
//!
//! Invariant: a configuration that is not understood says nothing. Only one that plainly names the OTLP receiver without
//! authentication is open.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::keys::is_presentable;

/// The file of the app's configuration that is read.
pub(super) const CONFIG_FILE: &str = "config.json";

const RECEIVER: &str = "otlp/hyperdx";
const AUTHENTICATOR: &str = "bearertokenauth/hyperdx";

/// Who may send, as the app has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ingestion {
    /// Whoever presents one of these keys.
    Keys(Vec<TeamKey>),
    /// No team has a key yet.
    NoKeyYet,
    /// The app does not enforce keys.
    Open,
}

/// A team's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TeamKey {
    /// The team's place in the app's order, from 1.
    pub(super) team: usize,
    /// SHA-256 of the key; the key itself is not held.
    pub(super) sha256: [u8; 32],
}

/// Why a configuration says nothing. Never with what stands in it, for keys do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotUnderstood {
    #[error("it is not JSON of the form of a collector's configuration")]
    Json,
    #[error("its receiver otlp/hyperdx is authenticated by something else than bearertokenauth/hyperdx")]
    Authenticator,
}

#[derive(Deserialize)]
struct CollectorConfig<'a> {
    #[serde(default, borrow)]
    extensions: Extensions<'a>,
    #[serde(default, borrow)]
    receivers: Receivers<'a>,
    #[serde(borrow)]
    service: Service<'a>,
}

#[derive(Deserialize, Default)]
struct Extensions<'a> {
    #[serde(borrow, rename = "bearertokenauth/hyperdx")]
    bearer: Option<BearerTokens<'a>>,
}

#[derive(Deserialize)]
struct BearerTokens<'a> {
    #[serde(default, borrow)]
    tokens: Vec<Cow<'a, str>>,
}

#[derive(Deserialize, Default)]
struct Receivers<'a> {
    #[serde(borrow, rename = "otlp/hyperdx")]
    otlp: Option<Receiver<'a>>,
}

#[derive(Deserialize)]
struct Receiver<'a> {
    #[serde(borrow)]
    protocols: Protocols<'a>,
}

#[derive(Deserialize)]
struct Protocols<'a> {
    #[serde(borrow)]
    grpc: Option<Endpoint<'a>>,
    #[serde(borrow)]
    http: Option<Endpoint<'a>>,
}

#[derive(Deserialize)]
struct Endpoint<'a> {
    #[serde(borrow)]
    auth: Option<Auth<'a>>,
}

#[derive(Deserialize)]
struct Auth<'a> {
    authenticator: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Service<'a> {
    #[serde(borrow)]
    pipelines: BTreeMap<Cow<'a, str>, Pipeline<'a>>,
}

#[derive(Deserialize)]
struct Pipeline<'a> {
    #[serde(default, borrow)]
    receivers: Vec<Cow<'a, str>>,
}

/// Reads the body of [`CONFIG_FILE`].
///
/// # Errors
/// [`NotUnderstood`]; what was known before stays.
pub(super) fn read(body: &[u8]) -> Result<Ingestion, NotUnderstood> {
    let config: CollectorConfig<'_> = serde_json::from_slice(body).map_err(|_| NotUnderstood::Json)?;
    let listed =
        config.service.pipelines.values().flat_map(|pipeline| &pipeline.receivers).any(|name| name == RECEIVER);
    let Some(receiver) = config.receivers.otlp.filter(|_| listed) else {
        return Ok(Ingestion::NoKeyYet);
    };
    let endpoints = [receiver.protocols.grpc, receiver.protocols.http];
    let mut auth = endpoints.into_iter().flatten().filter_map(|endpoint| endpoint.auth).peekable();
    // One protocol with keys and one without is taken as keys for both: closed is the side to err on.
    if auth.peek().is_none() {
        return Ok(Ingestion::Open);
    }
    if auth.any(|auth| auth.authenticator != AUTHENTICATOR) {
        return Err(NotUnderstood::Authenticator);
    }
    let tokens = config.extensions.bearer.map(|bearer| bearer.tokens).unwrap_or_default();
    let tokens = tokens.iter().enumerate().map(|(place, token)| (place + 1, token.as_bytes()));
    // What nobody can present admits nobody, and takes no other team's key away.
    let presentable = tokens.filter(|(_, token)| is_presentable(token));
    let keys: Vec<_> =
        presentable.map(|(team, token)| TeamKey { team, sha256: Sha256::digest(token).into() }).collect();
    Ok(if keys.is_empty() { Ingestion::NoKeyYet } else { Ingestion::Keys(keys) })
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::super::opamp::proto::ServerToAgent;
    use super::*;

    /// The configuration in an answer that a real app gave (`tests/data/opamp`).
    fn recorded(answer: &[u8]) -> Vec<u8> {
        let answer = ServerToAgent::decode(answer).unwrap();
        let files = answer.remote_config.unwrap().config.unwrap().config_map;
        files[CONFIG_FILE].body.clone()
    }

    fn keys(tokens: &[&str]) -> Ingestion {
        let digest = |(place, token): (usize, &&str)| TeamKey { team: place + 1, sha256: Sha256::digest(token).into() };
        Ingestion::Keys(tokens.iter().enumerate().map(digest).collect())
    }

    #[test]
    fn what_a_real_app_says() {
        let read = |answer: &[u8]| read(&recorded(answer)).unwrap();
        let first = read(include_bytes!("../../../tests/data/opamp/first.res"));
        assert_eq!(first, keys(&["bb8f1216-9ec1-497b-a822-5c343ef74214"]));
        let teams = read(include_bytes!("../../../tests/data/opamp/two-teams.res"));
        assert_eq!(teams, keys(&["63a30f84-8050-497c-bf06-9b893333219d", "second-team-key"]));
        assert_eq!(read(include_bytes!("../../../tests/data/opamp/not-enforced.res")), Ingestion::Open);
    }

    fn config(grpc: &str, http: &str, tokens: &str, pipeline: &str) -> String {
        format!(
            r#"{{"extensions":{{"bearertokenauth/hyperdx":{{"tokens":{tokens}}}}},
                "receivers":{{"otlp/hyperdx":{{"protocols":{{"grpc":{grpc},"http":{http}}}}}}},
                "service":{{"pipelines":{{"traces":{{"receivers":[{pipeline}]}}}}}}}}"#
        )
    }

    #[test]
    fn open_takes_both_protocols_and_a_pipeline() {
        let (auth, none, listed) =
            (r#"{"auth":{"authenticator":"bearertokenauth/hyperdx"}}"#, "{}", r#""otlp/hyperdx""#);
        let of = |grpc, http, tokens, pipeline| read(config(grpc, http, tokens, pipeline).as_bytes());
        assert_eq!(of(none, none, "[]", listed), Ok(Ingestion::Open));
        assert_eq!(of(auth, none, r#"["k"]"#, listed), Ok(keys(&["k"])));
        assert_eq!(of(none, auth, "[]", listed), Ok(Ingestion::NoKeyYet));
        assert_eq!(of(none, none, "[]", r#""nop""#), Ok(Ingestion::NoKeyYet));
        assert_eq!(
            of(r#"{"auth":{"authenticator":"oidc"}}"#, auth, r#"["k"]"#, listed),
            Err(NotUnderstood::Authenticator)
        );
    }

    #[test]
    fn a_key_that_nobody_can_present_costs_no_other_team_its_key() {
        let auth = r#"{"auth":{"authenticator":"bearertokenauth/hyperdx"}}"#;
        let ingestion =
            read(config(auth, auth, r#"["", "zwei W\u00f6rter", "third"]"#, r#""otlp/hyperdx""#).as_bytes());
        assert_eq!(ingestion, Ok(Ingestion::Keys(vec![TeamKey { team: 3, sha256: Sha256::digest("third").into() }])));
    }

    #[test]
    fn garbage_says_nothing() {
        for garbage in
            [&b""[..], b"[]", b"{}", b"null", b"{\"receivers\":3}", b"{\"receivers\":{\"otlp/hyperdx\":{}}}", b"\xff"]
        {
            assert_eq!(read(garbage), Err(NotUnderstood::Json), "{garbage:?}");
        }
        assert_eq!(read(b"{\"service\":{\"pipelines\":{}}}"), Ok(Ingestion::NoKeyYet));
    }
}
