//! What is in force, and where it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use config::{Value, ValueKind};

use super::problem::SettingsError;
use super::secrets::{HIDDEN, hide_passwords_in_urls, is_secret_key};

/// Every setting with its value and origin (`default`, `file PATH`, `environment VARIABLE`), secrets hidden.
/// `Display` is a table, one setting a line.
#[derive(Debug, Clone, Default)]
pub struct SettingsReport {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    value: String,
    origin: String,
}

impl SettingsReport {
    pub(super) fn new(merged: &Value, secret_keys: &BTreeSet<String>) -> Self {
        let mut report = Self::default();
        report.add("", merged, secret_keys);
        report
    }

    /// Where the value of this key came from.
    pub fn origin(&self, key: &str) -> Option<&str> {
        self.entries.get(key).map(|entry| entry.origin.as_str())
    }

    /// The value of this key as it may be shown.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.entries.get(key).map(|entry| entry.value.as_str())
    }

    /// An error about a setting that loaded well, and breaks a rule between settings; `reason` says
    /// which, as `must be longer than …`.
    pub fn reject(&self, key: &str, reason: impl Into<String>) -> SettingsError {
        let origin = self.origin(key).unwrap_or("not given").to_owned();
        SettingsError::Rejected { key: key.to_owned(), origin, reason: reason.into() }
    }

    fn add(&mut self, key: &str, value: &Value, secret_keys: &BTreeSet<String>) {
        if let ValueKind::Table(table) = &value.kind {
            for (name, inner) in table {
                self.add(&joined(key, name), inner, secret_keys);
            }
            return;
        }
        let hidden = secret_keys.contains(key) || is_secret_key(key);
        let shown = if hidden { HIDDEN.to_owned() } else { shown(value) };
        let origin = value.origin().unwrap_or_default().to_owned();
        self.entries.insert(key.to_owned(), Entry { value: shown, origin });
    }
}

pub(super) fn joined(key: &str, name: &str) -> String {
    if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") }
}

fn shown(value: &Value) -> String {
    let ValueKind::Array(items) = &value.kind else { return hide_passwords_in_urls(&value.to_string()) };
    let items: Vec<String> = items.iter().map(shown).collect();
    format!("[{}]", items.join(", "))
}

impl fmt::Display for SettingsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest =
            |text: fn(&(&String, &Entry)) -> usize| self.entries.iter().map(|e| text(&e)).max().unwrap_or(0);
        let key_width = widest(|(key, _)| key.chars().count());
        let value_width = widest(|(_, entry)| entry.value.chars().count());
        for (key, Entry { value, origin }) in &self.entries {
            writeln!(f, "{key:key_width$}  {value:value_width$}  {origin}")?;
        }
        Ok(())
    }
}
