//! TLS at the ingest listener of the real binary: who gets in with what, and a certificate that is changed, fetched and
//! renewed while it runs.

use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use domain::{Clock as _, SystemClock};
use testbed::certificate::{self, Files};
use testbed::pebble::Pebble;
use testbed::port::Lease;
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

const SQLITE: &str = r#"
[destinations.db]
type = "sqlite"
[routes.all]
from = ["genesys"]
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

/// How long a certificate lasts that is not to be renewed.
const LONG: Duration = Duration::from_hours(24 * 90);

const EXPIRES: &str = "forebay_tls_certificate_expiry_timestamp_seconds";

/// When the certificate in force expires, as the metric has it.
async fn expires(forebay: &Forebay) -> Result<Option<f64>> {
    Ok(forebay.metrics().await?.get(EXPIRES, &[]))
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
    assert!(doubting.stderr.contains("--ca"), "{doubting:?}");
    assert!(!doubting.stderr.contains("running there"), "{doubting:?}");
    let mixed = send(
        &forebay,
        "genesys",
        &[&files.ca, &partner.certificate, &files.key],
    )
    .await?;
    assert_eq!(mixed.code, Some(2), "{mixed:?}");
    assert!(mixed.stderr.contains("is not its own"), "{mixed:?}");

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
    let pebble = Pebble::start(launch.ingest_port(), LONG).await?;
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

/// The HTTP-01 way, with certificates of so short a life that the first is renewed at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_fetched_and_renewed_by_plain_http_at_a_port_that_does_nothing_else()
-> Result<()> {
    let directory = tempfile::tempdir().unwrap();
    let http = Lease::take()?;
    let pebble = Pebble::start(http.addr().port(), Duration::from_secs(15)).await?;
    let tls = format!(
        r#"
        [server.tls.acme]
        domains = ["localhost"]
        accept_terms = true
        directory = "{directory}"
        directory_ca_file = "{trusted}"
        challenge = "http-01"
        http_listen = "{http}"
        "#,
        directory = pebble.directory(),
        trusted = pebble.ca().display(),
        http = http.addr(),
    );
    let forebay = start([&tls, rig::GENESYS, SQLITE].concat()).await?;
    let fetched = async |wanted: usize| {
        until("certificates come", DEADLINE, async || {
            match forebay
                .stderr()
                .matches("a new certificate has come")
                .count()
            {
                count if count >= wanted => Ok(()),
                count => Err(format!(
                    "{count}\n{}\n{}",
                    forebay.tail(),
                    pebble.log_tail()
                )),
            }
        })
        .await
    };
    fetched(1).await?;
    let first = expires(&forebay).await?.unwrap();
    fetched(2).await?;
    let second = expires(&forebay).await?.unwrap();
    assert!(second > first, "{second} after {first}");
    let root = directory.path().join("root.pem");
    pebble.root(&root)?;
    // Between two of them, on a slow machine, the old one may just be over.
    until("a sender gets in", DEADLINE, async || {
        let sent = send(&forebay, "genesys", &[&root]).await;
        sent.map_err(|error| error.to_string())
            .and_then(|sent| match sent.code {
                Some(0) => Ok(()),
                _ => Err(format!("{sent:?}")),
            })
    })
    .await?;

    let port = format!("http://{}", http.addr());
    let asked = |path: &str| format!("{port}{path}");
    let token = "/.well-known/acme-challenge/";
    for (path, status, code) in [
        ("/", 400, "https-expected"),
        ("/in/genesys", 400, "https-expected"),
        ("/healthz", 400, "https-expected"),
        (token, 404, "no-such-challenge"),
        (
            &format!("{token}../acme/account.json"),
            404,
            "no-such-challenge",
        ),
    ] {
        let answer = http::get(&asked(path)).await?;
        let problem = answer.json()?;
        assert_eq!(
            (answer.status.as_u16(), &problem["code"]),
            (status, &code.into()),
            "{path}"
        );
    }
    for body in ["{}".to_owned(), "x".repeat(100_000)] {
        let posted = http::post(&asked("/in/genesys"), &[], Bytes::from(body)).await?;
        assert_eq!(posted.json()?["code"], "https-expected");
    }
    let posted = http::post(&asked(&format!("{token}x")), &[], Bytes::new()).await?;
    assert_eq!(posted.status, 405);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ends_soon_is_told_of_until_another_is_in_force() -> Result<()> {
    let directory = tempfile::tempdir().unwrap();
    let soon = now() + Duration::from_hours(49);
    let files = certificate::write_expiring(directory.path(), soon)?;
    let tls = format!(
        "[server.tls]\ncert_file = \"{}\"\nkey_file = \"{}\"\n",
        files.certificate.display(),
        files.key.display()
    );
    let forebay = start([&tls, rig::GENESYS, SQLITE].concat()).await?;
    said(&forebay, "the certificate of server.tls expires at").await?;
    let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let whole = since(soon).as_secs() as f64;
    assert_eq!(expires(&forebay).await?, Some(whole));
    let status = forebay.cli(&["status"]).await?;
    assert!(
        status.stdout.contains("CERTIFICATE: it expires at"),
        "{status:?}"
    );
    let json = forebay.status().await?;
    assert!(json["certificate"]["warning"].as_str().is_some(), "{json}");
    assert!(checked(&forebay).await?.contains("expires at"));

    let past = now() - Duration::from_secs(5);
    certificate::write_expiring(directory.path(), past)?;
    forebay.reload()?;
    said(&forebay, "the files of server.tls were read again").await?;
    assert_eq!(expires(&forebay).await?, Some(since(past).as_secs() as f64));
    let warned = checked(&forebay).await?;
    assert!(
        warned.contains("server.tls.cert_file") && warned.contains("expired at"),
        "{warned}"
    );

    certificate::write(directory.path())?;
    forebay.reload()?;
    until("another is in force", DEADLINE, async || {
        let status = forebay.status().await.map_err(|error| error.to_string())?;
        match &status["certificate"] {
            good if good["warning"].is_null() && good["expires_at"].is_string() => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await?;
    assert!(expires(&forebay).await? > Some(whole));
    assert!(!checked(&forebay).await?.contains("server.tls"));
    Ok(())
}

fn now() -> SystemTime {
    let seconds = SystemClock.now().as_second();
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap())
}

/// What `check` warns of.
async fn checked(forebay: &Forebay) -> Result<String> {
    let checked = forebay.cli(&["check"]).await?;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    Ok(checked.stderr)
}
