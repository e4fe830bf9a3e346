//! Certificates and private keys in PEM, read in one way wherever a file of them is named. No error repeats anything of the file, as the parser's
//! own do: a key whose line breaks were lost is one line, and they quote lines.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

/// What a file does not hold, in words that go on after its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// No certificate, or one that is cut or broken.
    #[error("holds no PEM certificate (BEGIN CERTIFICATE)")]
    Certificate,
    /// No revocation list, or one that is cut or broken.
    #[error("holds no PEM revocation list (BEGIN X509 CRL)")]
    RevocationList,
    /// No private key, or one that takes a passphrase.
    #[error("holds no PEM private key without a passphrase (BEGIN PRIVATE KEY)")]
    PrivateKey,
}

/// All certificates, in their order; one at least.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Lack> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or(Lack::Certificate)
}

/// All revocation lists, in their order; one at least.
pub(crate) fn revocation_lists(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, Lack> {
    let all: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or(Lack::RevocationList)
}

/// The first private key.
pub(crate) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Lack> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| Lack::PrivateKey)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    #[test]
    fn what_is_there_is_read_and_what_is_missing_is_named() {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["a".to_owned()]).expect("a certificate");
        let (certificate, key) = (cert.pem(), signing_key.serialize_pem());
        assert_eq!(certificates(certificate.repeat(2).as_bytes()).map(|all| all.len()), Ok(2));
        assert!(private_key((certificate.clone() + &key).as_bytes()).is_ok());
        for none in ["", "text", key.as_str(), &certificate[..certificate.len() / 2]] {
            assert_eq!(certificates(none.as_bytes()), Err(Lack::Certificate));
        }
        assert_eq!(private_key(certificate.as_bytes()), Err(Lack::PrivateKey));
        assert_eq!(revocation_lists(certificate.as_bytes()), Err(Lack::RevocationList));
        // Its line breaks were lost on the way, in a variable say.
        assert_eq!(private_key(key.replace('\n', "").as_bytes()), Err(Lack::PrivateKey));
    }
}
