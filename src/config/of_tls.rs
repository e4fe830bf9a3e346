//! Section `tls`, as the rest of the program reads it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use sha2::{Digest as _, Sha256};

use super::Secret;

/// How the OTLP listeners speak TLS.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tls {
    /// With certificates, which are reloaded when their files change.
    Files(TlsFiles),
    /// No TLS: said aloud in the configuration, and loopback only unless that was said too.
    Plaintext,
}

/// What is shown, and asked for, in a handshake.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TlsFiles {
    /// One at least, where all has been read. The first is for clients that name nobody whom another one names.
    pub(crate) certificates: Vec<CertificateFiles>,
    /// When set, clients must show a certificate signed by one of these (mTLS).
    pub(crate) client_ca_file: Option<PathBuf>,
    /// What these have revoked.
    pub(crate) client_crl_file: Option<PathBuf>,
    /// The oldest version that is spoken.
    pub(crate) min_version: TlsVersion,
    /// The last certificate is ordered by itself.
    pub(crate) acme: Option<Box<Acme>>,
}

/// How a certificate is ordered from a directory (RFC 8555).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Acme {
    /// Whom it is for; DNS names in lower case.
    pub(crate) domains: Vec<String>,
    /// Whom the directory may write to.
    pub(crate) email: Option<String>,
    /// The directory's URL.
    pub(crate) directory: String,
    /// Of the directory's certificate; the public CAs when absent.
    pub(crate) ca_file: Option<PathBuf>,
    /// What is kept, of every directory.
    pub(crate) cache_dir: PathBuf,
    /// How it is proven that the names lead here.
    pub(crate) challenge: Challenge,
    /// Where the directory wants an account that was made elsewhere (section 7.3.4).
    pub(crate) eab: Option<Eab>,
}

/// How it is proven that a name leads here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// By a certificate, on the OTLP listeners (RFC 8737).
    TlsAlpn01,
    /// By a text, on a listener of its own.
    Http01(SocketAddr),
}

/// External account binding.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Eab {
    /// The account's name there.
    pub(crate) key_id: String,
    /// base64url.
    pub(super) hmac_key: Secret,
}

impl Eab {
    /// The key's bytes.
    pub(crate) fn hmac_key(&self) -> Vec<u8> {
        // It was looked at when it was read.
        BASE64URL_NOPAD.decode(self.hmac_key.expose().as_bytes()).unwrap_or_default()
    }
}

impl Acme {
    /// What is kept of this directory: another one's account and certificate are of no use to it.
    pub(crate) fn folder(&self) -> PathBuf {
        let digest = Sha256::digest(&self.directory);
        self.cache_dir.join(HEXLOWER.encode(digest.get(..8).unwrap_or_default()))
    }

    /// Key and chain.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder().join("certificate.pem")
    }
}

/// A certificate and what belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CertificateFiles {
    /// The section that names them, for messages and metrics: `tls`, `tls.certificates[1]`.
    pub(crate) section: String,
    /// PEM chain, leaf first.
    pub(crate) cert_file: PathBuf,
    /// PEM private key.
    pub(crate) key_file: PathBuf,
    /// An OCSP response in DER.
    pub(crate) ocsp_file: Option<PathBuf>,
    /// It is ordered by itself, and may not be there yet.
    pub(crate) ordered: bool,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

impl Tls {
    /// How a certificate is ordered, if one is.
    pub(crate) fn acme(&self) -> Option<&Acme> {
        match self {
            Tls::Files(files) => files.acme.as_deref(),
            Tls::Plaintext => None,
        }
    }

    /// Whether clients are asked for certificates.
    pub(super) fn asks_clients(&self) -> bool {
        matches!(self, Tls::Files(TlsFiles { client_ca_file: Some(_), .. }))
    }

    /// What is ordered is kept below `state_dir`, where no other place was written.
    pub(super) fn kept_in(mut self, state_dir: &Path) -> Tls {
        if let Tls::Files(TlsFiles { certificates, acme: Some(acme), .. }) = &mut self {
            if acme.cache_dir.as_os_str().is_empty() {
                acme.cache_dir = state_dir.join("acme");
            }
            let (cert_file, key_file) = (acme.certificate(), acme.certificate());
            let section = "tls.acme".to_owned();
            certificates.push(CertificateFiles { section, cert_file, key_file, ocsp_file: None, ordered: true });
        }
        self
    }
}

impl TlsFiles {
    /// Every file, in an order that stays the same.
    pub(crate) fn all(&self) -> impl Iterator<Item = &PathBuf> {
        let of_certificates = self.certificates.iter().flat_map(CertificateFiles::all);
        of_certificates.chain([&self.client_ca_file, &self.client_crl_file].into_iter().flatten())
    }
}

impl CertificateFiles {
    /// What names the certificate, for messages and metrics.
    pub(crate) fn name(&self) -> String {
        if self.ordered { self.section.clone() } else { format!("{}.cert_file", self.section) }
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        [Some(&self.cert_file), Some(&self.key_file), self.ocsp_file.as_ref()].into_iter().flatten()
    }
}
