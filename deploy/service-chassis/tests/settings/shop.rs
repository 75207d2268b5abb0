//! A shop's settings, as a service would declare them, and ways to load them.

use std::io::Write;
use std::time::Duration;

use serde::Deserialize;
use service_chassis::settings::{
    DatabaseUrl, Loaded, Properties, Secret, SettingsError, SettingsSource, load_with_environment,
};
use service_chassis::telemetry::LogSettings;
use tempfile::NamedTempFile;

pub(crate) const DEFAULTS: &str = r#"
# what the shop is called
name = "shop"

[http]
host = "127.0.0.1"
port = 8080
trusted = ["10.0.0.1"]
strict = true
share = 0.5
patience = "3s"

[database]
url = "postgres://shop:sesame@localhost/shop"

[kafka.properties]
"client.id" = "shop"

[log]
format = "text"
level = "info"
"#;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) http: Http,
    pub(crate) database: Database,
    pub(crate) kafka: Kafka,
    pub(crate) log: LogSettings,
    pub(crate) api: Option<Api>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) trusted: Vec<String>,
    pub(crate) strict: bool,
    pub(crate) share: f64,
    #[serde(with = "humantime_serde")]
    pub(crate) patience: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Database {
    pub(crate) url: DatabaseUrl,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kafka {
    pub(crate) properties: Properties,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Api {
    /// A name that does not say that it is secret: only the type does.
    pub(crate) greeting: Option<Secret>,
    pub(crate) attempts: u8,
}

pub(crate) fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

pub(crate) fn load(
    file: Option<&NamedTempFile>,
    environment: &[(&str, &str)],
) -> Result<Loaded<Settings>, SettingsError> {
    let source = SettingsSource {
        defaults: DEFAULTS,
        environment_prefix: "ORDER_SERVICE",
        file: file.map(|file| file.path().to_owned()),
    };
    load_with_environment(&source, environment.iter().map(|(name, value)| (name.into(), value.into())))
}

pub(crate) fn loaded(file: Option<&NamedTempFile>, environment: &[(&str, &str)]) -> Loaded<Settings> {
    load(file, environment).unwrap()
}

pub(crate) fn refusal(file: Option<&NamedTempFile>, environment: &[(&str, &str)]) -> String {
    load(file, environment).unwrap_err().to_string()
}
