//! A CA and a server certificate for this machine, for development and tests.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// PEM files of a CA, of a certificate for `localhost`, 127.0.0.1 and ::1 that it signed, and of one for a client.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The CA's certificate: what a client trusts.
    pub ca: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's private key, mode 0600.
    pub key: PathBuf,
    /// A client's certificate.
    pub client_certificate: PathBuf,
    /// The client's private key, mode 0600.
    pub client_key: PathBuf,
}

impl Certificates {
    /// The files in `folder`, made when they are not there yet.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn in_folder(folder: &Path) -> Result<Certificates> {
        fs::create_dir_all(folder)?;
        let files = Certificates {
            ca: folder.join("ca.crt"),
            certificate: folder.join("server.crt"),
            key: folder.join("server.key"),
            client_certificate: folder.join("client.crt"),
            client_key: folder.join("client.key"),
        };
        let Certificates { ca, certificate, key, client_certificate, client_key } = &files;
        if ![ca, certificate, key, client_certificate, client_key].into_iter().all(|path| path.exists()) {
            files.make()?;
        }
        Ok(files)
    }

    fn make(&self) -> Result<()> {
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "otelgate development CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
        fs::write(&self.ca, ca.pem())?;
        let mut server = CertificateParams::new(["localhost", "127.0.0.1", "::1"].map(str::to_owned))?;
        server.distinguished_name.push(DnType::CommonName, "localhost");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        signed(&ca, &server, &self.certificate, &self.key)?;
        let mut client = CertificateParams::default();
        client.distinguished_name.push(DnType::CommonName, "client");
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        signed(&ca, &client, &self.client_certificate, &self.client_key)
    }
}

fn signed(
    ca: &CertifiedIssuer<'_, KeyPair>,
    of: &CertificateParams,
    certificate: &Path,
    key_file: &Path,
) -> Result<()> {
    let key = KeyPair::generate()?;
    // The whole chain: who sees the file knows who signed it.
    fs::write(certificate, of.signed_by(&key, ca)?.pem() + &ca.pem())?;
    let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(key_file)?;
    file.write_all(key.serialize_pem().as_bytes())?;
    Ok(())
}
