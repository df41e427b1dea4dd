//! A certificate authority of one test, and the server certificate it signs.
//!
//! Made anew for every server, in its own directory: nothing with a date in it is checked in.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::Result;
use crate::error::Doing;

/// The files that a TLS server and its clients need.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// What a client trusts.
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Writes a new CA, and a certificate for `localhost` and 127.0.0.1 with its key, to `dir`.
pub(crate) fn write(dir: &Path) -> Result<Files> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(DnType::CommonName, "forebay testbed CA");
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let key = KeyPair::generate()?;
    let mut server = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    server
        .distinguished_name
        .push(DnType::CommonName, "localhost");
    let certificate = server.signed_by(&key, &issuer)?;

    let files = Files {
        ca: dir.join("ca.pem"),
        certificate: dir.join("server.pem"),
        key: dir.join("server.key"),
    };
    put(&files.ca, &issuer.pem())?;
    put(&files.certificate, &certificate.pem())?;
    put(&files.key, &key.serialize_pem())?;
    Ok(files)
}

fn put(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).doing(|| format!("write {}", path.display()))
}
