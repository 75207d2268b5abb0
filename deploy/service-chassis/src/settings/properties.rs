//! A table that is handed on as it is, to a library whose keys we do not know.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::secrets::{HIDDEN, is_secret_key};

/// Settings for librdkafka, `"security.protocol" = "sasl_ssl"`: any key, with numbers and truth values as text.
///
/// In a file a key may be quoted or not. In the environment its dots are double underscores:
/// `…__KAFKA__PROPERTIES__SASL__PASSWORD` is `sasl.password`. `Debug` hides secrets by their key's name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// Every key with its value, secrets included.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value of one key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(key, value)| (key, if is_secret_key(key) { HIDDEN } else { value });
        f.debug_map().entries(self.iter().map(shown)).finish()
    }
}

impl FromIterator<(String, String)> for Properties {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(properties: I) -> Self {
        Self(properties.into_iter().collect())
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut properties = BTreeMap::new();
        if let Property::Table(table) = deserializer.deserialize_map(TableVisitor)? {
            flatten("", table, &mut properties);
        }
        Ok(Self(properties))
    }
}

enum Property {
    Text(String),
    Table(BTreeMap<String, Property>),
}

fn flatten(prefix: &str, table: BTreeMap<String, Property>, into: &mut BTreeMap<String, String>) {
    for (key, property) in table {
        let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match property {
            Property::Text(text) => {
                into.insert(key, text);
            }
            Property::Table(inner) => flatten(&key, inner, into),
        }
    }
}

impl<'de> Deserialize<'de> for Property {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PropertyVisitor)
    }
}

/// Only a table can be the whole.
struct TableVisitor;

impl<'de> Visitor<'de> for TableVisitor {
    type Value = Property;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Property, M::Error> {
        PropertyVisitor.visit_map(map)
    }
}

struct PropertyVisitor;

impl<'de> Visitor<'de> for PropertyVisitor {
    type Value = Property;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, or true or false")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Property, E> {
        Ok(Property::Text(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Property, E> {
        Ok(Property::Text(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Property, E> {
        Ok(Property::Text(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Property, E> {
        Ok(Property::Text(value.to_owned()))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Property, M::Error> {
        let mut table = BTreeMap::new();
        while let Some((key, property)) = map.next_entry()? {
            table.insert(key, property);
        }
        Ok(Property::Table(table))
    }
}
