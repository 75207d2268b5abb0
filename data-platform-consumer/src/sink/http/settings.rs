//! # Settings of the sink `http`

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::{self, Deserializer};
use service_chassis::settings::secrets::{Secret, hide_passwords_in_urls};

use crate::sink::SinkRefused;

/// What this sink says itself, of each request.
const OWN_HEADERS: [&str; 6] =
    ["content-length", "content-type", "idempotency-key", "traceparent", "tracestate", "transfer-encoding"];

/// The settings `[sink.http]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSinkSettings {
    /// Where events are posted to.
    pub url: PlatformUrl,
    /// How long opening a connection may take.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a request may take, from its beginning to the end of its answer.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// The most events in one request; above 1 the body is an array.
    pub batch: usize,
    /// With a batch above 1, the most requests at a time.
    pub requests: usize,
    /// Certificates to trust besides those of the system; empty for none.
    pub ca_file: PathBuf,
    /// More headers of each request. All of them are secrets.
    pub headers: BTreeMap<String, Secret>,
}

impl HttpSinkSettings {
    pub(super) fn header_map(&self) -> Result<HeaderMap, SinkRefused> {
        let headers = self.headers.iter().map(|(name, value)| {
            let key = format!("sink.http.headers.{name}");
            if OWN_HEADERS.contains(&name.to_lowercase().as_str()) {
                return Err(SinkRefused::new(key, "this header is the sink's own"));
            }
            let header = HeaderName::try_from(name.as_str())
                .map_err(|_| SinkRefused::new(key.clone(), "no header has such a name"))?;
            let mut value = HeaderValue::try_from(value.expose())
                .map_err(|_| SinkRefused::new(key, "it must be printable text in one line"))?;
            value.set_sensitive(true);
            Ok((header, value))
        });
        headers.collect()
    }
}

/// The rules that no type tells: the setting to change, and why.
pub(in crate::sink) fn broken_rule(settings: &HttpSinkSettings) -> Option<SinkRefused> {
    let at_least_1 = "it must be at least 1";
    let rules = [
        (!settings.connect_timeout.is_zero(), "sink.http.connect_timeout", "it must be longer than nothing"),
        (
            settings.timeout >= settings.connect_timeout,
            "sink.http.timeout",
            "it must not be shorter than sink.http.connect_timeout, which it includes",
        ),
        (settings.batch > 0, "sink.http.batch", at_least_1),
        (settings.requests > 0, "sink.http.requests", at_least_1),
    ];
    let broken = rules.into_iter().find(|(holds, ..)| !holds);
    broken.map(|(_, key, reason)| SinkRefused::new(key, reason)).or_else(|| settings.header_map().err())
}

/// An `http://` or `https://` URL without a password in it.
#[derive(Clone, PartialEq, Eq)]
pub struct PlatformUrl(Url);

impl PlatformUrl {
    pub(super) fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }

    pub(super) fn into_url(self) -> Url {
        self.0
    }
}

impl fmt::Debug for PlatformUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A token may stand in its query.
        f.write_str(&hide_passwords_in_urls(self.0.as_str()))
    }
}

impl<'de> Deserialize<'de> for PlatformUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The reason does not repeat the text, which may hold a password.
        let url = Url::parse(&text).map_err(|error| de::Error::custom(format!("is not a URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(de::Error::custom("must start with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            let instead = "must not hold a user or a password: give them as sink.http.headers.authorization";
            return Err(de::Error::custom(instead));
        }
        Ok(Self(url))
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};

    use super::*;

    fn url(text: &str) -> Result<PlatformUrl, String> {
        let text: StrDeserializer<'_, Error> = text.into_deserializer();
        PlatformUrl::deserialize(text).map_err(|error| error.to_string())
    }

    fn with(headers: &[(&str, &str)]) -> HttpSinkSettings {
        HttpSinkSettings {
            url: url("http://localhost/").unwrap(),
            connect_timeout: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            batch: 1,
            requests: 1,
            ca_file: PathBuf::new(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect(),
        }
    }

    #[test]
    fn only_a_web_address_without_a_password_is_taken_and_no_refusal_repeats_it() {
        assert!(url("https://platform/orders?tenant=7").is_ok());
        for text in ["", "platform:80", "ftp://platform/sesame", "http://shop:sesame@platform/"] {
            let refusal = url(text).unwrap_err();
            assert!(!refusal.contains("sesame"), "{refusal}");
        }
        assert!(!format!("{:?}", url("http://platform/?api_token=sesame").unwrap()).contains("sesame"));
    }

    #[test]
    fn a_header_that_cannot_be_sent_or_is_the_sinks_own_is_refused_by_its_name() {
        assert_eq!(broken_rule(&with(&[("authorization", "Bearer x"), ("X-Tenant", "7")])), None);
        for (name, value) in [("Content-Type", "text/plain"), ("a b", "x"), ("x", "two\nlines")] {
            let refusal = broken_rule(&with(&[(name, value)])).unwrap();
            assert_eq!(refusal.key, format!("sink.http.headers.{name}"));
            assert!(!refusal.reason.contains(value), "{refusal:?}");
        }
    }

    #[test]
    fn a_time_out_includes_connecting() {
        let settings = HttpSinkSettings { timeout: Duration::from_millis(999), ..with(&[]) };
        assert_eq!(broken_rule(&settings).unwrap().key, "sink.http.timeout");
    }
}
