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

/// PEM files of a CA, and of a certificate for `localhost`, 127.0.0.1 and ::1 that it signed.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The CA's certificate: what a client trusts.
    pub ca: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's private key, mode 0600.
    pub key: PathBuf,
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
        };
        if !(files.ca.exists() && files.certificate.exists() && files.key.exists()) {
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
        let mut server = CertificateParams::new(["localhost", "127.0.0.1", "::1"].map(str::to_owned))?;
        server.distinguished_name.push(DnType::CommonName, "localhost");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let server = server.signed_by(&key, &ca)?;
        fs::write(&self.ca, ca.pem())?;
        fs::write(&self.certificate, server.pem())?;
        let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&self.key)?;
        file.write_all(key.serialize_pem().as_bytes())?;
        Ok(())
    }
}
