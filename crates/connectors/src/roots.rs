//! The certificates that the system trusts, for every backend that speaks TLS.

use rustls::RootCertStore;

/// Loads them. Blocks on files; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
///
/// # Errors
/// When there are none, with `instead`: what else the user can do.
pub(crate) fn system(instead: &str) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        return Err(format!(
            "the system has no trusted certificates: install ca-certificates, or {instead}"
        ));
    }
    Ok(store)
}
