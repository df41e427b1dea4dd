//! What holds together and is weaker than it should be, or does nothing: `check` and `serve` say it, and go on.

use domain::{ByteSize, DestinationName};
use ingest::verify::VerifyOptions;

use super::document::Document;
use super::error::ConfigError;
use super::options::File;

/// All of it, in the order of the file's sections.
pub(super) fn warnings(document: &Document<'_>, file: &File) -> Vec<ConfigError> {
    let mut warnings = Vec::new();
    for (name, source) in &file.sources {
        let name = name.as_str();
        for line in source.verify.iter().flat_map(VerifyOptions::warnings) {
            // It begins with its key.
            let (key, line) = line.split_once(": ").unwrap_or(("", &line));
            warnings.push(document.error(&["sources", name, "verify", key], line));
        }
        for key in ["quarantine_max", "quarantine_max_bytes"] {
            let path = ["sources", name, key];
            if document.has(&path) && source.on_invalid == ingest::options::OnInvalid::Refuse {
                let line =
                    "does nothing without on_invalid = \"quarantine\": set that, or take this out";
                warnings.push(document.error(&path, line));
            }
        }
    }
    for (name, options) in &file.destinations {
        // One that takes the bodies of large dead letters need not be on a route.
        if options.kind() != "s3" && !is_used(file, name) {
            let line = format!(
                "no route delivers here: name {name:?} as a route's `to`, or take the destination out"
            );
            warnings.push(document.error(&["destinations", name.as_str()], line));
        }
    }
    warnings.extend(no_disk(document, file));
    warnings
}

/// A disk that has less free already than is to be kept free: the journal would take nothing.
fn no_disk(document: &Document<'_>, file: &File) -> Option<ConfigError> {
    let data_dir = std::path::absolute(&file.server.data_dir).ok()?;
    let there = data_dir.ancestors().find(|directory| directory.exists())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    let free = ByteSize(stat.f_bavail.saturating_mul(stat.f_frsize));
    let least = file.journal.min_free;
    (free < least).then(|| {
        let line = format!(
            "{least} is to be kept free, and the disk of {} has {free}: events are refused with 503 no-room; make room there, or lower this",
            data_dir.display()
        );
        document.error(&["journal", "min_free"], line)
    })
}

/// Whether a route delivers there, or sends its dead letters there.
fn is_used(file: &File, name: &DestinationName) -> bool {
    let mut routes = file.routes.values();
    routes.any(|route| route.to == *name || route.dead_letter.to.contains(name))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Flags, parse};

    fn warnings(source: &str, more: &str) -> Vec<String> {
        let text = format!(
            "[sources.a]\ntype = \"http\"\n{source}\n[destinations.db]\ntype = \"sqlite\"\n[routes.r]\nfrom = [\"a\"]\nto = \"db\"\n{more}\n"
        );
        let config = parse(Some(Path::new("f.toml")), &text, &Flags::default(), &|_| {
            None
        });
        let warnings = config.unwrap().warnings;
        warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_weak_or_does_nothing_is_warned_of_with_its_key() {
        for (source, more, wanted) in [
            (
                "verify = { scheme = \"bearer\", secrets = [\"a\"] }",
                "",
                "f.toml:3: sources.a.verify.secrets: number 1 is shorter than 16 bytes, so that it may be found by trying: ",
            ),
            (
                "verify = { scheme = \"github\", secrets = [\"a\"] }",
                "",
                "f.toml:3: sources.a.verify.secrets: number 1 is shorter than 16 bytes, so that it may be found by trying from one signed request: ",
            ),
            (
                "verify = { scheme = \"github\", secrets = [\"0123456789abcdef\", \"0123456789abcdef\"] }",
                "",
                "f.toml:3: sources.a.verify.secrets: number 2 is the same as number 1: ",
            ),
            (
                "verify = { scheme = \"meta\", secrets = [\"0123456789abcdef\"] }",
                "",
                "f.toml:3: sources.a.verify.verify_token: is not set, so that Meta's GET is refused",
            ),
            (
                "quarantine_max = 5",
                "",
                "f.toml:3: sources.a.quarantine_max: does nothing without on_invalid = \"quarantine\"",
            ),
            (
                "",
                "[destinations.no]\ntype = \"sqlite\"\npath = \"no.db\"",
                "f.toml:9: destinations.no: no route delivers here: ",
            ),
            (
                "",
                "[journal]\nmin_free = \"1000TiB\"",
                "f.toml:10: journal.min_free: 1000.0 TiB is to be kept free, and the disk of ",
            ),
        ] {
            let found = warnings(source, more);
            assert!(
                found.len() == 1 && found[0].starts_with(wanted),
                "{found:?} {wanted}"
            );
        }
        for (source, more) in [
            ("verify = { scheme = \"none\" }", ""),
            (
                "",
                "[destinations.large]\ntype = \"s3\"\nbucket = \"letters\"",
            ),
            (
                "",
                "dead_letter = { to = [\"ops\"] }\n[destinations.ops]\ntype = \"file\"\npath = \"o\"",
            ),
        ] {
            assert_eq!(warnings(source, more), [""; 0]);
        }
    }
}
