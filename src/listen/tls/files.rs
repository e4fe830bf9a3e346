//! What the TLS files hold, each read by itself: one that cannot be used keeps what was read of it before, and holds up none of the others.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use sha2::{Digest, Sha256};

use super::TlsError;
use super::names::ByName;
use crate::certificate::{self, Findings, Purpose, Staple};
use crate::config::{CertificateFiles, TlsFiles, TlsVersion};
use crate::file_stamp::is_readable_by_others;
use crate::metrics::Metrics;
use crate::pem;

/// A certificate, its key, and what is shown with it.
#[derive(Debug)]
pub(super) struct Pair {
    /// Whom it is for.
    pub(super) names: Vec<String>,
    alone: Arc<CertifiedKey>,
    /// The same with an OCSP response.
    stapled: Option<(Arc<CertifiedKey>, Staple)>,
    /// Of the files' bytes.
    digest: [u8; 32],
}

impl Pair {
    fn load(files: &CertificateFiles) -> Result<Pair, TlsError> {
        let CertificateFiles { cert_file, key_file, ocsp_file, .. } = files;
        let (cert, key) = (read(cert_file)?, read(key_file)?);
        let ocsp = ocsp_file.as_deref().map(|file| Ok::<_, TlsError>((file, read(file)?))).transpose()?;
        let mut digest = Sha256::new();
        let all = [Some(&cert), Some(&key), ocsp.as_ref().map(|(_, der)| der)];
        all.into_iter().flatten().for_each(|bytes| digest.update(Sha256::digest(bytes)));
        let chain = pem::certificates(&cert).map_err(|lack| TlsError::pem(cert_file, lack))?;
        let key = pem::private_key(&key).map_err(|lack| TlsError::pem(key_file, lack))?;
        let provider = aws_lc_rs::default_provider();
        let alone = CertifiedKey::from_der(chain.clone(), key, &provider);
        let alone = alone.map_err(|source| TlsError::Pair { path: cert_file.clone(), source })?;
        let stapled = match (ocsp, chain.first()) {
            (Some((file, der)), Some(leaf)) => {
                let staple = Staple::read(&der, leaf);
                let staple = staple.map_err(|wrong| TlsError::Staple { path: file.to_owned(), wrong })?;
                let with = CertifiedKey { ocsp: Some(staple.der.clone()), ..alone.clone() };
                Some((Arc::new(with), staple))
            }
            _ => None,
        };
        let names = chain.first().map(certificate::host_names).unwrap_or_default();
        Ok(Pair { names, alone: Arc::new(alone), stapled, digest: digest.finalize().into() })
    }

    /// What a client is shown now.
    pub(super) fn shown(&self, now: SystemTime) -> Arc<CertifiedKey> {
        let stapled = self.stapled.as_ref().filter(|(_, staple)| staple.counts(now));
        Arc::clone(stapled.map_or(&self.alone, |(with, _)| with))
    }
}

/// What looks at clients' certificates.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    authorities: Vec<CertificateDer<'static>>,
    revocations: Vec<CertificateRevocationListDer<'static>>,
}

impl Clients {
    fn load(files: &TlsFiles) -> Result<Option<Arc<Clients>>, TlsError> {
        let Some(ca_file) = &files.client_ca_file else { return Ok(None) };
        let authorities = pem::certificates(&read(ca_file)?).map_err(|lack| TlsError::pem(ca_file, lack))?;
        let revocations = match &files.client_crl_file {
            Some(file) => pem::revocation_lists(&read(file)?).map_err(|lack| TlsError::pem(file, lack))?,
            None => Vec::new(),
        };
        let verifier = verifier(&authorities, &revocations)?;
        Ok(Some(Arc::new(Clients { verifier, authorities, revocations })))
    }

    fn is(&self, other: &Clients) -> bool {
        (&self.authorities, &self.revocations) == (&other.authorities, &other.revocations)
    }
}

/// What was made of all files.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    /// In the order of the configuration; none where one is still to be ordered.
    pairs: Vec<Option<Arc<Pair>>>,
    /// Who is let in; none: anybody, without a certificate.
    pub(super) clients: Option<Arc<Clients>>,
}

/// What a second look found.
pub(super) struct Again {
    pub(super) loaded: Loaded,
    /// Files of which something new is used.
    pub(super) changed: Vec<String>,
    pub(super) errors: Vec<TlsError>,
}

impl Loaded {
    /// Reads everything. A certificate that is over is no error here.
    pub(super) fn first(files: &TlsFiles) -> Result<Loaded, TlsError> {
        let pairs = files.certificates.iter().map(|one| match Pair::load(one) {
            // Whoever orders it sees that it is not there, or is broken.
            Err(_) if one.ordered => Ok(None),
            pair => {
                warn_if_others_may_read(&one.key_file);
                pair.map(Arc::new).map(Some)
            }
        });
        let pairs: Result<Vec<_>, TlsError> = pairs.collect();
        Ok(Loaded { pairs: pairs?, clients: Clients::load(files)? })
    }

    /// Reads everything again. What cannot be used, or nobody would accept, stays as it was: that is no worse.
    pub(super) fn again(&self, files: &TlsFiles, purpose: Purpose<'_>) -> Again {
        let mut again = Again { loaded: self.clone(), changed: Vec::new(), errors: Vec::new() };
        for (place, one) in files.certificates.iter().enumerate() {
            let new = Pair::load(one).and_then(|pair| {
                worth_a_change(pair_findings(&pair, one, purpose))?;
                Ok(Arc::new(pair))
            });
            match (new, again.loaded.pairs.get_mut(place)) {
                (Ok(new), Some(old)) if old.as_ref().is_none_or(|old| new.digest != old.digest) => {
                    *old = Some(new);
                    warn_if_others_may_read(&one.key_file);
                    again.changed.push(one.name());
                }
                (Ok(_), _) => {}
                (Err(_), Some(None)) => {}
                (Err(error), _) => again.errors.push(error),
            }
        }
        match Clients::load(files) {
            Ok(Some(new)) if again.loaded.clients.as_ref().is_none_or(|old| !old.is(&new)) => {
                match worth_a_change(client_findings(&new, files)) {
                    Ok(()) => {
                        again.loaded.clients = Some(new);
                        again.changed.push("tls.client_ca_file".to_owned());
                    }
                    Err(error) => again.errors.push(error),
                }
            }
            Ok(_) => {}
            Err(error) => again.errors.push(error),
        }
        again
    }

    /// What handshakes are made with.
    pub(super) fn config(&self, min_version: TlsVersion) -> Result<ServerConfig, rustls::Error> {
        const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
        let versions = match min_version {
            TlsVersion::V1_2 => BOTH,
            TlsVersion::V1_3 => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(Arc::clone(&clients.verifier)),
        };
        let mut config =
            builder.with_cert_resolver(Arc::new(ByName::new(self.pairs.iter().flatten().cloned().collect())));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Clients that come back resume without a signature, and without a cache in this process. Its keys are changed every six hours, and with each
        // change of the files: who was let in by the old ones is looked at anew.
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(config)
    }

    /// Whether what is ordered is there.
    pub(super) fn has_ordered(&self, files: &TlsFiles) -> bool {
        self.pairs(files).any(|(_, one)| one.ordered)
    }

    fn pairs<'a>(&'a self, files: &'a TlsFiles) -> impl Iterator<Item = (&'a Pair, &'a CertificateFiles)> {
        let all = self.pairs.iter().zip(&files.certificates);
        all.filter_map(|(pair, one)| Some((pair.as_deref()?, one)))
    }

    /// To the log, what a person should hear of each file.
    pub(super) fn say(&self, files: &TlsFiles, purpose: Purpose<'_>) {
        let of_pairs = self.pairs(files).flat_map(|(pair, one)| pair_findings(pair, one, purpose));
        let of_clients = self.clients.iter().flat_map(|clients| client_findings(clients, files));
        of_pairs.chain(of_clients).for_each(|(path, found)| found.say(path));
    }

    pub(super) fn measure(&self, files: &TlsFiles, metrics: &Metrics) {
        for (pair, one) in self.pairs(files) {
            metrics.certificate_ends(&one.name(), certificate::chain_ends(&pair.alone.cert));
        }
        let Some(clients) = &self.clients else { return };
        metrics.certificate_ends("tls.client_ca_file", certificate::authorities_end(&clients.authorities));
        metrics.certificate_ends("tls.client_crl_file", certificate::revocations_end(&clients.revocations));
    }
}

fn pair_findings<'a>(pair: &Pair, files: &'a CertificateFiles, purpose: Purpose<'_>) -> Vec<(&'a Path, Findings)> {
    let now = SystemTime::now();
    let chain = (files.cert_file.as_path(), certificate::chain(&pair.alone.cert, purpose, now));
    let staple = files.ocsp_file.as_deref().zip(pair.stapled.as_ref());
    [chain].into_iter().chain(staple.map(|(file, (_, staple))| (file, staple.findings(now)))).collect()
}

fn client_findings<'a>(clients: &Clients, files: &'a TlsFiles) -> Vec<(&'a Path, Findings)> {
    let (Clients { authorities, revocations, .. }, now) = (clients, SystemTime::now());
    let ca = files.client_ca_file.as_deref().map(|file| (file, certificate::authorities(authorities, now)));
    let revoked = || certificate::revocations(revocations, authorities, now);
    let crl = files.client_crl_file.as_deref().map(|file| (file, revoked()));
    ca.into_iter().chain(crl).collect()
}

/// Refuses files that nobody accepts.
fn worth_a_change(findings: Vec<(&Path, Findings)>) -> Result<(), TlsError> {
    match findings.into_iter().find(|(_, found)| !found.faults.is_empty()) {
        None => Ok(()),
        Some((path, found)) => Err(TlsError::Fault { path: path.to_owned(), found }),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

/// Whoever shows a certificate that one of the CAs signed and none of the lists revokes. A CA without a list revokes nobody, and a list that should
/// have been replaced counts on: that it is late must not lock everybody out.
fn verifier(
    authorities: &[CertificateDer<'static>],
    revocations: &[CertificateRevocationListDer<'static>],
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities {
        roots.add(certificate.clone()).map_err(TlsError::Setup)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    Ok(verifier.with_crls(revocations.iter().cloned()).allow_unknown_revocation_status().build()?)
}

fn warn_if_others_may_read(path: &Path) {
    if is_readable_by_others(path) {
        tracing::warn!(key_file = %path.display(), "every user of this machine may read the private key; chmod 600 it");
    }
}
