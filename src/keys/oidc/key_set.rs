//! An issuer's public keys (JSON Web Key Set, RFC 7517), each for one algorithm.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// More than any issuer has; what follows is left out.
const MAX_KEYS: usize = 100;
/// Digits of a modulus of 2048 bits in base64: RFC 7518, 3.3, asks for no less.
const LEAST_MODULUS: usize = 342;

/// The keys as they were fetched.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<PublicKey>,
    /// Other keys, another number.
    pub(super) generation: u64,
}

/// A key, and the one algorithm that it is for.
#[derive(Debug)]
pub(super) struct PublicKey {
    id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

#[derive(Deserialize)]
struct Written {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// The keys of a set that can be used: RS256, ES256 and EdDSA, for signatures. What else is in it is passed over, as RFC 7517, 5, says.
    /// `None`: it is no set.
    pub(super) fn read(body: &[u8], generation: u64) -> Option<KeySet> {
        let written: Written = serde_json::from_slice(body).ok()?;
        let keys = written.keys.into_iter().take(MAX_KEYS);
        let keys = keys.filter_map(|key| public_key(&serde_json::from_value(key).ok()?)).collect();
        Some(KeySet { keys, generation })
    }

    /// The key of this id; without one, the only key that there is.
    pub(super) fn find(&self, id: Option<&str>) -> Option<&PublicKey> {
        match (id, &*self.keys) {
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// How many can be used.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether these are the same keys.
    pub(super) fn is_same(&self, other: &KeySet) -> bool {
        let same = |(one, two): (&PublicKey, &PublicKey)| {
            one.id == two.id && one.algorithm == two.algorithm && one.bytes() == two.bytes()
        };
        self.keys.len() == other.keys.len() && self.keys.iter().zip(&other.keys).all(same)
    }
}

impl PublicKey {
    fn bytes(&self) -> Vec<u8> {
        use jsonwebtoken::DecodingKeyKind::{RsaModulusExponent, SecretOrDer};
        match self.key.kind() {
            SecretOrDer(bytes) => bytes.clone(),
            RsaModulusExponent { n, e } => [&n[..], &[0], e].concat(),
        }
    }
}

/// Its kind decides the algorithm. A symmetric key is none that an issuer may publish.
fn public_key(jwk: &Jwk) -> Option<PublicKey> {
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) if rsa.n.len() >= LEAST_MODULUS => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    let common = &jwk.common;
    let for_signatures = common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature);
    let for_this = common.key_algorithm.as_ref().is_none_or(|of| *of == name);
    let key = DecodingKey::from_jwk(jwk).ok()?;
    (for_signatures && for_this).then(|| PublicKey { id: common.key_id.clone(), algorithm, key })
}
