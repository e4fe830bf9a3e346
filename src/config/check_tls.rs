//! Section `tls`: what is shown in a handshake, by name of whom it is for.

use super::section::Section;
use super::value::flag;
use super::{CertificateFiles, Listen, Tls, TlsFiles, TlsVersion, check_acme, tls_files};
use crate::certificate::{self, Purpose};

const SAY_TLS: &str =
    "set `cert_file` and `key_file` (certs/README.md shows how to make them), or `acme`, or say `plaintext: true`";

/// What there is to set only where TLS is spoken.
const WITH_TLS: [&str; 8] =
    ["cert_file", "key_file", "ocsp_file", "certificates", "acme", "client_ca_file", "client_crl_file", "min_version"];

/// The section.
pub(super) fn tls(s: &Section<'_>, listen: &Listen) -> Tls {
    let written: Vec<&str> = WITH_TLS.into_iter().filter(|name| s.has(name)).collect();
    let allow_public = s.or("allow_public_plaintext", false, flag);
    if s.or("plaintext", false, flag) {
        if let Some(name) = written.first() {
            s.mistake("plaintext", format!("is true and `{name}` is set too; keep one of them"));
        }
        plaintext(s, listen, allow_public);
        return Tls::Plaintext;
    }
    let min_version = s.or("min_version", TlsVersion::V1_2, |text| match text {
        "1.2" => Ok(TlsVersion::V1_2),
        "1.3" => Ok(TlsVersion::V1_3),
        _ => Err("is not a version that is spoken here; write \"1.2\" or \"1.3\"".to_owned()),
    });
    let mut shown = Shown { listen, names: Vec::new(), certificates: Vec::new() };
    let others = s.has("certificates") || s.has("acme");
    if !others || ["cert_file", "key_file", "ocsp_file"].into_iter().any(|name| s.has(name)) {
        shown.take(s, "tls".to_owned(), &format!("neither a certificate nor plaintext; {SAY_TLS}"));
    }
    let mut place = 0..;
    s.sections("certificates", |one| {
        let section = format!("tls.certificates[{}]", place.next().unwrap_or_default());
        shown.take(one, section, "names no certificate; set `cert_file` and `key_file`");
    });
    let acme = if s.has("acme") { s.section("acme", |acme| check_acme::acme(acme, listen)) } else { None };
    let client_ca_file = s.optional("client_ca_file", |text| s.reader.path(text));
    let client_crl_file = s.optional("client_crl_file", |text| s.reader.path(text));
    let authorities = client_ca_file.as_ref().and_then(|file| tls_files::check_ca(s, "client_ca_file", file));
    match (&client_crl_file, &client_ca_file) {
        (Some(_), None) => {
            s.mistake("client_crl_file", "says who is refused of those that `client_ca_file` lets in; set that too");
        }
        (Some(file), Some(_)) => tls_files::check_revocations(s, file, &authorities.unwrap_or_default()),
        (None, _) => {}
    }
    match shown.certificates {
        // Something was reported.
        none if none.is_empty() && acme.is_none() => Tls::Plaintext,
        certificates => Tls::Files(TlsFiles {
            certificates,
            client_ca_file,
            client_crl_file,
            min_version,
            acme: acme.map(Box::new),
        }),
    }
}

/// The certificates so far, and for whom they are.
struct Shown<'a> {
    listen: &'a Listen,
    /// Each with the section that has it.
    names: Vec<(String, String)>,
    certificates: Vec<CertificateFiles>,
}

impl Shown<'_> {
    /// Reads the certificate of a section; `none` is said when it has none.
    fn take(&mut self, s: &Section<'_>, section: String, none: &str) {
        let path = |name| s.optional(name, |text| s.reader.path(text));
        let (cert_file, key_file, ocsp_file) = (path("cert_file"), path("key_file"), path("ocsp_file"));
        match (cert_file, key_file) {
            (Some(cert_file), Some(key_file)) => {
                let purpose = Purpose::Server(&self.listen.otlp);
                let chain = tls_files::check(s, &cert_file, &key_file, purpose).unwrap_or_default();
                if let (Some(file), Some(leaf)) = (&ocsp_file, chain.first()) {
                    tls_files::check_staple(s, file, leaf);
                }
                for name in chain.first().map(certificate::host_names).unwrap_or_default() {
                    match self.names.iter().find(|(known, _)| *known == name) {
                        Some((_, by)) => s.mistake("cert_file", taken(&cert_file.display(), &name, by)),
                        None => self.names.push((name, section.clone())),
                    }
                }
                self.certificates.push(CertificateFiles { section, cert_file, key_file, ocsp_file, ordered: false });
            }
            _ if s.has("cert_file") && !s.has("key_file") => {
                s.mistake("key_file", "is missing; name the private key of `cert_file`");
            }
            _ if s.has("key_file") && !s.has("cert_file") => {
                s.mistake("cert_file", "is missing; name the certificate of `key_file`");
            }
            // Both were written, and at least one was reported.
            _ if s.has("cert_file") => {}
            _ => s.mistake_here(none),
        }
    }
}

fn taken(file: &impl std::fmt::Display, name: &str, by: &str) -> String {
    format!("{file} is for {name}, and so is {by}.cert_file; a client that asks for it can be shown one of them only")
}

/// What happens behind a proxy that nobody named.
const SHARED_ADDRESS: &str = "; and where a proxy or balancer stands in front, all clients share its address: together they have \
    listen.max_connections_per_ip connections and keys.max_failures_per_minute, unless listen.forwarded or listen.proxy_protocol names it";

fn plaintext(s: &Section<'_>, listen: &Listen, allow_public: bool) {
    let Some(public) = listen.otlp.iter().find(|address| !address.ip().is_loopback()) else {
        return;
    };
    if allow_public {
        let mut message = format!("keys and telemetry travel readable to and from {public}");
        if listen.proxies().is_empty() {
            message.push_str(SHARED_ADDRESS);
        }
        s.warning("allow_public_plaintext", message);
    } else {
        s.mistake(
            "plaintext",
            format!(
                "{public} in listen.otlp is not a loopback address, so keys and telemetry would travel readable; \
                 set `cert_file` and `key_file`, listen on 127.0.0.1, or say `allow_public_plaintext: true`"
            ),
        );
    }
}
