//! Names of tables and columns, always quoted.

use crate::OptionsError;

/// PostgreSQL cuts longer names off without an error, which would then be another name.
const MAX_BYTES: usize = 63;

/// A column's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identifier(String);

impl Identifier {
    pub(crate) fn new(key: &'static str, text: &str) -> Result<Self, OptionsError> {
        let refuse = |reason: &str| Err(OptionsError::new(key, reason));
        if text.is_empty() {
            refuse("a name cannot be empty")
        } else if text.len() > MAX_BYTES {
            refuse("a name has at most 63 bytes")
        } else if text.contains(|c: char| c == '"' || c.is_control()) {
            refuse(
                "a name is written without quotes and control characters; it is quoted as it stands",
            )
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// As it stands in SQL.
    pub(crate) fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }

    /// As it stands in MySQL's SQL, whatever its `sql_mode` is.
    pub(crate) fn backticked(&self) -> String {
        format!("`{}`", self.0.replace('`', "``"))
    }
}

/// A table's name, with its schema if one was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableName {
    schema: Option<Identifier>,
    name: Identifier,
}

impl TableName {
    pub(crate) const DEFAULT: &str = "webhook_events";

    pub(crate) fn new(text: &str) -> Result<Self, OptionsError> {
        let part = |text| Identifier::new("table", text);
        match text.split('.').collect::<Vec<_>>()[..] {
            [name] => Ok(Self {
                schema: None,
                name: part(name)?,
            }),
            [schema, name] => Ok(Self {
                schema: Some(part(schema)?),
                name: part(name)?,
            }),
            _ => Err(OptionsError::new(
                "table",
                "write a table's name, or schema.name with one dot",
            )),
        }
    }

    /// As it stands in SQL.
    pub(crate) fn quoted(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", schema.quoted(), self.name.quoted()),
            None => self.name.quoted(),
        }
    }

    /// As it stands in MySQL's SQL.
    pub(crate) fn backticked(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", schema.backticked(), self.name.backticked()),
            None => self.name.backticked(),
        }
    }

    /// The schema, if one was given, and the name by itself.
    pub(crate) fn parts(&self) -> (Option<&str>, &str) {
        (
            self.schema.as_ref().map(Identifier::as_str),
            self.name.as_str(),
        )
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{}.{}", schema.as_str(), self.name.as_str()),
            None => f.write_str(self.name.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_they_stand() {
        let quoted = |text| TableName::new(text).map(|name| name.quoted());
        assert_eq!(quoted("events").unwrap(), r#""events""#);
        assert_eq!(quoted("App.Events; --").unwrap(), r#""App"."Events; --""#);
        let ticked = |text| TableName::new(text).map(|name| name.backticked());
        assert_eq!(ticked("App.a`b").unwrap(), "`App`.`a``b`");
        for bad in ["", ".", "a.", "a.b.c", "a\"b", "a\0b", &"x".repeat(64)] {
            assert!(quoted(bad).is_err(), "{bad:?}");
        }
    }
}
