//! # Reading settings into their types
//!
//! A deserializer of our own over the merged layers. The one that comes with them takes `true` for the port
//! 1 and 2.7 for 3, repeats secrets in its errors, and forgets where an out-of-range value came from. This one
//! is strict, converts text only where it came from the environment, and attaches to every error the full
//! key, the origin, and the value as far as it is fit to be shown.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::iter::Enumerate;
use std::vec;

use config::{Value, ValueKind};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::layers::is_environment;
use super::problem::SettingsError;
use super::reading_error::{Place, Unread};
use super::report::joined;
use super::secrets::{DATABASE_URL_TYPE, SECRET_TYPE, is_secret_key};

const LIST_SEPARATOR: char = ',';

/// The settings, and the keys whose type says that they are secret.
pub(super) fn read<T: DeserializeOwned>(
    merged: &Value,
    environment_prefix: &str,
) -> Result<(T, BTreeSet<String>), SettingsError> {
    let secret_keys = RefCell::default();
    let root = Node { key: String::new(), value: merged.clone(), secret: false, secret_keys: &secret_keys };
    let settings = T::deserialize(root).map_err(|error| error.into_settings_error(environment_prefix))?;
    Ok((settings, secret_keys.into_inner()))
}

/// A value at its place.
#[derive(Clone)]
struct Node<'a> {
    key: String,
    value: Value,
    secret: bool,
    secret_keys: &'a RefCell<BTreeSet<String>>,
}

impl<'a> Node<'a> {
    fn child(&self, name: &str, value: Value) -> Self {
        let key = joined(&self.key, name);
        let secret = self.secret || is_secret_key(&key);
        Self { key, value, secret, secret_keys: self.secret_keys }
    }

    fn place(&self) -> Place<'_> {
        Place { key: &self.key, value: &self.value, secret: self.secret }
    }

    /// The text of a variable, which is all that the environment knows; whatever else is wanted is read from it.
    fn environment_text(&self) -> Option<&str> {
        let ValueKind::String(text) = &self.value.kind else { return None };
        self.value.origin().is_some_and(is_environment).then_some(text)
    }

    /// Reads, and says of an error where it was.
    fn read<T>(self, reading: impl FnOnce(Self) -> Result<T, Unread>) -> Result<T, Unread> {
        let here = self.clone();
        reading(self).map_err(|error| error.at(here.place()))
    }

    /// Lets the visitor have the value as it is; the visitor refuses what it cannot use.
    fn read_as_found<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        match &self.value.kind {
            ValueKind::Nil => visitor.visit_unit(),
            ValueKind::Boolean(value) => visitor.visit_bool(*value),
            ValueKind::I64(value) => visitor.visit_i64(*value),
            ValueKind::I128(value) => visitor.visit_i128(*value),
            ValueKind::U64(value) => visitor.visit_u64(*value),
            ValueKind::U128(value) => visitor.visit_u128(*value),
            ValueKind::Float(value) => visitor.visit_f64(*value),
            ValueKind::String(value) => visitor.visit_str(value),
            ValueKind::Array(items) => {
                let items: Vec<Value> = items.clone();
                self.list(items, visitor)
            }
            ValueKind::Table(_) => visitor.visit_map(self.table()),
        }
    }

    fn list<'de, V: Visitor<'de>>(self, items: Vec<Value>, visitor: V) -> Result<V::Value, Unread> {
        visitor.visit_seq(Items { list: self, items: items.into_iter().enumerate() })
    }

    /// In the order of keys: of several faults the same one is reported each time.
    fn table(self) -> Table<'a> {
        let mut entries = BTreeMap::new();
        if let ValueKind::Table(table) = &self.value.kind {
            entries.extend(table.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        Table { parent: self, entries: entries.into_iter(), entry: None }
    }
}

macro_rules! read_integers {
    ($($method:ident)*) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
            self.read(|node| match node.environment_text() {
                None => node.read_as_found(visitor),
                Some(text) => match (text.parse::<i64>(), text.parse::<u64>()) {
                    (Ok(number), _) => visitor.visit_i64(number),
                    (_, Ok(number)) => visitor.visit_u64(number),
                    (Err(_), Err(_)) => Err(Unread::invalid_type(Unexpected::Str(text), &visitor)),
                },
            })
        }
    )* };
}

macro_rules! read_decimals {
    ($($method:ident)*) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
            self.read(|node| match node.environment_text() {
                None => node.read_as_found(visitor),
                Some(text) => match text.parse::<f64>() {
                    Ok(number) if number.is_finite() => visitor.visit_f64(number),
                    Ok(_) | Err(_) => Err(Unread::invalid_type(Unexpected::Str(text), &visitor)),
                },
            })
        }
    )* };
}

macro_rules! read_whatever {
    ($($method:ident)*) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
            self.read(|node| node.read_as_found(visitor))
        }
    )* };
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = Unread;

    read_integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }
    read_decimals! { deserialize_f32 deserialize_f64 }
    read_whatever! {
        deserialize_any deserialize_char deserialize_str deserialize_string deserialize_map deserialize_unit
        deserialize_identifier deserialize_ignored_any
    }
    forward_to_deserialize_any! { i128 u128 bytes byte_buf }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        self.read(|node| match node.environment_text() {
            None => node.read_as_found(visitor),
            Some("true") => visitor.visit_bool(true),
            Some("false") => visitor.visit_bool(false),
            Some(text) => Err(Unread::invalid_type(Unexpected::Str(text), &visitor)),
        })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        if self.value.kind == ValueKind::Nil { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unread> {
        if name == SECRET_TYPE {
            self.secret_keys.borrow_mut().insert(self.key.clone());
        }
        self.secret |= name == SECRET_TYPE || name == DATABASE_URL_TYPE;
        self.read(|node| visitor.visit_newtype_struct(node))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        self.read(|node| match node.environment_text() {
            None => node.read_as_found(visitor),
            Some(text) => {
                let origin = node.value.origin().map(str::to_owned);
                let items = text.split(LIST_SEPARATOR).map(str::trim).filter(|item| !item.is_empty());
                let items = items.map(|item| Value::new(origin.as_ref(), item)).collect();
                node.list(items, visitor)
            }
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, Unread> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Unread> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unread> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unread> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unread> {
        self.read(|node| {
            if let ValueKind::String(word) = &node.value.kind {
                visitor.visit_enum(StrDeserializer::new(word))
            } else if let ValueKind::Table(_) = &node.value.kind {
                visitor.visit_enum(MapAccessDeserializer::new(node.table()))
            } else {
                Err(Unread::invalid_type(Unexpected::Other("neither a word nor a table"), &visitor))
            }
        })
    }
}

/// The entries of a table, one after the other.
struct Table<'a> {
    parent: Node<'a>,
    entries: btree_map::IntoIter<String, Value>,
    entry: Option<Node<'a>>,
}

impl<'de> MapAccess<'de> for Table<'_> {
    type Error = Unread;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Unread> {
        let Some((name, value)) = self.entries.next() else { return Ok(None) };
        let entry = self.parent.child(&name, value);
        // A key that the type does not know is refused here, while its place is at hand.
        let key =
            seed.deserialize(name.into_deserializer()).map_err(|error: Unread| error.at(entry.place()))?;
        self.entry = Some(entry);
        Ok(Some(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Unread> {
        let entry =
            self.entry.take().ok_or_else(|| Unread::custom("a value was asked for before its key"))?;
        deserialize_at(seed, entry)
    }
}

/// The items of a list, one after the other.
struct Items<'a> {
    list: Node<'a>,
    items: Enumerate<vec::IntoIter<Value>>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Unread;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Unread> {
        let Some((position, value)) = self.items.next() else { return Ok(None) };
        let key = format!("{}[{position}]", self.list.key);
        deserialize_at(seed, Node { key, value, ..self.list.clone() }).map(Some)
    }
}

/// A type may refuse a value after it was read well (`try_from`, a port that must not be 0): that too is told with
/// its place.
fn deserialize_at<'de, S: DeserializeSeed<'de>>(seed: S, node: Node<'_>) -> Result<S::Value, Unread> {
    let here = node.clone();
    seed.deserialize(node).map_err(|error| error.at(here.place()))
}
