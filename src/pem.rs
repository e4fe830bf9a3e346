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
    /// No private key.
    #[error("holds no PEM private key (BEGIN PRIVATE KEY)")]
    PrivateKey,
    /// One that takes a passphrase (PKCS#8's, RFC 5958, or that of OpenSSL's older form, RFC 1421).
    #[error(
        "holds a private key with a passphrase, which nobody is there to type at a start; write it without: \
         openssl pkey -in KEY_FILE -out NEW_FILE && chmod 600 NEW_FILE"
    )]
    Passphrase,
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
    let holds = |words: &str| pem.windows(words.len()).any(|part| part == words.as_bytes());
    // Before it is read: the older form is a key whose bytes mean nothing.
    if holds("BEGIN ENCRYPTED PRIVATE KEY") || holds("Proc-Type: 4,ENCRYPTED") {
        return Err(Lack::Passphrase);
    }
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
        for locked in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMIIB\n-----END EC PRIVATE KEY-----\n",
        ] {
            assert_eq!(private_key((certificate.clone() + locked).as_bytes()), Err(Lack::Passphrase));
        }
        // Its line breaks were lost on the way, in a variable say.
        assert_eq!(private_key(key.replace('\n', "").as_bytes()), Err(Lack::PrivateKey));
    }
}
