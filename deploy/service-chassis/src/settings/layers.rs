//! # Layers
//!
//! The three sources of settings, each brought into one form: nested tables whose leaves carry their origin.
//! A quoted key with dots (`"security.protocol"`) becomes nested tables as well, or the same key from a file
//! and from the environment would stand side by side instead of one overriding the other. So a key cannot be
//! a value and a table of further keys at once; what is said last is what stands.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use config::{ConfigError, File, FileFormat, Map, Source, Value, ValueKind};

use super::problem::SettingsError;

const DEFAULT_ORIGIN: &str = "default";
const ENVIRONMENT_ORIGIN: &str = "environment ";
const LEVEL_SEPARATOR: &str = "__";

/// One source, read and brought into form.
#[derive(Debug, Clone)]
pub(super) struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

pub(super) fn defaults(text: &str) -> Result<Layer, SettingsError> {
    toml(text, DEFAULT_ORIGIN).map_err(SettingsError::Defaults)
}

pub(super) fn file(path: &Path) -> Result<Layer, SettingsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| SettingsError::FileUnreadable { path: path.to_owned(), cause })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    toml(text, &format!("file {}", path.display()))
        .map_err(|reason| SettingsError::FileSyntax { path: path.to_owned(), reason })
}

/// Whether a value with this origin is text because its source knows nothing else.
pub(super) fn is_environment(origin: &str) -> bool {
    origin.starts_with(ENVIRONMENT_ORIGIN)
}

pub(super) fn environment(
    prefix: &str,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Layer, SettingsError> {
    let prefix = format!("{prefix}{LEVEL_SEPARATOR}").to_lowercase();
    // In the order of names, so that two that differ in case only have the same winner each time.
    let mut ours = BTreeMap::new();
    for (name, value) in variables {
        // A name that is not Unicode cannot be one of ours.
        let Ok(name) = name.into_string() else { continue };
        if let Some(key) = name.to_lowercase().strip_prefix(&prefix) {
            ours.insert(name.clone(), (key.to_owned(), value));
        }
    }

    let mut layer = Map::new();
    for (name, (key, value)) in ours {
        if value.is_empty() {
            continue;
        }
        let Ok(value) = value.into_string() else { return Err(SettingsError::NotUnicode { name }) };
        let levels: Vec<&str> = key.split(LEVEL_SEPARATOR).collect();
        if levels.iter().any(|level| level.is_empty()) {
            return Err(SettingsError::EmptyLevel { name });
        }
        let origin = format!("{ENVIRONMENT_ORIGIN}{name}");
        insert(&mut layer, &levels, Value::new(Some(&origin), value));
    }
    Ok(Layer(layer))
}

/// The error's text names line and column and the reason, but does not show the line, which may hold a password.
fn toml(text: &str, origin: &str) -> Result<Layer, String> {
    let parsed = File::from_str(text, FileFormat::Toml).collect().map_err(|error| location(&error))?;
    Ok(Layer(formed(parsed, origin)))
}

fn location(error: &ConfigError) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    match lines.as_slice() {
        [place, .., reason] => format!("{}: {reason}", place.trim_start_matches("TOML parse error ")),
        _ => text,
    }
}

fn formed(table: Map<String, Value>, origin: &str) -> Map<String, Value> {
    // In the order of keys, so that a key that is said twice (quoted and nested) has the same winner each time.
    let sorted: BTreeMap<String, Value> = table.into_iter().collect();
    let mut result = Map::new();
    for (key, value) in sorted {
        let levels: Vec<&str> = key.split('.').collect();
        insert(&mut result, &levels, with_origin(value.kind, origin));
    }
    result
}

fn with_origin(kind: ValueKind, origin: &str) -> Value {
    let named = Some(origin.to_owned());
    if let ValueKind::Table(table) = kind {
        Value::new(named.as_ref(), formed(table, origin))
    } else if let ValueKind::Array(items) = kind {
        let items: Vec<Value> = items.into_iter().map(|item| with_origin(item.kind, origin)).collect();
        Value::new(named.as_ref(), items)
    } else {
        Value::new(named.as_ref(), kind)
    }
}

/// Puts a value at its place, beside what is there when both are tables, instead of it otherwise.
fn insert(table: &mut Map<String, Value>, levels: &[&str], value: Value) {
    let Some((level, rest)) = levels.split_first() else { return };
    if rest.is_empty() {
        put(table, level, value);
        return;
    }
    let inner = table.entry((*level).to_owned()).or_default();
    if !matches!(inner.kind, ValueKind::Table(_)) {
        inner.kind = ValueKind::Table(Map::new());
    }
    if let ValueKind::Table(inner) = &mut inner.kind {
        insert(inner, rest, value);
    }
}

fn put(table: &mut Map<String, Value>, name: &str, value: Value) {
    if let Some(there) = table.get_mut(name)
        && let ValueKind::Table(there) = &mut there.kind
        && let ValueKind::Table(more) = value.kind
    {
        for (name, value) in more {
            put(there, &name, value);
        }
    } else {
        table.insert(name.to_owned(), value);
    }
}
