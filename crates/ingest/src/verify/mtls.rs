//! `mtls`: the certificate that the client showed when it connected says who it is. That it is genuine was seen to in
//! the handshake, by `server.tls.client_ca_file`; here only its name is looked at.

use std::path::PathBuf;

use domain::Secret;
use serde::Deserialize;

use super::{
    About, CannotSign, Consumed, KeyDoc, Received, Refusal, Scheme, Secrets, Signed, Unsigned,
};

pub(super) const ABOUT: About = About {
    keys: &[KeyDoc::new(
        "subjects",
        "list of strings",
        "at least one",
        "Who may post: the common name of the certificate's subject, or one of its alternative names of type DNS or URI.",
        "",
    )],
    least: "subjects = [\"sender.example.com\"]",
    guessable: false,
    ..About::new(
        "mtls",
        "The client's certificate, verified when it connects. Needs `[server.tls]` with `client_auth`.",
    )
};

/// Who may post.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Names, as certificates have them.
    subjects: Vec<String>,
}

impl Secrets for Options {
    fn secrets(&self) -> (&[Secret], &[PathBuf]) {
        (&[], &[])
    }
}

/// The scheme.
#[derive(Debug)]
pub(super) struct Mtls {
    subjects: Vec<String>,
}

impl Mtls {
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        if options.subjects.is_empty() || options.subjects.iter().any(String::is_empty) {
            return Err("subjects must name at least one, and no empty one".into());
        }
        Ok(Self {
            subjects: options.subjects.clone(),
        })
    }
}

impl Scheme for Mtls {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let client = request.client.ok_or(Refusal::Missing)?;
        if self.subjects.iter().any(|subject| client.names(subject)) {
            Ok(Consumed::Nothing)
        } else {
            Err(Refusal::Foreign)
        }
    }

    /// Nothing of the request: the connection proves it.
    fn sign(&self, _: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        Ok(Signed::default())
    }

    fn reload(&self) -> Result<(), String> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::Case;
    use super::super::client::tests::certificate;
    use super::*;

    fn taking(subjects: &[&str]) -> Result<Mtls, String> {
        let subjects = subjects.iter().map(|subject| (*subject).into()).collect();
        Mtls::new(&Options { subjects })
    }

    #[test]
    fn only_a_certificate_with_a_listed_name_is_taken() {
        let client = certificate("sender", "sender.example.com", "spiffe://x/sender");
        let case = || Case::new(&[], "{}", 0);
        for (subjects, taken) in [
            (&["sender"][..], Ok(Consumed::Nothing)),
            (&["other", "sender.example.com"], Ok(Consumed::Nothing)),
            (&["spiffe://x/sender"], Ok(Consumed::Nothing)),
            (&["other", "SENDER", "*"], Err(Refusal::Foreign)),
        ] {
            let known = taking(subjects).unwrap();
            let shown = case().shown(client.clone());
            assert_eq!(shown.check(&known), taken, "{subjects:?}");
            assert_eq!(case().check(&known), Err(Refusal::Missing), "{subjects:?}");
        }
    }

    #[test]
    fn somebody_must_be_named() {
        for nobody in [&[][..], &[""], &["sender", ""]] {
            assert!(taking(nobody).is_err(), "{nobody:?}");
        }
    }
}
