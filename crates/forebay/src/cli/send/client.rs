//! The client that posts: whom it trusts besides those that the system does, and what it shows of itself.

use std::path::{Path, PathBuf};

use reqwest::{Certificate, Client, ClientBuilder, Identity};

use crate::cli::input;
use crate::exit::{Exit, Failure, Outcome};

/// TLS, from the command line.
#[derive(Debug, clap::Args)]
pub struct TlsArgs {
    /// Certificates to trust besides the system's, PEM: the authority of the server's, or its own if it signed itself
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The certificate to show to a server that asks for one, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

impl TlsArgs {
    /// Makes the client.
    ///
    /// # Errors
    /// Which file cannot be read or used, exit code 2.
    pub(super) fn build(&self, mut client: ClientBuilder) -> Outcome<Client> {
        if let Some(file) = &self.ca {
            let found = Certificate::from_pem_bundle(&input::bytes(file)?);
            let found = found.map_err(|error| unusable(file, &error.to_string()))?;
            if found.is_empty() {
                return Err(unusable(file, "there is no certificate in it"));
            }
            client = client.tls_certs_merge(found);
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            let both = [input::bytes(cert)?, b"\n".to_vec(), input::bytes(key)?].concat();
            let identity = Identity::from_pem(&both).map_err(|_| {
                let reason = format!("it and {} are no certificate and its key", key.display());
                unusable(cert, &reason)
            })?;
            client = client.identity(identity);
        }
        client
            .build()
            .map_err(|error| match (&self.cert, &self.key) {
                // Both were read, so that it is that they do not belong together.
                (Some(cert), Some(key)) => {
                    let reason = format!("the key in {} is not its own", key.display());
                    unusable(cert, &reason)
                }
                _ => Failure::new(Exit::Failed, error),
            })
    }
}

fn unusable(file: &Path, reason: &str) -> Failure {
    let error = format!("{} cannot be used: {reason}", file.display());
    Failure::say(Exit::Usage, error)
}
