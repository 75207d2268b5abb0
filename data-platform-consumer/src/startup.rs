//! # Startup
//!
//! Puts the service together and runs it until it is asked to stop: the management port first, so that a taken
//! port is known before the group is joined, then the member.
//!
//! A stop ends in a bounded time, come what may, and ends well: from the moment that it is asked for, calls on their
//! way have `delivery.drain_timeout`, and whatever comes after, a commit under way, the last commit and
//! leaving the group, has `kafka.close_timeout` for all of it. Then the process ends without having left: its
//! partitions pass on when the session times out, and what was not committed is delivered again
//! (`a_stop_ends_well_and_in_time_while_no_coordinator_answers`).

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use service_chassis::alarms::Alarms;
use service_chassis::management::{self, ManagementError, ManagementServer, Readiness, StatusPage};
use service_chassis::metrics::Metrics;
use tokio::runtime::Handle;

use crate::consumer_group::{self, GroupMember, JoinError, PollThreadEnded, RefusedByClient};
use crate::health::{COMPONENTS, Health};
use crate::settings::Settings;
use crate::sink::{self, Sink, SinkRefused};

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The management port.
    #[error(transparent)]
    Management(#[from] ManagementError),
    /// The member of the group.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The sink.
    #[error(transparent)]
    Sink(#[from] SinkRefused),
}

impl StartError {
    /// What librdkafka has against the settings, if that is why.
    pub fn refused_by_the_client(&self) -> Option<&RefusedByClient> {
        match self {
            Self::Join(JoinError::Client(refused)) => Some(refused),
            Self::Join(JoinError::Thread(_)) | Self::Management(_) | Self::Sink(_) => None,
        }
    }
}

/// Why the service ended otherwise than by a clean stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The poll thread broke down.
    #[error(transparent)]
    PollThread(#[from] PollThreadEnded),
    /// The management port broke down.
    #[error("the management port has ended by itself")]
    Management(#[source] io::Error),
}

/// The service, bound and about to join its group.
pub struct Service {
    management: ManagementServer,
    member: GroupMember,
    time_to_stop: Duration,
}

impl Service {
    /// With the sink that the settings name. Needs a tokio runtime.
    pub fn start(settings: &Settings) -> Result<Self, StartError> {
        Self::start_with(settings, sink::build(&settings.sink)?)
    }

    /// With a sink of the caller's.
    pub fn start_with(settings: &Settings, sink: Arc<dyn Sink>) -> Result<Self, StartError> {
        let alarms = Alarms::new();
        let readiness = Readiness::new(&COMPONENTS);
        let health = Health::new(&settings.kafka.topic, readiness.clone(), alarms.clone());
        let mut metrics = Metrics::of(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        health.register_metrics(metrics.own());
        let shown = health.clone();
        let status: StatusPage = Box::new(move || serde_json::json!(shown.status()));
        let management =
            management::bind_with_status(&settings.management, readiness, alarms, metrics, Some(status))?;
        tracing::info!("listening management={}", management.address());
        let Settings { kafka, delivery, .. } = settings;
        let member = consumer_group::join(kafka.clone(), delivery, sink, health, Handle::current())?;
        let time_to_stop = delivery.drain_timeout.saturating_add(kafka.close_timeout);
        Ok(Self { management, member, time_to_stop })
    }

    /// Where the probes are.
    pub fn management_address(&self) -> SocketAddr {
        self.management.address()
    }

    /// Runs until `stop` is ready, then finishes.
    pub async fn run_until_stopped(self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        let Self { management, mut member, time_to_stop } = self;
        let probes = management.handle();
        // A task of its own: nobody else would drive it while it is stopped, and stopping would never end.
        let mut answering = tokio::spawn(management.run());
        tokio::pin!(stop);
        tokio::select! {
            () = &mut stop => {}
            ended = member.left() => return Err(ended.err().unwrap_or(PollThreadEnded).into()),
            ended = &mut answering => {
                let ended = ended.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
                let cause = ended.err().unwrap_or_else(|| io::Error::other("it was stopped"));
                return Err(RunError::Management(cause));
            }
        }
        member.stop();
        let left = tokio::select! {
            left = tokio::time::timeout(time_to_stop, member.left()) => left,
            // Without probes the member still leaves.
            _ = &mut answering => tokio::time::timeout(time_to_stop, member.left()).await,
        };
        if let Ok(left) = left {
            left?;
        } else {
            tracing::warn!(
                "the group was not left within {time_to_stop:?}; what was not committed is delivered again"
            );
        }
        probes.stop(true).await;
        Ok(())
    }
}
