//! Section `tls`, as the rest of the program reads it.

use std::path::PathBuf;

/// How the OTLP listeners speak TLS.
#[derive(Debug, Clone)]
pub(crate) enum Tls {
    /// With certificates, which are reloaded when their files change.
    Files(TlsFiles),
    /// No TLS: said aloud in the configuration, and loopback only unless that was said too.
    Plaintext,
}

/// What is shown, and asked for, in a handshake.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    /// One at least. The first is for clients that name nobody whom another one names.
    pub(crate) certificates: Vec<CertificateFiles>,
    /// When set, clients must show a certificate signed by one of these (mTLS).
    pub(crate) client_ca_file: Option<PathBuf>,
    /// What these have revoked.
    pub(crate) client_crl_file: Option<PathBuf>,
    /// The oldest version that is spoken.
    pub(crate) min_version: TlsVersion,
}

/// A certificate and what belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct CertificateFiles {
    /// The section that names them, for messages and metrics: `tls`, `tls.certificates[1]`.
    pub(crate) section: String,
    /// PEM chain, leaf first.
    pub(crate) cert_file: PathBuf,
    /// PEM private key.
    pub(crate) key_file: PathBuf,
    /// An OCSP response in DER.
    pub(crate) ocsp_file: Option<PathBuf>,
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
    /// Whether clients are asked for certificates.
    pub(super) fn asks_clients(&self) -> bool {
        matches!(self, Tls::Files(TlsFiles { client_ca_file: Some(_), .. }))
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
    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        [Some(&self.cert_file), Some(&self.key_file), self.ocsp_file.as_ref()].into_iter().flatten()
    }
}
