//! # Management port
//!
//! A port of its own for probes and metrics, beside the one that buyers use, so that a flood of orders cannot make an
//! orchestrator believe that the service died. One worker is plenty.
//!
//! `GET /health/live` answers 200 as long as the process can answer at all; `GET /health/ready` answers 200 or
//! 503. Both show the same JSON: every component with its reason, and the active alarms. `GET /metrics` is for
//! Prometheus ([`crate::metrics`]), and `GET /status`, where a service has it, for a person who looks into its work.
//! Nothing may cache them. Anything else is a problem of RFC 9457.

mod pages;
mod readiness;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::{App, HttpServer, web};
use serde::Deserialize;

use crate::alarms::Alarms;
use crate::listening::ListenError;
use crate::metrics::Metrics;

pub use readiness::{ComponentState, Readiness};

/// Orchestrators poll every few seconds with one connection each: more than this is a mistake or an attack.
const MOST_CONNECTIONS: usize = 256;
/// A probe sends its head at once. Whoever does not must not keep a place from those who do.
const HEAD_TIMEOUT: Duration = Duration::from_secs(1);
const SECONDS_TO_STOP: u64 = 1;

/// The settings of a service's section `[management]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagementSettings {
    /// The address to listen on.
    pub host: String,
    /// The port to listen on; 0 takes any free one.
    pub port: u16,
}

/// Why the management port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ManagementError {
    /// The settings' host and port cannot be listened on.
    #[error("cannot open the management port")]
    Listen(#[source] ListenError),
    /// The system does not say which port it gave.
    #[error("the management port is bound to no address")]
    NoAddress,
}

/// A management port that is bound, and answers once it runs.
#[must_use = "it answers nothing until it runs"]
pub struct ManagementServer {
    address: SocketAddr,
    server: Server,
}

/// What `GET /status` answers: the service's own view of its work, as JSON.
pub type StatusPage = Box<dyn Fn() -> serde_json::Value + Send + Sync>;

/// Binds the management port. Needs a tokio runtime, which runs the server. What is measured must be registered
/// already.
pub fn bind(
    settings: &ManagementSettings,
    readiness: Readiness,
    alarms: Alarms,
    metrics: Metrics,
) -> Result<ManagementServer, ManagementError> {
    bind_with_status(settings, readiness, alarms, metrics, None)
}

/// The same, with the page `/status` of a service that has one.
pub fn bind_with_status(
    settings: &ManagementSettings,
    readiness: Readiness,
    alarms: Alarms,
    mut metrics: Metrics,
    status: Option<StatusPage>,
) -> Result<ManagementServer, ManagementError> {
    metrics.show(readiness.clone(), alarms.clone());
    let shown = web::Data::new(pages::Shown { readiness, alarms, metrics, status });
    let server = HttpServer::new(move || App::new().app_data(shown.clone()).configure(pages::routes))
        .workers(1)
        .worker_max_blocking_threads(1)
        .max_connections(MOST_CONNECTIONS)
        .client_request_timeout(HEAD_TIMEOUT)
        // The service decides when it stops; the probes go on answering while it finishes.
        .disable_signals()
        .shutdown_timeout(SECONDS_TO_STOP)
        .bind((settings.host.as_str(), settings.port))
        .map_err(|cause| {
            let refusal = ListenError::new("management", &settings.host, settings.port, cause);
            ManagementError::Listen(refusal)
        })?;
    let address = server.addrs().first().copied().ok_or(ManagementError::NoAddress)?;
    Ok(ManagementServer { address, server: server.run() })
}

impl ManagementServer {
    /// Where it listens, with the port that the system gave where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it from elsewhere, once it runs.
    pub fn handle(&self) -> ServerHandle {
        self.server.handle()
    }

    /// Answers until it is stopped through its handle.
    pub async fn run(self) -> io::Result<()> {
        self.server.await
    }
}
