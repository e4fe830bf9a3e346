//! By what names a client certificate belongs to an entry of keys.yaml.

use std::fmt;

use data_encoding::HEXLOWER;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// One of the names of a client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CertificateName {
    /// SHA-256 of the whole certificate (its DER bytes).
    Fingerprint([u8; 32]),
    /// A URI of its subjectAltName, as it stands there.
    Uri(String),
    /// A DNS name of its subjectAltName, in lower case.
    Dns(String),
}

impl CertificateName {
    /// Reads `spiffe://…` or another URI, `DNS:host`, or a SHA-256 fingerprint: 64 hex digits, in pairs with `:` between them or without, as
    /// `openssl x509 -noout -fingerprint -sha256` prints them.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            "is not a certificate's name; write spiffe://…, DNS:host.example, or the SHA-256 fingerprint of the certificate"
                .to_owned()
        };
        if let Some(host) = text.strip_prefix("DNS:") {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            let good = !host.is_empty() && host.bytes().all(plain);
            return good.then(|| CertificateName::Dns(host.to_ascii_lowercase())).ok_or_else(wrong);
        }
        let uri = text.strip_prefix("URI:").unwrap_or(text);
        if uri.contains("://") {
            let good = uri.bytes().all(|byte| byte.is_ascii_graphic());
            return good.then(|| CertificateName::Uri(uri.to_owned())).ok_or_else(wrong);
        }
        let digits = text.strip_prefix("SHA256:").unwrap_or(text).replace(':', "").to_ascii_lowercase();
        let digest = HEXLOWER.decode(digits.as_bytes()).ok().and_then(|digest| digest.try_into().ok());
        digest.map(CertificateName::Fingerprint).ok_or_else(wrong)
    }

    /// What stands for it among the digests of keys. No key has this one: what is hashed holds a byte that no header can carry.
    pub(crate) fn digest(&self) -> [u8; 32] {
        Sha256::digest(format!("certificate\0{self}")).into()
    }

    /// All names of a certificate, the most exact first.
    pub(crate) fn all_of(leaf: &CertificateDer<'_>) -> Vec<CertificateName> {
        let mut names = vec![CertificateName::Fingerprint(Sha256::digest(leaf).into())];
        let Ok((_, parsed)) = X509Certificate::from_der(leaf) else {
            return names;
        };
        let found = parsed.subject_alternative_name().ok().flatten();
        let found = found.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let uris: Vec<&str> =
            found.iter().filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None }).collect();
        // A certificate with a SPIFFE ID has one URI; one with several has none (X.509-SVID, section 2).
        let clear = |uri: &&&str| uris.len() == 1 || !uri.starts_with("spiffe://");
        names.extend(uris.iter().filter(clear).map(|uri| CertificateName::Uri((*uri).to_owned())));
        names.extend(found.iter().filter_map(|name| match name {
            GeneralName::DNSName(host) => Some(CertificateName::Dns(host.to_ascii_lowercase())),
            _ => None,
        }));
        names
    }
}

impl fmt::Display for CertificateName {
    /// As [`CertificateName::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateName::Fingerprint(digest) => write!(f, "SHA256:{}", HEXLOWER.encode(digest)),
            CertificateName::Uri(uri) => f.write_str(uri),
            CertificateName::Dns(host) => write!(f, "DNS:{host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn three_kinds_are_read() {
        let hex = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        let fingerprint = CertificateName::Fingerprint([0xab; 32]);
        for text in [&hex, &colons, &format!("SHA256:{hex}"), &format!("SHA256:{colons}")] {
            assert_eq!(CertificateName::parse(text), Ok(fingerprint.clone()), "{text}");
        }
        assert_eq!(CertificateName::parse("DNS:Shop.Example"), Ok(CertificateName::Dns("shop.example".into())));
        assert_eq!(CertificateName::parse("spiffe://td/a"), Ok(CertificateName::Uri("spiffe://td/a".into())));
        for wrong in ["", "shop", "DNS:", "DNS:*.example", "DNS:a b", "spiffe://a b", "abab", &format!("{hex}ab")] {
            assert!(CertificateName::parse(wrong).is_err(), "{wrong}");
        }
        for name in ["DNS:a.example", "spiffe://td/a", &format!("SHA256:{hex}")] {
            assert_eq!(CertificateName::parse(name).unwrap().to_string(), name);
        }
    }

    #[test]
    fn a_certificate_is_all_of_its_names_and_of_two_spiffe_ids_none() {
        let of = |names: &[&str]| {
            let mut params = CertificateParams::new(["Edge.example".to_owned()]).unwrap();
            params.subject_alt_names.extend(names.iter().map(|name| SanType::URI((*name).try_into().unwrap())));
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            CertificateName::all_of(certificate.der())[1..].iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of(&["spiffe://td/a"]), ["spiffe://td/a", "DNS:edge.example"]);
        assert_eq!(of(&["spiffe://td/a", "spiffe://td/b"]), ["DNS:edge.example"]);
        assert_eq!(of(&["https://a/", "https://b/"]), ["https://a/", "https://b/", "DNS:edge.example"]);
    }
}
