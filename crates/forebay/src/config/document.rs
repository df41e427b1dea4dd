//! The file as a tree that knows where each value stands, so that a mistake found anywhere can be shown
//! with its line.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, place};
use super::{interpolate, words};

/// What reads a table of the file, and knows where it is.
pub(super) type Tracked<'a, 'b, 't> =
    serde_path_to_error::Deserializer<'a, 'b, toml::de::Deserializer<'t>>;

/// Where a value came from, if not from the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Variable(String),
    Flag(&'static str),
}

/// A parsed configuration.
#[derive(Debug)]
pub(super) struct Document<'t> {
    file: Option<PathBuf>,
    /// Where each line starts.
    lines: Vec<usize>,
    tree: Spanned<DeTable<'t>>,
    /// By dotted key.
    origins: HashMap<String, Origin>,
}

impl<'t> Document<'t> {
    pub(super) fn parse(file: Option<&Path>, text: &'t str) -> Result<Self, ConfigError> {
        let lines = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        let mut document = Self {
            file: file.map(Path::to_owned),
            lines,
            tree: Spanned::new(0..0, DeTable::new()),
            origins: HashMap::new(),
        };
        document.tree = DeTable::parse(text).map_err(|error| ConfigError {
            place: document.place_of(error.span().map(|span| span.start)),
            key: "syntax".into(),
            reason: format!("this is not TOML: {}", syntax(text, &error)),
        })?;
        Ok(document)
    }

    /// Puts the environment into every `${NAME}`. What is missing within `unused`, a section, stays as it is written.
    pub(super) fn interpolate(
        &mut self,
        environment: &dyn Fn(&str) -> Option<String>,
        unused: Option<&str>,
    ) -> Result<(), ConfigError> {
        let mut wrong = None;
        let mut path = Vec::new();
        for (key, found) in self.tree.get_mut().iter_mut() {
            let mut here = None;
            path.push(key.get_ref().to_string());
            let at = key.span().start;
            interpolate::value(found.get_mut(), at, &mut path, environment, &mut here);
            path.pop();
            if unused != Some(key.get_ref().as_ref()) {
                wrong = wrong.or(here);
            }
        }
        match wrong {
            None => Ok(()),
            Some(interpolate::Missing { path, at, reason }) => Err(ConfigError {
                place: self.place_of(Some(at)),
                key: path.join("."),
                reason,
            }),
        }
    }

    /// Sets a value of a section from outside of the file.
    pub(super) fn set(
        &mut self,
        section: &'static str,
        key: &'static str,
        value: String,
        origin: Origin,
    ) {
        let spanned = |text: &'static str| Spanned::new(0..0, Cow::Borrowed(text));
        let table = self
            .tree
            .get_mut()
            .entry(spanned(section))
            .or_insert_with(|| Spanned::new(0..0, DeValue::Table(DeTable::new())));
        if let DeValue::Table(table) = table.get_mut() {
            table.insert(
                spanned(key),
                Spanned::new(0..0, DeValue::String(value.into())),
            );
            self.origins.insert(format!("{section}.{key}"), origin);
        }
    }

    /// Whether a flag or a variable gave it.
    pub(super) fn is_from_outside(&self, section: &str, key: &str) -> bool {
        self.origins.contains_key(&format!("{section}.{key}"))
    }

    /// Of two keys that say the same thing, takes the file's out where only the other came from outside.
    pub(super) fn settle(&mut self, section: &str, [one, other]: [&str; 2]) {
        let from_outside = [one, other].map(|key| self.is_from_outside(section, key));
        let overridden = match from_outside.into() {
            (true, false) => other,
            (false, true) => one,
            _ => return,
        };
        let section = self.tree.get_mut().get_mut(section);
        if let Some(DeValue::Table(table)) = section.map(Spanned::get_mut) {
            table.remove(overridden);
        }
    }

    /// The text of a section's key with the environment put in, however the rest of the file is; `None` if it
    /// is not there.
    pub(super) fn text(
        &self,
        section: &str,
        key: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<String>, ConfigError> {
        let section_ = self.tree.get_ref().get(section).map(Spanned::get_ref);
        let value = match section_ {
            Some(DeValue::Table(table)) => table.get(key).map(Spanned::get_ref),
            _ => None,
        };
        let text = match value {
            None => return Ok(None),
            Some(DeValue::String(text)) if self.is_from_outside(section, key) => {
                return Ok(Some(text.to_string()));
            }
            Some(DeValue::String(text)) => interpolate::replaced(text, environment),
            Some(_) => Err("must be text, in quotes".into()),
        };
        text.map(Some)
            .map_err(|reason| self.error(&[section, key], reason))
    }

    /// Checks the `type` of every section below this one (`destinations`), which says what its other keys are:
    /// the parser would name neither the line nor what there is.
    pub(super) fn check_types(&self, section: &str, known: &[&str]) -> Result<(), ConfigError> {
        let quoted: Vec<String> = known.iter().map(|kind| format!("{kind:?}")).collect();
        let known_ = quoted.join(" or ");
        let Some(DeValue::Table(sections)) = self.tree.get_ref().get(section).map(Spanned::get_ref)
        else {
            return Ok(());
        };
        for (name, value) in sections {
            let name = name.get_ref().as_ref();
            let of = section.trim_end_matches('s');
            let DeValue::Table(table) = value.get_ref() else {
                let reason = format!("must be a section of its own, with type = {known_}");
                return Err(self.error(&[section, name], reason));
            };
            let reason = match table.get("type").map(Spanned::get_ref) {
                None => {
                    let reason = format!("has no type: add type = {known_}");
                    return Err(self.error(&[section, name], reason));
                }
                Some(DeValue::String(kind)) if known.contains(&kind.as_ref()) => continue,
                Some(DeValue::String(kind)) => {
                    format!("there is no type {kind:?} of {of}; it must be {known_}")
                }
                Some(_) => format!("must be {known_}"),
            };
            return Err(self.error(&[section, name, "type"], reason));
        }
        Ok(())
    }

    /// Reads the file into a type, naming what does not fit; of the sections below `section` only those whose `type` is
    /// `wanted`.
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        section: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<T, ConfigError> {
        let mut tree = self.tree.clone();
        let sections = tree.get_mut().get_mut(section).map(Spanned::get_mut);
        if let Some(DeValue::Table(sections)) = sections {
            let is_wanted = |value: &DeValue<'_>| match value {
                DeValue::Table(table) => match table.get("type").map(Spanned::get_ref) {
                    Some(DeValue::String(kind)) => wanted(kind),
                    _ => true,
                },
                _ => true,
            };
            let all = std::mem::take(sections).into_iter();
            *sections = all
                .filter(|(_, value)| is_wanted(value.get_ref()))
                .collect();
        }
        let mut track = serde_path_to_error::Track::new();
        let deserializer = toml::de::Deserializer::from(tree);
        let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
        T::deserialize(tracked).map_err(|error| self.misfit(&[], &track.path(), &error))
    }

    /// Reads the tables at this path as their tag (`type`, `scheme`) says, where one stands: the parser looks at a tag
    /// only once it has read the rest, and has lost the way to the key by then. A `*` is every name.
    pub(super) fn read_tagged(
        &self,
        path: &[&str],
        tag: &str,
        mut read: impl FnMut(&str, Tracked<'_, '_, 't>) -> Option<Result<(), toml::de::Error>>,
    ) -> Result<(), ConfigError> {
        for (path, table) in tables(self.tree.get_ref(), path) {
            let Some(DeValue::String(kind)) = table.get(tag).map(Spanned::get_ref) else {
                continue;
            };
            let mut rest = table.clone();
            rest.remove(tag);
            let mut track = serde_path_to_error::Track::new();
            let deserializer = toml::de::Deserializer::from(Spanned::new(0..0, rest));
            let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
            if let Some(Err(error)) = read(kind, tracked) {
                return Err(self.misfit(&path, &track.path(), &error));
            }
        }
        Ok(())
    }

    /// What did not fit, `below` this path.
    fn misfit(
        &self,
        path: &[String],
        below: &serde_path_to_error::Path,
        error: &toml::de::Error,
    ) -> ConfigError {
        let below = below.iter().map(ToString::to_string);
        let below = below.filter(|segment| segment != "?");
        let mut path: Vec<String> = path.iter().cloned().chain(below).collect();
        let message = error.message();
        let reason = match unknown_field(message) {
            Some((field, known)) => {
                if path.last().map(String::as_str) != Some(field) {
                    path.push(field.to_owned());
                }
                let keys = known.split('`').skip(1).step_by(2);
                let meant = match words::closest(field, keys) {
                    Some(key) => format!("; did you mean `{key}`? The"),
                    None => "; the".to_owned(),
                };
                format!("there is no such key{meant} keys here are {known}")
            }
            None => self.plain(&path, message),
        };
        let mut wrong = self.error(&path, reason);
        // Some tables have lost the way to the key; the parser may know it.
        if wrong.place == self.place_of(None) {
            wrong.place = self.place_of(error.span().map(|span| span.start));
        }
        wrong
    }

    /// A message about the value at this path, in plain words.
    fn plain(&self, path: &[String], message: &str) -> String {
        let doc = words::documented(path, self.kind_at(path).as_deref());
        let within = |field: &str| {
            let inner: Vec<String> = path.iter().cloned().chain([field.to_owned()]).collect();
            words::documented(&inner, self.kind_at(&inner).as_deref())
        };
        let key = path.last().map_or("", String::as_str);
        words::plain(message, key, doc, within)
    }

    /// The `type`, or the `scheme`, of the table that the key at this path is in.
    fn kind_at(&self, path: &[String]) -> Option<String> {
        let (_, above) = path.split_last()?;
        let above: Vec<&str> = above.iter().map(String::as_str).collect();
        let (_, table) = tables(self.tree.get_ref(), &above).pop()?;
        let tags = ["scheme", "type"];
        let kind = tags.iter().find_map(|tag| table.get(*tag))?;
        kind.get_ref().as_str().map(str::to_owned)
    }

    /// A mistake at this key.
    pub(super) fn error<S: AsRef<str>>(
        &self,
        path: &[S],
        reason: impl Into<String>,
    ) -> ConfigError {
        ConfigError {
            place: self.place(path),
            key: dotted(path),
            reason: reason.into(),
        }
    }

    /// What gave this key its value, for people.
    pub(super) fn place<S: AsRef<str>>(&self, path: &[S]) -> String {
        match self.origins.get(&dotted(path)) {
            Some(Origin::Variable(name)) => format!("environment variable {name}"),
            Some(Origin::Flag(flag)) => format!("flag {flag}"),
            None => self.place_of(self.offset_of(path)),
        }
    }

    /// Whether something gave the key at the end of the path its value.
    pub(super) fn has(&self, path: &[&str]) -> bool {
        let mut table = self.tree.get_ref();
        for (depth, segment) in path.iter().enumerate() {
            match table.get(*segment).map(Spanned::get_ref) {
                Some(DeValue::Table(inner)) => table = inner,
                found => return found.is_some() && depth + 1 == path.len(),
            }
        }
        true
    }

    /// Where the deepest part of the path that is in the file stands.
    fn offset_of<S: AsRef<str>>(&self, path: &[S]) -> Option<usize> {
        let mut table = self.tree.get_ref();
        let mut offset = None;
        for segment in path {
            let Some((key, value)) = table
                .iter()
                .find(|(key, _)| key.get_ref() == segment.as_ref())
            else {
                break;
            };
            offset = Some(key.span().start);
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        offset
    }

    fn place_of(&self, offset: Option<usize>) -> String {
        let line = offset.map(|offset| self.lines.partition_point(|start| *start <= offset));
        place(self.file.as_ref(), line)
    }
}

/// `sources.a.paths[1]`
fn dotted<S: AsRef<str>>(path: &[S]) -> String {
    let mut dotted = String::new();
    for segment in path.iter().map(AsRef::as_ref) {
        if !(dotted.is_empty() || segment.starts_with('[')) {
            dotted.push('.');
        }
        dotted.push_str(segment);
    }
    dotted
}

/// The tables at this path, each with its own; a `*` is every name.
fn tables<'d, 't>(table: &'d DeTable<'t>, path: &[&str]) -> Vec<(Vec<String>, &'d DeTable<'t>)> {
    let mut found = vec![(Vec::new(), table)];
    for segment in path {
        let mut below = Vec::new();
        for (path, table) in found {
            for (key, value) in table {
                let key = key.get_ref().as_ref();
                if let DeValue::Table(inner) = value.get_ref()
                    && (*segment == "*" || *segment == key)
                {
                    let path: Vec<String> = path.iter().cloned().chain([key.to_owned()]).collect();
                    below.push((path, inner));
                }
            }
        }
        found = below;
    }
    found
}

/// What is wrong with a file that is not TOML, without what may be secret: keys are none.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().trim().replace('\n', " ");
    let at = error.span().and_then(|span| text.get(span));
    match at {
        Some(key) if message == "duplicate key" => {
            format!("{} is there twice: take one of them out", key.trim())
        }
        _ => message,
    }
}

/// `unknown field `x`, expected one of …` → (`x`, the known ones).
fn unknown_field(message: &str) -> Option<(&str, &str)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (field, rest) = rest.split_once('`')?;
    let known = rest
        .trim_start_matches(", expected ")
        .trim_start_matches("one of ");
    Some((
        field,
        if known.contains("there are no fields") {
            "none"
        } else {
            known
        },
    ))
}
