//! # Message headers
//!
//! A record's headers as the outbox keeps them: one JSON object, names to text. It stays text from the row to the
//! producer: the relay publishes tens of thousands of rows a second, and a map of strings would cost each of them
//! sixteen allocations.

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// The headers of one record. Two are equal if they have the same names and values: the database writes JSON in another way
/// than we do.
#[derive(Clone, Debug)]
pub struct MessageHeaders(String);

impl PartialEq for MessageHeaders {
    fn eq(&self, other: &Self) -> bool {
        self.to_map() == other.to_map()
    }
}

impl Eq for MessageHeaders {}

impl MessageHeaders {
    /// Of these pairs; of a name that is there twice the last one counts.
    pub fn of<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let pairs = pairs.into_iter().map(|(name, value)| (name.into(), Value::String(value.into())));
        Self(Value::Object(pairs.collect()).to_string())
    }

    /// As they stand in a row.
    pub fn from_json(object: String) -> Self {
        Self(object)
    }

    /// As they stand in a row.
    pub fn as_json(&self) -> &str {
        &self.0
    }

    fn to_map(&self) -> BTreeMap<String, String> {
        self.fold(BTreeMap::new(), |mut map, name, value| {
            map.insert(name.to_owned(), value.to_owned());
            map
        })
    }

    /// Adds each of them, name and value, to what is there so far. A value that somebody has written by hand and that is
    /// no text counts as its JSON; what is no object has no headers.
    pub fn fold<T>(&self, so_far: T, mut add: impl FnMut(T, &str, &str) -> T) -> T {
        let mut texts: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::with_capacity(10);
        let mut json = serde_json::Deserializer::from_str(&self.0);
        if json.deserialize_map(Texts(&mut texts)).is_ok() {
            return texts.iter().fold(so_far, |so_far, (name, value)| add(so_far, name, value));
        }
        let others: Map<String, Value> = serde_json::from_str(&self.0).unwrap_or_default();
        others.iter().fold(so_far, |so_far, (name, value)| {
            if let Value::String(text) = value {
                add(so_far, name, text)
            } else {
                add(so_far, name, &value.to_string())
            }
        })
    }
}

/// An object of nothing but texts; those without escapes are borrowed from it.
struct Texts<'v, 'de>(&'v mut Vec<(Cow<'de, str>, Cow<'de, str>)>);

impl<'de> Visitor<'de> for Texts<'_, 'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of texts")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some((MaybeBorrowed(name), MaybeBorrowed(value))) = map.next_entry()? {
            self.0.push((name, value));
        }
        Ok(())
    }
}

struct MaybeBorrowed<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for MaybeBorrowed<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = MaybeBorrowed<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text")
            }

            fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(MaybeBorrowed(Cow::Borrowed(text)))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(MaybeBorrowed(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::MessageHeaders;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn shown(headers: &MessageHeaders) -> BTreeMap<String, String> {
        headers.fold(BTreeMap::new(), |mut shown, name, value| {
            assert!(shown.insert(name.to_owned(), value.to_owned()).is_none(), "{name} twice");
            shown
        })
    }

    #[test]
    fn what_is_no_text_is_shown_as_json_and_what_is_no_object_not_at_all() {
        let by_hand =
            MessageHeaders::from_json(r#"{"a": "one", "b": 2, "c": null, "d": {"e": "\n"}}"#.to_owned());
        let expected = [("a", "one"), ("b", "2"), ("c", "null"), ("d", r#"{"e":"\n"}"#)];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(shown(&by_hand), BTreeMap::from(expected));
        for nothing in ["[]", "3", "{", "", "null"] {
            assert!(shown(&MessageHeaders::from_json(nothing.to_owned())).is_empty(), "{nothing}");
        }
    }

    proptest! {
        #[test]
        fn every_text_comes_back_as_it_was(pairs in prop::collection::btree_map(any::<String>(), any::<String>(), 0..12)) {
            prop_assert_eq!(shown(&MessageHeaders::of(pairs.clone())), pairs);
        }
    }
}
