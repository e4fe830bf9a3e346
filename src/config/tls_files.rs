//! Whether certificate and key files can be used, before a listener or a client finds out.

use std::path::Path;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::section::Section;
use super::substitute::credential_remedy;
use crate::certificate::{self, Findings, Purpose, Staple};
use crate::pem::{self, Lack};

/// Reports a file that cannot be read or parsed, a key that is not the certificate's, and a chain that nobody accepts or that soon nobody will. The chain.
pub(super) fn check(
    s: &Section<'_>,
    cert_file: &Path,
    key_file: &Path,
    purpose: Purpose<'_>,
) -> Option<Vec<CertificateDer<'static>>> {
    let certificates = certificates(s, "cert_file", cert_file);
    let key = private_key(s, key_file);
    if let Some(chain) = &certificates {
        report(s, "cert_file", cert_file, certificate::chain(chain, purpose, s.reader.surroundings.now()));
    }
    let (Some(chain), Some(key)) = (&certificates, key) else {
        return certificates;
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    if let Err(error) = CertifiedKey::from_der(chain.clone(), key, &provider) {
        s.mistake(
            "key_file",
            format!(
                "{} and {} do not belong together or cannot be used: {error}",
                cert_file.display(),
                key_file.display()
            ),
        );
    }
    certificates
}

/// Reports a file that holds no OCSP response about the leaf, and one that is old.
pub(super) fn check_staple(s: &Section<'_>, file: &Path, leaf: &CertificateDer<'_>) {
    const NAME: &str = "ocsp_file";
    let Some(der) = read(s, NAME, file) else { return };
    match Staple::read(&der, leaf) {
        Ok(staple) => report(s, NAME, file, staple.findings(s.reader.surroundings.now())),
        Err(wrong) => s.mistake(NAME, format!("{} {wrong}", file.display())),
    }
}

/// Reports a CA file without a certificate that can be trusted, or with some that are over; its certificates.
pub(super) fn check_ca(s: &Section<'_>, name: &'static str, file: &Path) -> Option<Vec<CertificateDer<'static>>> {
    let all = certificates(s, name, file)?;
    report(s, name, file, certificate::authorities(&all, s.reader.surroundings.now()));
    for certificate in &all {
        if let Err(error) = rustls::RootCertStore::empty().add(certificate.clone()) {
            s.mistake(name, format!("{} cannot be used as a CA: {error}", file.display()));
        }
    }
    Some(all)
}

/// Reports a file without a revocation list, and lists that are old or are not those of the `authorities`.
pub(super) fn check_revocations(s: &Section<'_>, file: &Path, authorities: &[CertificateDer<'_>]) {
    const NAME: &str = "client_crl_file";
    let Some(pem) = read(s, NAME, file) else { return };
    match pem::revocation_lists(&pem) {
        Ok(lists) => {
            let found = certificate::revocations(&lists, authorities, s.reader.surroundings.now());
            report(s, NAME, file, found);
        }
        Err(lack) => s.mistake(NAME, format!("{} {lack}", file.display())),
    }
}

fn report(s: &Section<'_>, name: &'static str, file: &Path, found: Findings) {
    let file = file.display();
    found.faults.into_iter().for_each(|fault| s.fault(name, format!("{file} {fault}")));
    found.warnings.into_iter().for_each(|warning| s.warning(name, format!("{file} {warning}")));
}

fn certificates(s: &Section<'_>, name: &'static str, file: &Path) -> Option<Vec<CertificateDer<'static>>> {
    let lacks = |lack: Lack| s.mistake(name, format!("{} {lack}", file.display()));
    pem::certificates(&read(s, name, file)?).map_err(lacks).ok()
}

fn private_key(s: &Section<'_>, file: &Path) -> Option<PrivateKeyDer<'static>> {
    let pem = read(s, "key_file", file)?;
    if s.reader.surroundings.readable_by_others(file) {
        let message = format!("{0} can be read by every user of this machine; chmod 600 {0}", file.display());
        s.warning("key_file", message);
    }
    let lacks = |lack: Lack| s.mistake("key_file", format!("{} {lack}", file.display()));
    pem::private_key(&pem).map_err(lacks).ok()
}

fn read(s: &Section<'_>, name: &'static str, file: &Path) -> Option<Vec<u8>> {
    let read = s.reader.surroundings.read(file);
    read.map_err(|error| {
        let remedy = credential_remedy(file).unwrap_or("certs/README.md shows how to make certificates");
        s.mistake(name, format!("cannot read {}: {error}; {remedy}", file.display()));
    })
    .ok()
}
