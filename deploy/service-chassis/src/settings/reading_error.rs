//! What went wrong while a value was read, first without its place, then with it.

use std::fmt;

use config::{Value, ValueKind};
use serde::de::{self, Expected, Unexpected};

use super::problem::SettingsError;
use super::report::joined;
use super::secrets::{HIDDEN, hide_passwords_in_urls, is_secret_key};

/// A fault, and once it is known the sentence that it makes at its place.
#[derive(Debug)]
pub(super) enum Unread {
    Fault(Fault),
    /// Boxed, or every step of the reading would carry the space for a whole error.
    Placed(Box<SettingsError>),
}

/// What is wrong, told without the value: a type's own words repeat it, secret or not.
#[derive(Debug)]
pub(super) enum Fault {
    UnknownKey(&'static [&'static str]),
    Missing(&'static str),
    Unfit {
        expected: String,
    },
    /// A type's own words, which may repeat the value.
    Message(String),
}

/// Where a value stands.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a Value,
    pub(super) secret: bool,
}

impl Unread {
    /// Makes the sentence, unless a place further inside has made it already.
    pub(super) fn at(self, place: Place<'_>) -> Self {
        let fault = match self {
            Self::Fault(fault) => fault,
            placed @ Self::Placed(_) => return placed,
        };
        let key = place.key.to_owned();
        let origin = origin(place.value);
        Self::Placed(Box::new(match fault {
            Fault::UnknownKey(known) => SettingsError::UnknownKey {
                key,
                origin,
                known: known.iter().map(|&name| name.into()).collect(),
            },
            Fault::Missing(field) => missing(&joined(&key, field)),
            Fault::Unfit { expected } => SettingsError::Unfit { key, origin, found: place.found(), expected },
            Fault::Message(message) => {
                SettingsError::Rejected { key, origin, reason: place.without_secrets(message) }
            }
        }))
    }

    pub(super) fn into_settings_error(self, environment_prefix: &str) -> SettingsError {
        let error = match self {
            Self::Placed(error) => *error,
            // Every read attaches its place; should one forget it, the fault still has a sentence.
            Self::Fault(Fault::Missing(field)) => missing(field),
            Self::Fault(fault) => SettingsError::Layers(format!("{fault:?}")),
        };
        if let SettingsError::Missing { key, variable } = error {
            SettingsError::Missing { key, variable: format!("{environment_prefix}__{variable}") }
        } else {
            error
        }
    }
}

/// The variable's name lacks the service's prefix, which only the caller knows.
fn missing(key: &str) -> SettingsError {
    SettingsError::Missing { key: key.to_owned(), variable: key.to_uppercase().replace('.', "__") }
}

/// A table has no origin of its own: it is where the first of its values is.
fn origin(value: &Value) -> String {
    fn first(value: &Value) -> Option<String> {
        let ValueKind::Table(table) = &value.kind else { return value.origin().map(str::to_owned) };
        let mut names: Vec<&String> = table.keys().collect();
        names.sort();
        names.into_iter().find_map(|name| first(table.get(name)?))
    }
    first(value).or_else(|| value.origin().map(str::to_owned)).unwrap_or_else(|| "not given".to_owned())
}

impl Place<'_> {
    fn found(&self) -> String {
        if self.secret {
            return HIDDEN.to_owned();
        }
        match &self.value.kind {
            ValueKind::Nil => "empty".to_owned(),
            ValueKind::Table(_) => "a table".to_owned(),
            ValueKind::Array(_) => "a list".to_owned(),
            ValueKind::String(text) => format!("{:?}", hide_passwords_in_urls(text)),
            ValueKind::Boolean(_)
            | ValueKind::I64(_)
            | ValueKind::I128(_)
            | ValueKind::U64(_)
            | ValueKind::U128(_)
            | ValueKind::Float(_) => self.value.to_string(),
        }
    }

    fn without_secrets(&self, mut message: String) -> String {
        let mut secrets = Vec::new();
        collect_secrets(self.key, self.value, self.secret, &mut secrets);
        for secret in secrets {
            message = message.replace(&secret, HIDDEN);
        }
        hide_passwords_in_urls(&message)
    }
}

fn collect_secrets(key: &str, value: &Value, secret: bool, secrets: &mut Vec<String>) {
    if let ValueKind::Table(table) = &value.kind {
        for (name, inner) in table {
            let key = joined(key, name);
            collect_secrets(&key, inner, secret || is_secret_key(&key), secrets);
        }
    } else if let ValueKind::Array(items) = &value.kind {
        for item in items {
            collect_secrets(key, item, secret, secrets);
        }
    } else if secret {
        secrets.extend(Some(value.to_string()).filter(|text| !text.is_empty()));
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => write!(f, "{fault:?}"),
            Self::Placed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Unread {}

impl de::Error for Unread {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Fault(Fault::Message(message.to_string()))
    }

    fn invalid_type(_found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Fault(Fault::Unfit { expected: in_plain_words(&expected.to_string()) })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(_variant: &str, expected: &'static [&'static str]) -> Self {
        let words: Vec<String> = expected.iter().map(|word| format!("{word:?}")).collect();
        Self::Fault(Fault::Unfit { expected: words.join(" or ") })
    }

    fn unknown_field(_field: &str, expected: &'static [&'static str]) -> Self {
        Self::Fault(Fault::UnknownKey(expected))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Fault(Fault::Missing(field))
    }
}

/// What a type of Rust expects, for a person who sets it.
fn in_plain_words(expected: &str) -> String {
    let words = match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "text",
        "a sequence" => "a list",
        "a duration" => "a duration such as \"3s\" or \"200ms\"",
        other if other.starts_with("struct ") || other == "a map" => "a table",
        other if other.starts_with("a nonzero ") => "a whole number other than 0 that fits",
        other if other.starts_with("enum ") => "a word",
        other => other,
    };
    words.to_owned()
}
