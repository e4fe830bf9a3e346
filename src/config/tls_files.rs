//! Whether certificate and key files can be used, before a listener or a client finds out.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::section::Section;
use crate::certificate::{self, Findings, Purpose};

/// Reports a file that cannot be read or parsed, a key that is not the certificate's, and a chain that nobody accepts or that soon nobody will.
pub(super) fn check(s: &Section<'_>, cert_file: &Path, key_file: &Path, purpose: Purpose<'_>) {
    let certificates = certificates(s, "cert_file", cert_file);
    let key = private_key(s, key_file);
    if let Some(chain) = &certificates {
        report(s, "cert_file", cert_file, certificate::chain(chain, purpose, s.reader.surroundings.now()));
    }
    let (Some(certificates), Some(key)) = (certificates, key) else {
        return;
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    if let Err(error) = CertifiedKey::from_der(certificates, key, &provider) {
        s.mistake(
            "key_file",
            format!(
                "{} and {} do not belong together or cannot be used: {error}",
                cert_file.display(),
                key_file.display()
            ),
        );
    }
}

/// Reports a CA file without a certificate that can be trusted, or with some that are over.
pub(super) fn check_ca(s: &Section<'_>, name: &'static str, file: &Path) {
    let Some(all) = certificates(s, name, file) else {
        return;
    };
    report(s, name, file, certificate::authorities(&all, s.reader.surroundings.now()));
    for certificate in all {
        if let Err(error) = rustls::RootCertStore::empty().add(certificate) {
            s.mistake(name, format!("{} cannot be used as a CA: {error}", file.display()));
        }
    }
}

fn report(s: &Section<'_>, name: &'static str, file: &Path, found: Findings) {
    let file = file.display();
    found.faults.into_iter().for_each(|fault| s.fault(name, format!("{file} {fault}")));
    found.warnings.into_iter().for_each(|warning| s.warning(name, format!("{file} {warning}")));
}

fn certificates(s: &Section<'_>, name: &'static str, file: &Path) -> Option<Vec<CertificateDer<'static>>> {
    let pem = read(s, name, file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Some(certificates),
        _ => {
            s.mistake(name, format!("{} holds no PEM certificate (BEGIN CERTIFICATE)", file.display()));
            None
        }
    }
}

fn private_key(s: &Section<'_>, file: &Path) -> Option<PrivateKeyDer<'static>> {
    let pem = read(s, "key_file", file)?;
    if s.reader.surroundings.readable_by_others(file) {
        let message = format!("{0} can be read by every user of this machine; chmod 600 {0}", file.display());
        s.warning("key_file", message);
    }
    // The parser's error is not shown: it may quote the file.
    let key = PrivateKeyDer::from_pem_slice(&pem).ok();
    if key.is_none() {
        s.mistake(
            "key_file",
            format!("{} holds no PEM private key without a passphrase (BEGIN PRIVATE KEY)", file.display()),
        );
    }
    key
}

fn read(s: &Section<'_>, name: &'static str, file: &Path) -> Option<Vec<u8>> {
    let read = s.reader.surroundings.read(file);
    read.map_err(|error| {
        let message =
            format!("cannot read {}: {error}; certs/README.md shows how to make certificates", file.display());
        s.mistake(name, message);
    })
    .ok()
}
