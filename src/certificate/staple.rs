//! An OCSP response that is shown with a certificate (stapled), as far as it is looked at here: what it is about and until when it counts (RFC 6960,
//! section 4.2). Whether its signature is right is the client's business.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::Any;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::{Findings, day, seconds};

/// A response about one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Staple {
    pub(crate) der: Vec<u8>,
    revoked: bool,
    /// When it is to be replaced, in seconds since 1970.
    next_update: Option<i64>,
}

/// Why a file cannot be shown, in words that go on after its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is something else, or says that there is no answer.
    #[error("holds no OCSP response in DER (`openssl ocsp -respout FILE` writes one)")]
    NoResponse,
    /// It is about another certificate.
    #[error("holds an OCSP response about another certificate")]
    Another,
}

impl Staple {
    /// Reads a response, which is to be about `leaf`.
    ///
    /// # Errors
    /// [`Unusable`].
    pub(crate) fn read(der: &[u8], leaf: &CertificateDer<'_>) -> Result<Staple, Unusable> {
        let Single { serial, revoked, next_update } = single(der).ok_or(Unusable::NoResponse)?;
        let about = X509Certificate::from_der(leaf).is_ok_and(|(_, leaf)| leaf.raw_serial() == serial);
        if about { Ok(Staple { der: der.to_vec(), revoked, next_update }) } else { Err(Unusable::Another) }
    }

    /// Whether it still counts.
    pub(crate) fn counts(&self, now: SystemTime) -> bool {
        self.next_update.is_none_or(|due| seconds(now) <= due)
    }

    /// What a person should hear of it.
    pub(crate) fn findings(&self, now: SystemTime) -> Findings {
        let mut found = Findings::default();
        if self.revoked {
            found.warnings.push("says that the certificate is revoked".to_owned());
        }
        if let Some(due) = self.next_update.filter(|_| !self.counts(now)) {
            found.warnings.push(format!("was to be replaced on {}; it is not shown any more", day(due)));
        }
        found
    }
}

/// What the first SingleResponse says.
struct Single<'a> {
    serial: &'a [u8],
    revoked: bool,
    next_update: Option<i64>,
}

const SUCCESSFUL: &[u8] = &[0];
const SEQUENCE: u32 = 16;
const OCTETS: u32 = 4;

fn single(der: &[u8]) -> Option<Single<'_>> {
    let (rest, response) = Any::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let [status, bytes] = children(of(response, SEQUENCE)?).try_into().ok()?;
    if status.data != SUCCESSFUL {
        return None;
    }
    // [0] { SEQUENCE { responseType, response OCTET STRING { BasicOCSPResponse { tbsResponseData, … } } } }
    let basic = children(of(first(bytes.data)?, SEQUENCE)?).into_iter().nth(1)?;
    let data = first(of(first(of(basic, OCTETS)?)?, SEQUENCE)?)?;
    // Before them a version, who answers and when: none of these is a SEQUENCE.
    let responses = children(of(data, SEQUENCE)?).into_iter().find_map(|part| of(part, SEQUENCE))?;
    let mut parts = children(of(first(responses)?, SEQUENCE)?).into_iter();
    let (id, status, _this_update) = (parts.next()?, parts.next()?, parts.next()?);
    let serial = children(of(id, SEQUENCE)?).into_iter().nth(3)?.data;
    let due = parts.find(|part| is_context(part, 0));
    let next_update = match due {
        Some(due) => Some(time(first(due.data)?.data)?),
        None => None,
    };
    Some(Single { serial, revoked: is_context(&status, 1), next_update })
}

/// The content, when the tag is this universal one.
fn of(any: Any<'_>, tag: u32) -> Option<&[u8]> {
    (any.class() == x509_parser::asn1_rs::Class::Universal && any.tag().0 == tag).then_some(any.data)
}

fn is_context(any: &Any<'_>, tag: u32) -> bool {
    any.class() == x509_parser::asn1_rs::Class::ContextSpecific && any.tag().0 == tag
}

fn first(bytes: &[u8]) -> Option<Any<'_>> {
    Any::from_der(bytes).ok().map(|(_, any)| any)
}

fn children(mut bytes: &[u8]) -> Vec<Any<'_>> {
    let mut all = Vec::new();
    while let Ok((rest, any)) = Any::from_der(bytes) {
        all.push(any);
        bytes = rest;
    }
    all
}

/// `20260131120000Z`: GeneralizedTime in the one form that DER has for it here.
fn time(text: &[u8]) -> Option<i64> {
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    Some(Timestamp::from(time.to_zoned(TimeZone::UTC).ok()?).as_second())
}

/// For tests: what a responder says of a leaf. Nobody signed it.
#[cfg(test)]
pub(crate) fn staple_for(leaf: &CertificateDer<'_>, next_update: &str) -> Vec<u8> {
    let wrap = |tag: u8, parts: &[&[u8]]| {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        let length = if content.len() < 128 { vec![length[1]] } else { [&[0x82], &length[..]].concat() };
        [&[tag][..], &length, &content].concat()
    };
    let sequence = |parts: &[&[u8]]| wrap(0x30, parts);
    let (_, parsed) = X509Certificate::from_der(leaf).unwrap();
    let time = |text: &str| wrap(0x18, &[text.as_bytes()]);
    let (nothing, then) = (sequence(&[]), time("20260101000000Z"));
    let id = sequence(&[&nothing, &wrap(4, &[b"name"]), &wrap(4, &[b"key"]), &wrap(2, &[parsed.raw_serial()])]);
    let due = wrap(0xa0, &[&time(next_update)]);
    let single = sequence(&[&id, &[0x80, 0], &then, &due]);
    let data = sequence(&[&wrap(0xa2, &[&wrap(4, &[b"responder"])]), &then, &sequence(&[&single])]);
    let basic = sequence(&[&data, &nothing, &wrap(3, &[&[0, 1]])]);
    let kind = [6, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
    sequence(&[&[10, 1, 0], &wrap(0xa0, &[&sequence(&[&kind, &wrap(4, &[&basic])])])])
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    #[test]
    fn what_it_is_about_and_until_when_it_counts() {
        let leaf = || {
            let CertifiedKey { cert, .. } = generate_simple_self_signed(["a".to_owned()]).unwrap();
            cert.der().clone()
        };
        let (one, other) = (leaf(), leaf());
        let der = staple_for(&one, "20260131000000Z");
        let staple = Staple::read(&der, &one).unwrap();
        let due = UNIX_EPOCH + Duration::from_secs(1_769_817_600);
        assert!(staple.counts(due) && !staple.counts(due + Duration::from_secs(1)));
        assert_eq!(staple.findings(due), Findings::default());
        let late = staple.findings(due + Duration::from_secs(1)).warnings;
        assert_eq!(late, ["was to be replaced on 2026-01-31; it is not shown any more"]);
        assert_eq!(Staple::read(&der, &other), Err(Unusable::Another));
        let refusal = [0x30, 3, 10, 1, 6];
        for none in [&b""[..], b"text", &refusal, &der[..der.len() - 1], &one, &[&der[..], b"more"].concat()] {
            assert_eq!(Staple::read(none, &one), Err(Unusable::NoResponse));
        }
    }
}
