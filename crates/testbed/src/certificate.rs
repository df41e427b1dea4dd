//! A certificate authority of one test, and the server certificate it signs.
//!
//! Made anew for every server, in its own directory: nothing with a date in it is checked in.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::Result;
use crate::error::Doing;

/// The files that a TLS server and its clients need.
#[derive(Debug, Clone)]
pub struct Files {
    /// What a client trusts, and a server that asks its clients.
    pub ca: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The files of a client that shows who it is.
#[derive(Debug, Clone)]
pub struct ClientFiles {
    /// Its certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Writes a new CA, and a certificate for `localhost` and 127.0.0.1 with its key, to `dir`.
///
/// # Errors
/// When a file cannot be written.
pub fn write(dir: &Path) -> Result<Files> {
    write_with(dir, &authority()?, None)
}

/// The same, with a server's certificate that expires at `when`, to the second. That of [`write()`] does not expire as long
/// as anybody lives.
///
/// # Errors
/// When a file cannot be written.
pub fn write_expiring(dir: &Path, when: SystemTime) -> Result<Files> {
    write_with(dir, &authority()?, Some(when))
}

/// The same, and the certificate of a client that is called `client`.
///
/// # Errors
/// When a file cannot be written.
pub fn write_with_client(dir: &Path, client: &str) -> Result<(Files, ClientFiles)> {
    let issuer = authority()?;
    let files = ClientFiles {
        certificate: dir.join("client.pem"),
        key: dir.join("client.key"),
    };
    let names = (client, [].as_slice());
    sign(&issuer, names, &files.certificate, &files.key, None)?;
    Ok((write_with(dir, &issuer, None)?, files))
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Result<Authority> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(DnType::CommonName, "forebay testbed CA");
    Ok(CertifiedIssuer::self_signed(
        authority,
        KeyPair::generate()?,
    )?)
}

fn write_with(dir: &Path, issuer: &Authority, expires: Option<SystemTime>) -> Result<Files> {
    let files = Files {
        ca: dir.join("ca.pem"),
        certificate: dir.join("server.pem"),
        key: dir.join("server.key"),
    };
    let names = ("localhost", ["localhost", "127.0.0.1"].as_slice());
    sign(issuer, names, &files.certificate, &files.key, expires)?;
    put(&files.ca, &issuer.pem())?;
    Ok(files)
}

/// Writes a certificate for these names and its key.
fn sign(
    issuer: &Authority,
    (common, names): (&str, &[&str]),
    certificate: &Path,
    key_file: &Path,
    expires: Option<SystemTime>,
) -> Result<()> {
    let key = KeyPair::generate()?;
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common);
    if let Some(expires) = expires {
        params.not_after = expires.into();
    }
    put(certificate, &params.signed_by(&key, issuer)?.pem())?;
    put(key_file, &key.serialize_pem())
}

fn put(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).doing(|| format!("write {}", path.display()))
}
