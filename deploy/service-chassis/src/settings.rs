//! # Settings
//!
//! A service's settings are the sum of three layers, the later one winning key by key: the commented defaults
//! that are compiled in (and are the documentation), a TOML file, and environment variables
//! `PREFIX__SECTION__KEY`. Each value remembers where it came from, so that a wrong one is named with its key,
//! its origin and what was expected, and so that the command `settings` can show what is in force.
//!
//! The rules, each with its test in `tests/settings`:
//!
//! - A key that no setting has is refused, from a file as from the environment: a mistyped limit must not
//!   silently stay at its default. The service's types say `#[serde(deny_unknown_fields)]`.
//! - A variable with a single underscore after the prefix is not ours: Kubernetes sets `ORDER_SERVICE_PORT` to
//!   `tcp://10.0.0.1:80` when a Service has that name.
//! - A variable that is set to nothing counts as not set: compose files pass on what they do not have.
//! - Types are strict in a file; in the environment, where all is text, the wanted type decides: a number is
//!   read as such, a password of digits stays text, a list is separated by commas.
//! - A secret shows nowhere: not in the report, not in `Debug`, not in an error.
//!
//! Types that buffer a value before they know its type (`#[serde(flatten)]`, untagged and internally tagged
//! enums) see the environment's values as text: do without them here.

mod addresses;
mod kafka_security;
mod layers;
mod problem;
mod properties;
mod reading;
mod reading_error;
mod report;
pub mod secrets;

use std::ffi::OsString;
use std::path::PathBuf;

use config::Config;
use serde::de::DeserializeOwned;

pub use addresses::{ADDRESS_LIST_RULE, is_address_list};
pub use kafka_security::unavailable_kafka_security;
pub use problem::SettingsError;
pub use properties::Properties;
pub use report::SettingsReport;
pub use secrets::{DatabaseUrl, DatabaseUrlError, Secret};

/// Where a service's settings come from.
#[derive(Debug, Clone)]
pub struct SettingsSource {
    /// The commented default file, as TOML, compiled in.
    pub defaults: &'static str,
    /// What the names of environment variables start with, before two underscores: `ORDER_SERVICE`.
    pub environment_prefix: &'static str,
    /// A TOML file that overrides the defaults. Once named it must exist.
    pub file: Option<PathBuf>,
}

/// Settings in force, and where each of them came from.
#[derive(Debug, Clone)]
pub struct Loaded<T> {
    /// The settings.
    pub settings: T,
    /// Every key with its value and origin.
    pub report: SettingsReport,
}

/// Loads the settings over this process's environment.
pub fn load<T: DeserializeOwned>(source: &SettingsSource) -> Result<Loaded<T>, SettingsError> {
    load_with_environment(source, std::env::vars_os())
}

/// Loads the settings over the given environment instead of the process's own, which tests must not change.
pub fn load_with_environment<T: DeserializeOwned>(
    source: &SettingsSource,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded<T>, SettingsError> {
    let mut layers = Config::builder().add_source(layers::defaults(source.defaults)?);
    if let Some(path) = &source.file {
        layers = layers.add_source(layers::file(path)?);
    }
    layers = layers.add_source(layers::environment(source.environment_prefix, environment)?);
    let merged = layers.build().map_err(|cause| SettingsError::Layers(cause.to_string()))?.cache;

    let (settings, secret_keys) = reading::read(&merged, source.environment_prefix)?;
    Ok(Loaded { settings, report: SettingsReport::new(&merged, &secret_keys) })
}
