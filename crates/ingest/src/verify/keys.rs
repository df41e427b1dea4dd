//! Secrets of a scheme: several at once, so that one can be rotated; from the configuration, from
//! files, or both. Files are read again on SIGHUP.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use domain::{HumanDuration, Secret};
use serde::Deserialize;

use super::Secrets;

/// The options of a scheme that needs secrets and no more.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretOptions {
    /// Secrets, the newest first: the first one signs, all of them verify.
    #[serde(default)]
    pub(super) secrets: Vec<Secret>,
    /// Files with one secret each, read again on SIGHUP.
    #[serde(default)]
    pub(super) secret_files: Vec<PathBuf>,
}

impl Secrets for SecretOptions {
    fn secrets(&self) -> (&[Secret], &[PathBuf]) {
        (&self.secrets, &self.secret_files)
    }
}

/// The options of a scheme that signs the time as well. `SECONDS` is the tolerance where none is said.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimedOptions<const SECONDS: u64 = 300> {
    /// Secrets, the newest first: the first one signs, all of them verify.
    #[serde(default)]
    pub(super) secrets: Vec<Secret>,
    /// Files with one secret each, read again on SIGHUP.
    #[serde(default)]
    pub(super) secret_files: Vec<PathBuf>,
    /// How far the signed time may be from ours.
    #[serde(
        default = "tolerance::<SECONDS>",
        deserialize_with = "at_least_a_second"
    )]
    pub(super) tolerance: HumanDuration,
}

/// A tolerance. What is signed takes its time to come, and clocks differ.
///
/// # Errors
/// It is no duration, or one in which hardly anything arrives.
pub(super) fn at_least_a_second<'de, D>(deserializer: D) -> Result<HumanDuration, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let tolerance = HumanDuration::deserialize(deserializer)?;
    if tolerance.0 < Duration::from_secs(1) {
        let reason =
            "must be at least \"1s\", and is better minutes: what was signed longer ago is refused";
        return Err(serde::de::Error::custom(reason));
    }
    Ok(tolerance)
}

fn tolerance<const SECONDS: u64>() -> HumanDuration {
    HumanDuration::from_secs(SECONDS)
}

impl<const SECONDS: u64> Secrets for TimedOptions<SECONDS> {
    fn secrets(&self) -> (&[Secret], &[PathBuf]) {
        (&self.secrets, &self.secret_files)
    }
}

/// Turns a secret's text into what the scheme computes with.
type Parse<K> = fn(&Secret) -> Result<K, String>;

/// The keys in force.
#[derive(Debug)]
pub(super) struct Keys<K> {
    secrets: Vec<Secret>,
    files: Vec<PathBuf>,
    parse: Parse<K>,
    current: RwLock<Arc<[K]>>,
}

impl<K> Keys<K> {
    /// Reads all secrets.
    pub(super) fn load(
        secrets: &[Secret],
        files: &[PathBuf],
        parse: Parse<K>,
    ) -> Result<Self, String> {
        let current = RwLock::new(read(secrets, files, parse)?);
        Ok(Self {
            secrets: secrets.to_vec(),
            files: files.to_vec(),
            parse,
            current,
        })
    }

    /// The keys, the newest first. Never empty.
    pub(super) fn current(&self) -> Arc<[K]> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the files again; on an error everything stays.
    pub(super) fn reload(&self) -> Result<(), String> {
        let fresh = read(&self.secrets, &self.files, self.parse)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}

/// Secrets of fewer bytes than `least`, by their place.
pub(super) fn short(secrets: &[Secret], files: &[PathBuf], least: usize) -> Vec<String> {
    let all = placed(secrets, files).into_iter();
    let short = all.filter(|(_, secret)| secret.expose().len() < least);
    short.map(|(place, _)| place).collect()
}

/// Secrets that are there already: a line each.
pub(super) fn twice(secrets: &[Secret], files: &[PathBuf]) -> Vec<String> {
    let all = placed(secrets, files);
    let again = all.iter().enumerate().filter_map(|(at, (place, secret))| {
        let mut before = all[..at].iter();
        let (first, _) = before.find(|(_, other)| other.expose() == secret.expose())?;
        let first = first.trim_start_matches("secrets: ");
        Some(format!(
            "{place} is the same as {first}: put the new one there, or take it out"
        ))
    });
    again.collect()
}

/// Every secret with its place. A file that cannot be read is not looked at.
fn placed(secrets: &[Secret], files: &[PathBuf]) -> Vec<(String, Secret)> {
    let inline = secrets.iter().enumerate();
    let inline = inline.map(|(at, secret)| (format!("secrets: number {}", at + 1), secret.clone()));
    let in_files = files.iter().filter_map(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        let secret = text.trim_end_matches(['\r', '\n']).to_owned();
        Some((
            format!("secret_files: {}", path.display()),
            Secret::new(secret),
        ))
    });
    inline.chain(in_files).collect()
}

fn read<K>(secrets: &[Secret], files: &[PathBuf], parse: Parse<K>) -> Result<Arc<[K]>, String> {
    let mut keys = Vec::new();
    for (at, secret) in secrets.iter().enumerate() {
        keys.push(
            check(secret, parse)
                .map_err(|reason| format!("secrets: number {} {reason}", at + 1))?,
        );
    }
    for path in files {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("secret_files: cannot read {}: {error}", path.display()))?;
        let secret = Secret::new(text.trim_end_matches(['\r', '\n']).to_owned());
        keys.push(
            check(&secret, parse)
                .map_err(|reason| format!("secret_files: {} {reason}", path.display()))?,
        );
    }
    if keys.is_empty() {
        return Err("needs at least one of `secrets` and `secret_files`".into());
    }
    Ok(keys.into())
}

fn check<K>(secret: &Secret, parse: Parse<K>) -> Result<K, String> {
    let text = secret.expose();
    if text.is_empty() {
        Err("is empty".into())
    } else if text.contains(['\r', '\n']) {
        Err("has more than one line: a secret is one line, and each has a file of its own".into())
    } else if text.trim() != text {
        Err("begins or ends with a blank: take it off".into())
    } else {
        parse(secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_reload_keeps_the_secrets_and_names_the_file_only() {
        let directory = std::env::temp_dir().join(format!("forebay-keys-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("secret");
        std::fs::write(&path, "first\n").unwrap();
        let keys = Keys::load(&[], std::slice::from_ref(&path), super::super::plain).unwrap();
        std::fs::write(&path, "second").unwrap();
        keys.reload().unwrap();
        assert_eq!(keys.current()[0].expose(), "second");
        std::fs::write(&path, "\n").unwrap();
        let error = keys.reload().unwrap_err();
        assert!(
            error.contains("is empty") && error.contains("secret_files"),
            "{error}"
        );
        std::fs::remove_file(&path).unwrap();
        assert!(keys.reload().unwrap_err().contains("cannot read"));
        assert_eq!(keys.current()[0].expose(), "second");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_is_more_than_one_line_or_has_a_blank_around_it_is_no_secret() {
        let path = std::env::temp_dir().join(format!("forebay-lines-{}", std::process::id()));
        for (text, words) in [
            ("new-secret\nold-secret\n", "more than one line"),
            ("new-secret\r\nold-secret", "more than one line"),
            ("new-secret \n", "blank"),
            ("\tnew-secret", "blank"),
        ] {
            std::fs::write(&path, text).unwrap();
            let files = std::slice::from_ref(&path);
            let error = Keys::load(&[], files, super::super::plain).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("-secret"), "{error}");
            let inline = [Secret::new(text.into())];
            assert!(Keys::load(&inline, &[], super::super::plain).is_err());
        }
        std::fs::write(&path, "one secret\r\n").unwrap();
        Keys::load(&[], std::slice::from_ref(&path), super::super::plain).unwrap();
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_tolerance_of_nothing_is_refused() {
        let read = |tolerance: &str| {
            let options = serde_json::json!({ "secrets": ["s"], "tolerance": tolerance });
            serde_json::from_value::<TimedOptions>(options)
        };
        assert!(read("1s").is_ok());
        for none in ["0s", "999ms"] {
            let error = read(none).unwrap_err().to_string();
            assert!(error.contains("at least \"1s\""), "{error}");
        }
    }

    #[test]
    fn no_secret_at_all_is_an_error() {
        let error = Keys::load(&[], &[], super::super::plain).unwrap_err();
        assert!(error.contains("at least one"), "{error}");
    }
}
