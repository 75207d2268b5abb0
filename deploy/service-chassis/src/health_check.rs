//! # Health check
//!
//! A service's own program as its container's health check: `order-service health` reads the settings as the
//! service does and asks the management port, so that an image needs no curl and a compose file no port.
//! It looks at nothing else: not at Kafka, not at the database, which is what the running service is for.
//!
//! It runs every few seconds, so it is quick, ends within [`PATIENCE`] whatever happens, and says one line that fits
//! into what `docker inspect` shows: what is not ready and why, and the active alarms. An alarm does not make the
//! check fail, as it does not make the service unready.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::http::StatusCode;

use crate::management::{ComponentState, ManagementSettings};
use crate::settings::{SettingsError, SettingsReport};

/// How long the whole check may take; the management port answers in a millisecond.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Far more than the page of a service with all its alarms.
const LARGEST_PAGE: u64 = 1024 * 1024;

/// Which probe is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Whether the service can do its work.
    Ready,
    /// Whether its process answers at all.
    Live,
}

impl Probe {
    fn path(self) -> &'static str {
        match self {
            Self::Ready => "/health/ready",
            Self::Live => "/health/live",
        }
    }
}

/// Why a service is not healthy, or cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum HealthCheckError {
    /// The settings name no port that could be asked.
    #[error("the service cannot be asked")]
    NoFixedPort(#[source] SettingsError),
    /// Nothing answers in time.
    #[error(
        "no answer from {url}: start the service, or check that `management.host` and `management.port` are the ones it runs with"
    )]
    NoAnswer {
        /// What was asked.
        url: String,
        /// What happened.
        #[source]
        cause: ureq::Error,
    },
    /// Something answers that is not the management port of a service.
    #[error(
        "{url} answers {status}, but not with a page of this service: another program has the port, check `management.port`"
    )]
    Stranger {
        /// What was asked.
        url: String,
        /// The status of the answer.
        status: StatusCode,
    },
    /// The service says that it is not healthy; the text says why.
    #[error("{0}")]
    Unhealthy(String),
}

/// What the management port answers, as far as it is told here.
#[derive(Deserialize)]
struct Page {
    components: BTreeMap<String, ComponentState>,
    alarms: Vec<ActiveAlarm>,
}

#[derive(Deserialize)]
struct ActiveAlarm {
    name: String,
    subject: String,
    detail: String,
}

/// Asks the service that runs with these settings. The answer, good or bad, is one line for a person.
pub fn ask(
    settings: &ManagementSettings,
    report: &SettingsReport,
    probe: Probe,
) -> Result<String, HealthCheckError> {
    let (url, status, body) = page(settings, report, probe.path())?;
    let healthy = status == StatusCode::OK;
    match serde_json::from_slice::<Page>(&body) {
        Ok(page) if healthy => Ok(told(&page, probe)),
        Ok(page) if status == StatusCode::SERVICE_UNAVAILABLE => {
            Err(HealthCheckError::Unhealthy(told(&page, probe)))
        }
        Ok(_) | Err(_) => Err(HealthCheckError::Stranger { url, status }),
    }
}

/// What the service that runs with these settings answers at `/status`.
pub fn ask_status<T: DeserializeOwned>(
    settings: &ManagementSettings,
    report: &SettingsReport,
) -> Result<T, HealthCheckError> {
    let (url, status, body) = page(settings, report, "/status")?;
    match serde_json::from_slice(&body) {
        Ok(page) if status == StatusCode::OK => Ok(page),
        Ok(_) | Err(_) => Err(HealthCheckError::Stranger { url, status }),
    }
}

fn page(
    settings: &ManagementSettings,
    report: &SettingsReport,
    path: &str,
) -> Result<(String, StatusCode, Vec<u8>), HealthCheckError> {
    if settings.port == 0 {
        let reason =
            "a running service can be asked only at a fixed port, and 0 takes any free one: set a port";
        return Err(HealthCheckError::NoFixedPort(report.reject("management.port", reason)));
    }
    let url = format!("http://{}:{}{path}", reachable(&settings.host), settings.port);
    match fetch(&url) {
        Ok((status, body)) => Ok((url, status, body)),
        Err(cause) => Err(HealthCheckError::NoAnswer { url, cause }),
    }
}

/// The host to ask: a service that listens on every address is asked on the loopback.
fn reachable(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => "127.0.0.1".to_owned(),
        Ok(IpAddr::V6(address)) if address.is_unspecified() => "[::1]".to_owned(),
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        Ok(IpAddr::V4(_)) | Err(_) => host.to_owned(),
    }
}

fn fetch(url: &str) -> Result<(StatusCode, Vec<u8>), ureq::Error> {
    let config = Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .max_redirects(0)
        // The environment's proxy is for the world outside, and would be asked for its own loopback.
        .proxy(None)
        .build();
    let mut answer = config.new_agent().get(url).call()?;
    let body = answer.body_mut().with_config().limit(LARGEST_PAGE).read_to_vec()?;
    Ok((answer.status(), body))
}

fn told(page: &Page, probe: Probe) -> String {
    let mut told = String::new();
    let unready: Vec<String> = page
        .components
        .iter()
        .filter(|(_, state)| !state.ready)
        .map(|(name, state)| format!("{name} ({})", state.reason.as_deref().unwrap_or("no reason given")))
        .collect();
    if probe == Probe::Live {
        told.push_str("live, ");
    }
    if unready.is_empty() {
        told.push_str("ready");
    } else {
        // Writing to a String cannot fail, here and below.
        write!(told, "not ready: {}", unready.join(", ")).ok();
    }
    for ActiveAlarm { name, subject, detail } in &page.alarms {
        let about = if subject.is_empty() { String::new() } else { format!(" for {subject}") };
        write!(told, "; alarm {name}{about}: {detail}").ok();
    }
    told.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::reachable;

    #[test]
    fn a_service_that_listens_everywhere_is_asked_on_the_loopback() {
        for (host, asked) in [
            ("0.0.0.0", "127.0.0.1"),
            ("::", "[::1]"),
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "[::1]"),
            ("10.1.2.3", "10.1.2.3"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(reachable(host), asked, "{host}");
        }
    }
}
