//! One token (a signed JSON Web Token, RFC 7519): what it claims, and whether that is true.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::key_set::PublicKey;
use crate::config::OidcIssuer;

/// Why a token is not taken. Never with anything of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("it is no JSON Web Token, or has no issuer")]
    Malformed,
    #[error("its issuer is none of keys.oidc")]
    Issuer,
    #[error("its issuer has no key with its id (kid)")]
    KeyId,
    #[error("its issuer's keys are not here yet")]
    KeysAwaited,
    #[error("its algorithm is not that of its key")]
    Algorithm,
    #[error("its signature is not its issuer's")]
    Signature,
    #[error("it is over, or says no end (exp)")]
    Expired,
    #[error("it is not valid yet (nbf); is this machine's clock right?")]
    NotYet,
    #[error("it is not meant for otelgate (aud)")]
    Audience,
    #[error("it has not the claim of name_claim, as a text that is not empty")]
    Name,
}

impl Refused {
    /// A word for the metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Refused::Malformed => "malformed",
            Refused::Issuer => "issuer",
            Refused::KeyId => "key_id",
            Refused::KeysAwaited => "keys_awaited",
            Refused::Algorithm => "algorithm",
            Refused::Signature => "signature",
            Refused::Expired => "expired",
            Refused::NotYet => "not_yet",
            Refused::Audience => "audience",
            Refused::Name => "name",
        }
    }
}

/// What a token that is true says.
#[derive(Debug)]
pub(super) struct Verified {
    /// The claim that names its bearer.
    pub(super) name: String,
    /// The place of the first rule that fits; `None`: none does.
    pub(super) rule: Option<usize>,
    /// It is over from then on.
    pub(super) until: SystemTime,
    /// Of the keys that it was verified with.
    pub(super) generation: u64,
}

#[derive(Deserialize)]
struct Claimed {
    iss: String,
}

/// Whether it is worth a look: three parts, of which the first begins as every JSON object does in base64.
pub(super) fn looks_like_one(presented: &[u8]) -> bool {
    presented.starts_with(b"eyJ") && presented.iter().filter(|byte| **byte == b'.').count() == 2
}

/// The key id and the issuer that a token claims: where to look, nothing more.
pub(super) fn claimed(token: &[u8]) -> Result<(Option<String>, String), Refused> {
    let header = decode_header(token).map_err(|_| Refused::Malformed)?;
    let claimed: Claimed = insecure_decode_claims(token).map_err(|_| Refused::Malformed)?;
    Ok((header.kid, claimed.iss))
}

/// Verifies a token with the key that it names.
pub(super) fn verify(token: &[u8], key: &PublicKey, generation: u64, config: &OidcIssuer) -> Result<Verified, Refused> {
    let mut validation = Validation::new(key.algorithm);
    validation.set_issuer(&[&config.issuer]);
    validation.set_audience(&config.audience);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.validate_nbf = true;
    validation.leeway = config.leeway.as_secs();
    let claims = decode::<Map<String, Value>>(token, &key.key, &validation).map_err(|error| refused(error.kind()))?;
    let claims = claims.claims;
    let name = claims.get(&config.name_claim).and_then(Value::as_str).filter(|name| !name.is_empty());
    let expires = claims.get("exp").and_then(Value::as_f64).filter(|expires| *expires >= 0.0);
    let expires = expires.and_then(|expires| Duration::try_from_secs_f64(expires).ok());
    let until = expires.and_then(|expires| UNIX_EPOCH.checked_add(expires.checked_add(config.leeway)?));
    Ok(Verified {
        name: name.ok_or(Refused::Name)?.to_owned(),
        rule: config
            .rules
            .iter()
            .position(|rule| claims.get(&rule.claim).is_some_and(|claim| holds(claim, &rule.value))),
        until: until.ok_or(Refused::Expired)?,
        generation,
    })
}

/// Whether a claim is this value, lists it, or has it among its words (as `scope` does: RFC 8693, 4.2).
fn holds(claim: &Value, value: &str) -> bool {
    match claim {
        Value::String(text) => text == value || text.split(' ').any(|word| word == value),
        Value::Array(all) => all.iter().any(|one| one.as_str() == Some(value)),
        Value::Bool(flag) => value == if *flag { "true" } else { "false" },
        _ => false,
    }
}

fn refused(kind: &ErrorKind) -> Refused {
    match kind {
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => Refused::Algorithm,
        ErrorKind::InvalidSignature => Refused::Signature,
        ErrorKind::ExpiredSignature => Refused::Expired,
        ErrorKind::ImmatureSignature => Refused::NotYet,
        ErrorKind::InvalidAudience => Refused::Audience,
        ErrorKind::InvalidIssuer => Refused::Issuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "exp" => Refused::Expired,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => Refused::Audience,
        _ => Refused::Malformed,
    }
}
