//! TLS at the ingest listener of the real binary: who gets in with what, and a certificate that is changed while it runs.

use std::path::Path;

use testbed::certificate::{self, Files};
use testbed::pebble::Pebble;
use testbed::process::{Forebay, Output};
use testbed::{DEADLINE, Result, http, until};

use crate::rig;

const ROUTES: &str = r#"
[sources.partner]
type = "http"
verify = { scheme = "mtls", subjects = ["partner.example.com"] }
[destinations.db]
type = "sqlite"
[routes.all]
from = ["genesys", "partner"]
to = "db"
"#;

/// The section of a server with these files.
pub(crate) fn section(files: &Files) -> String {
    let [certificate, key] = [&files.certificate, &files.key].map(|file| file.display());
    format!("[server.tls]\ncert_file = \"{certificate}\"\nkey_file = \"{key}\"\n")
}

fn server(files: &Files) -> String {
    let (section, ca) = (section(files), files.ca.display());
    format!("{section}client_ca_file = \"{ca}\"\nclient_auth = \"optional\"\n")
}

async fn start(config: String) -> Result<Forebay> {
    let forebay = rig::forebay(config).spawn()?;
    ready(&forebay).await?;
    Ok(forebay)
}

/// Over TLS the ingest listener cannot be asked whether it is ready, but the admin listener can.
pub(crate) async fn ready(forebay: &Forebay) -> Result<()> {
    until("forebay is ready", DEADLINE, async || {
        match http::get(&forebay.admin("/readyz")).await {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}\n{}", forebay.tail())),
        }
    })
    .await
}

async fn send(forebay: &Forebay, source: &str, more: &[&Path]) -> Result<Output> {
    let url = forebay
        .ingest("")
        .replace("http://127.0.0.1", "https://localhost");
    let mut args = vec!["send", "--source", source, "--url", &url];
    let names = ["--ca", "--cert", "--key"];
    for (name, file) in names.iter().zip(more) {
        args.extend([*name, file.to_str().unwrap()]);
    }
    forebay.cli(&args).await
}

async fn said(forebay: &Forebay, words: &str) -> Result<()> {
    until(words, DEADLINE, async || {
        let said = forebay.stderr();
        if said.contains(words) {
            Ok(())
        } else {
            Err(said)
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_gets_in_by_tls_and_a_partner_by_his_certificate() -> Result<()> {
    let directory = tempfile::tempdir().unwrap();
    let (files, partner) = certificate::write_with_client(directory.path(), "partner.example.com")?;
    let config = [&server(&files), rig::GENESYS, ROUTES].concat();
    let forebay = start(config).await?;
    said(&forebay, "ingest         https://").await?;

    let trusting = send(&forebay, "genesys", &[&files.ca]).await?;
    assert_eq!(trusting.code, Some(0), "{trusting:?}");
    let doubting = send(&forebay, "genesys", &[]).await?;
    assert_ne!(doubting.code, Some(0), "{doubting:?}");

    let shown = [&*files.ca, &*partner.certificate, &*partner.key];
    let known = send(&forebay, "partner", &shown).await?;
    assert_eq!(known.code, Some(0), "{known:?}");
    let nobody = send(&forebay, "partner", &[&files.ca]).await?;
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(nobody.stderr.contains("not-verified"), "{nobody:?}");
    let status = rig::drained(&forebay, "all").await?;
    assert_eq!(rig::count(&status, "all", "delivered"), 2, "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_changed_while_it_runs_and_a_bad_one_changes_nothing() -> Result<()> {
    let directory = tempfile::tempdir().unwrap();
    let files = certificate::write(directory.path())?;
    let old = directory.path().join("old-ca.pem");
    std::fs::copy(&files.ca, &old).unwrap();
    let config = [&server(&files), rig::GENESYS, ROUTES].concat();
    let mut forebay = start(config).await?;

    let key = std::fs::read(&files.key).unwrap();
    std::fs::write(&files.key, "no key").unwrap();
    forebay.reload()?;
    said(&forebay, "the old certificate stays").await?;
    let sent = send(&forebay, "genesys", &[&old]).await?;
    assert_eq!(sent.code, Some(0), "{sent:?}");
    std::fs::write(&files.key, key).unwrap();

    certificate::write(directory.path())?;
    forebay.reload()?;
    said(&forebay, "the files of server.tls were read again").await?;
    let sent = send(&forebay, "genesys", &[&old]).await?;
    assert_ne!(sent.code, Some(0), "{sent:?}");
    let sent = send(&forebay, "genesys", &[&files.ca]).await?;
    assert_eq!(sent.code, Some(0), "{sent:?}");
    forebay.terminate()?;
    let exit = forebay.wait().await?;
    assert_eq!(exit.code, Some(0), "{exit:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_fetched_from_an_authority_and_found_again_after_a_restart() -> Result<()>
{
    let directory = tempfile::tempdir().unwrap();
    let (files, partner) = certificate::write_with_client(directory.path(), "partner.example.com")?;
    let mut launch = rig::forebay("");
    let pebble = Pebble::start(launch.ingest_port()).await?;
    // Clients must show a certificate. The authority, which has none, is answered all the same.
    let tls = format!(
        r#"
        [server.tls]
        client_ca_file = "{ca}"
        client_auth = "required"
        [server.tls.acme]
        domains = ["localhost"]
        accept_terms = true
        email = "ops@example.com"
        directory = "{directory}"
        directory_ca_file = "{trusted}"
        "#,
        ca = files.ca.display(),
        directory = pebble.directory(),
        trusted = pebble.ca().display(),
    );
    launch.set_config([&tls, rig::GENESYS, ROUTES].concat());
    let mut forebay = launch.spawn()?;
    ready(&forebay).await?;
    let fetched = said(&forebay, "a new certificate has come").await;
    fetched.inspect_err(|_| eprintln!("{}", pebble.log_tail()))?;
    let root = directory.path().join("root.pem");
    pebble.root(&root)?;
    let shown = [&*root, &*partner.certificate, &*partner.key];
    let sent = send(&forebay, "partner", &shown).await?;
    assert_eq!(sent.code, Some(0), "{sent:?}");

    // It needs no authority to start again.
    forebay.terminate()?;
    forebay.wait().await?;
    drop(pebble);
    forebay.spawn()?;
    ready(&forebay).await?;
    let sent = send(&forebay, "partner", &shown).await?;
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let fetched = forebay.stderr();
    let fetched = fetched.matches("a new certificate has come").count();
    assert_eq!(fetched, 1, "{}", forebay.tail());
    Ok(())
}
