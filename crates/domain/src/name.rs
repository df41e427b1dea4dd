//! The names that operators give to sources, routes and destinations.
//!
//! One type a kind, so that a route cannot be passed where a source is meant. All are cheap to clone.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name allowed, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing there.
    #[error("a name cannot be empty")]
    Empty,
    /// Over [`MAX_NAME_BYTES`].
    #[error("a name has at most {MAX_NAME_BYTES} characters, this one has {0}")]
    TooLong(usize),
    /// A character outside the alphabet.
    #[error(
        "a name is made of a-z, 0-9, '.', '_' and '-' and starts with a letter or digit; {0:?} does not fit"
    )]
    BadCharacter(char),
}

fn check(text: &str) -> Result<(), InvalidName> {
    if text.len() > MAX_NAME_BYTES {
        return Err(InvalidName::TooLong(text.len()));
    }
    for (at, c) in text.chars().enumerate() {
        let plain = c.is_ascii_lowercase() || c.is_ascii_digit();
        if !(plain || at > 0 && matches!(c, '.' | '_' | '-')) {
            return Err(InvalidName::BadCharacter(c));
        }
    }
    if text.is_empty() {
        Err(InvalidName::Empty)
    } else {
        Ok(())
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a text that obeys the alphabet (`a-z 0-9 . _ -`, at most 64 bytes).
            ///
            /// # Errors
            /// [`InvalidName`] says which rule it breaks.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                check(text)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// Where events come in.
    SourceName
}
name! {
    /// The way from sources to a destination, with its policies.
    RouteName
}
name! {
    /// Where events go.
    DestinationName
}

/// The sources that a route takes events from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceSet(Arc<BTreeSet<SourceName>>);

impl SourceSet {
    /// Whether events of `source` belong to the set. Takes text so that a reader can ask before it
    /// has made a [`SourceName`].
    #[must_use]
    pub fn contains(&self, source: &str) -> bool {
        self.0.contains(source)
    }

    /// The members, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &SourceName> {
        self.0.iter()
    }
}

impl FromIterator<SourceName> for SourceSet {
    fn from_iter<I: IntoIterator<Item = SourceName>>(names: I) -> Self {
        Self(Arc::new(names.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_enforced_and_the_offender_named() {
        assert!(RouteName::new("genesys-to-db.v2_x").is_ok());
        assert_eq!(RouteName::new(""), Err(InvalidName::Empty));
        assert_eq!(RouteName::new("-a"), Err(InvalidName::BadCharacter('-')));
        assert_eq!(RouteName::new("a/b"), Err(InvalidName::BadCharacter('/')));
        assert_eq!(RouteName::new("Ä"), Err(InvalidName::BadCharacter('Ä')));
        assert_eq!(
            RouteName::new(&"a".repeat(65)),
            Err(InvalidName::TooLong(65))
        );
    }
}
