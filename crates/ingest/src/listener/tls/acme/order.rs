//! One order: an account, a challenge for each domain, and the certificate.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::Secret;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use instant_acme::{
    Account, AccountBuilder, AccountCredentials, AuthorizationStatus, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::options::AcmeOptions;
use super::proof::Proof;
use super::store::Store;

/// How long the authority may take for each step.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(Duration::from_mins(2));

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the authority: {0}")]
    Authority(#[from] instant_acme::Error),
    #[error("the authority does not offer {0} for {1}; server.tls.acme.challenge chooses another")]
    NoChallenge(&'static str, String),
    #[error("the authority did not find that {0} are ours: does port {1} of each lead here?")]
    NotOurs(String, u16),
    #[error("the authority did not come to an end in time")]
    TooSlow,
    #[error("a certificate could not be made: {0}")]
    Made(#[from] rcgen::Error),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error("the account or the certificate could not be stored in the data directory: {0}")]
    Store(std::io::Error),
    #[error("directory_ca_file {0} cannot be used: {1}")]
    Roots(String, String),
}

/// Gets a certificate for all domains and puts it where it belongs.
///
/// # Errors
/// [`Error`]; what was stored is as it was.
pub(super) async fn certificate(
    options: &AcmeOptions,
    store: &Arc<Store>,
    proof: &Proof,
) -> Result<(), Error> {
    let account = account(options, store).await?;
    let domains: Vec<_> = options
        .domains
        .iter()
        .cloned()
        .map(Identifier::Dns)
        .collect();
    let mut order = account.new_order(&NewOrder::new(&domains)).await?;
    prove(&mut order, proof).await?;
    if order.poll_ready(&PATIENCE).await? != OrderStatus::Ready {
        let (_, port) = proof.name_and_port();
        return Err(Error::NotOurs(options.domains.join(", "), port));
    }
    let key = Secret::new(order.finalize().await?);
    let chain = order.poll_certificate(&PATIENCE).await?;
    stored(store, move |store| store.put_certificate(&chain, &key)).await
}

/// Says for each domain that it may be looked at, once it is answered for.
async fn prove(order: &mut Order, proof: &Proof) -> Result<(), Error> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let domain = authorization.identifier().to_string();
        let challenge = authorization.challenge(proof.kind());
        let none = || Error::NoChallenge(proof.name_and_port().0, domain.clone());
        let mut challenge = challenge.ok_or_else(none)?;
        proof.answer(&domain, &challenge.token, &challenge.key_authorization())?;
        challenge.set_ready().await?;
    }
    Ok(())
}

/// The account that is stored, or a new one.
async fn account(options: &AcmeOptions, store: &Arc<Store>) -> Result<Account, Error> {
    if let Some(stored) = store.account().map_err(Error::Store)? {
        let credentials: Result<AccountCredentials, _> = serde_json::from_str(stored.expose());
        let credentials = credentials.map_err(instant_acme::Error::from)?;
        return Ok(client(options)?.from_credentials(credentials).await?);
    }
    let email = options
        .email
        .as_ref()
        .map(|email| format!("mailto:{email}"));
    let contact: Vec<&str> = email.as_deref().into_iter().collect();
    let new = NewAccount {
        contact: &contact,
        terms_of_service_agreed: options.accept_terms,
        only_return_existing: false,
    };
    let directory = options.directory.clone();
    let (account, credentials) = client(options)?.create(&new, directory, None).await?;
    let credentials = serde_json::to_string(&credentials).map_err(instant_acme::Error::from)?;
    let credentials = Secret::new(credentials);
    stored(store, move |store| store.put_account(&credentials)).await?;
    Ok(account)
}

async fn stored(
    store: &Arc<Store>,
    put: impl FnOnce(&Store) -> std::io::Result<()> + Send + 'static,
) -> Result<(), Error> {
    let store = Arc::clone(store);
    let put = tokio::task::spawn_blocking(move || put(&store)).await;
    put.unwrap_or_else(|error| Err(error.into()))
        .map_err(Error::Store)
}

/// A client that trusts the machine's authorities, or those that the options name.
fn client(options: &AcmeOptions) -> Result<AccountBuilder, Error> {
    let mut roots = RootCertStore::empty();
    match &options.directory_ca_file {
        Some(file) => {
            let wrong = |error: String| Error::Roots(file.display().to_string(), error);
            for root in named(file).map_err(wrong)? {
                roots.add(root).map_err(|error| wrong(error.to_string()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_http1()
        .build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    Ok(Account::builder_with_http(Box::new(client)))
}

fn named(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(file).map_err(|error| error.to_string())?;
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    roots.map_err(|_| "it is not PEM".into())
}
