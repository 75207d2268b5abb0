//! # Startup
//!
//! Puts the service together and takes it apart: [`Service::build`] binds its ports and starts the relay, then
//! [`Service::run_until_stopped`] serves until the stop signal.
//!
//! The database may come later than the service: it waits, visibly. The end is in the data's order: no new
//! requests, running ones finish, their transactions commit, the relay flushes.

use crate::checkout::{Checkout, CheckoutParts};
use crate::http;
use crate::http::metrics::HttpMetrics;
use crate::kafka::event_publisher::PublisherError;
use crate::kafka::topic_partitions::TopicPartitions;
use crate::kafka::watch::KafkaWatch;
use crate::outbox::backlog::{Backlog, BacklogAlarms};
use crate::outbox::delay_alarm::DelayAlarm;
use crate::outbox::relay::{Relay, RelayParts};
use crate::outbox::relay_metrics::RelayMetrics;
use crate::outbox::size_alarm::SizeAlarm;
use crate::outbox::wake_up::WakeUp;
use crate::settings::{DatabaseSettings, HttpSettings, Settings};
use crate::storage::database::Database;
use crate::storage::error::DatabaseError;
use crate::storage::migrations::{self, MigrationError};
use actix_web::dev::Server;
use service_chassis::alarms::Alarms;
use service_chassis::listening::ListenError;
use service_chassis::management::{self, ManagementError, Readiness};
use service_chassis::metrics::Metrics;
use service_chassis::stop::StopSignals;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

const DATABASE: &str = "database";
const DATABASE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Why the service cannot start, or had to give up.
#[derive(Debug, Error)]
pub enum StartupError {
    /// The buyers' port.
    #[error("the http port cannot be opened")]
    Http(#[source] ListenError),
    /// The probes' port.
    #[error("the management port cannot be opened")]
    Management(#[source] ManagementError),
    /// The schema is not this program's.
    #[error("the database's schema does not fit")]
    Schema(#[source] MigrationError),
    /// The database settings cannot work.
    #[error("the database settings cannot work")]
    Database(#[source] DatabaseError),
    /// The Kafka settings cannot work.
    #[error("the kafka settings cannot work")]
    Kafka(#[source] PublisherError),
    /// The relay ended while it should publish; what it had not published stays in the outbox.
    #[error("the relay has ended by itself; start the service again")]
    Relay,
    /// The management port ended.
    #[error("the management port has ended by itself; start the service again")]
    ManagementEnded,
    /// A server failed while it ran, or signals cannot be had.
    #[error("the system refused")]
    System(#[source] io::Error),
}

/// A service that is bound and ready to serve.
pub struct Service {
    database: Database,
    checkout: Checkout,
    server: Server,
    http_address: SocketAddr,
    management_address: SocketAddr,
    relay: Option<JoinHandle<()>>,
    watches: Vec<JoinHandle<()>>,
    management: JoinHandle<io::Result<()>>,
    management_handle: actix_web::dev::ServerHandle,
    stop_relay: CancellationToken,
    settle_timeout: Duration,
}

/// Builds the service and serves until SIGTERM or Ctrl-C.
///
/// # Errors
/// [`StartupError`].
pub async fn serve(settings: Settings) -> Result<(), StartupError> {
    let mut signals = StopSignals::listen().map_err(StartupError::System)?;
    let service = tokio::select! {
        built = Service::build(settings) => built?,
        signal = signals.received() => {
            info!("{signal} before the service was ready: stopped");
            return Ok(());
        }
    };
    service
        .run_until_stopped(async {
            let signal = signals.received().await;
            info!("{signal}: no new requests, what runs is finished");
        })
        .await
}

impl Service {
    /// Binds both ports, waits for the database and starts the relay.
    ///
    /// # Errors
    /// [`StartupError`].
    pub async fn build(settings: Settings) -> Result<Self, StartupError> {
        let (alarms, readiness) = (Alarms::new(), Readiness::new(&[DATABASE]));
        let database = Database::new(&settings.database).map_err(StartupError::Database)?;
        let wake_up = WakeUp::default();
        let checkout = Checkout::open(CheckoutParts {
            database: database.clone(),
            wake_up: wake_up.clone(),
            topic: settings.kafka.topic.as_str().into(),
            answer_timeout: settings.orders.answer_timeout,
            desk: settings.desk.limits(),
        });
        let relay_settings = &settings.relay;
        let backlog = Backlog::new(relay_settings.enabled.then(|| BacklogAlarms {
            delay: DelayAlarm::new(alarms.clone(), relay_settings.alarm_after),
            size: SizeAlarm::new(alarms.clone(), relay_settings.alarm_above_bytes),
        }));
        let relay_metrics = RelayMetrics::default();
        let mut metrics = Metrics::of(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        let http_metrics = HttpMetrics::registered_with(&mut metrics);
        checkout.register_metrics(metrics.own());
        database.register_metrics(&mut metrics);
        backlog.register_metrics(metrics.own());
        relay_metrics.register(metrics.own());

        let management = management::bind(&settings.management, readiness.clone(), alarms.clone(), metrics)
            .map_err(StartupError::Management)?;
        let (management_address, management_handle) = (management.address(), management.handle());
        let management = tokio::spawn(management.run());
        // Before the wait for the database, so that a taken port is known at once; it answers when it runs.
        let (server, http_address) = bind_http(&settings, &database, checkout.clone(), http_metrics)?;
        await_schema(&database, &settings.database, &readiness).await?;
        let stop_relay = CancellationToken::new();
        let mut watches = vec![tokio::spawn(watch_database(database.clone(), readiness, backlog))];
        let partitions = TopicPartitions::default();
        watches.extend(start_kafka_watch(&settings, alarms.clone(), partitions.clone(), stop_relay.clone())?);
        let relay = RelayParts { wake_up, alarms, partitions, metrics: relay_metrics };
        let relay = start_relay(&settings, &database, relay, stop_relay.clone())?;
        info!("listening http={http_address} management={management_address}");
        Ok(Self {
            database,
            checkout,
            server,
            http_address,
            management_address,
            relay,
            watches,
            management,
            management_handle,
            stop_relay,
            settle_timeout: settings.http.shutdown_timeout,
        })
    }

    /// Where buyers reach it.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Where probes reach it.
    pub fn management_address(&self) -> SocketAddr {
        self.management_address
    }

    /// Serves until `stop` ends, then finishes what runs.
    ///
    /// # Errors
    /// [`StartupError::System`] when the server fails.
    pub async fn run_until_stopped(self, stop: impl Future<Output = ()>) -> Result<(), StartupError> {
        let Self { mut relay, mut management, .. } = self;
        let handle = self.server.handle();
        let mut server = tokio::spawn(self.server);
        let ended = tokio::select! {
            () = stop => Ok(()),
            ended = &mut server => ended.map_err(io::Error::other).and_then(|ended| ended).map_err(StartupError::System),
            () = ended(&mut relay) => Err(StartupError::Relay),
            _ = &mut management => Err(StartupError::ManagementEnded),
        };
        handle.stop(true).await;
        // An order whose buyer hung up has no request any more, but still its COMMIT.
        let settled = async {
            let running = self.database.running_transactions();
            if running > 0 {
                info!("{running} transactions still run and are finished");
            }
            self.checkout.close().await;
            self.database.settled().await;
        };
        if timeout(self.settle_timeout, settled).await.is_err() {
            warn!("transactions still run after {:?}; they end with their connections", self.settle_timeout);
        }
        self.stop_relay.cancel();
        if let Some(relay) = relay.take_if(|relay| !relay.is_finished()) {
            drop(relay.await);
        }
        self.watches.iter().for_each(JoinHandle::abort);
        self.management_handle.stop(true).await;
        info!("stopped");
        ended
    }
}

/// When the relay has ended, which it must not by itself; never, when it runs elsewhere.
async fn ended(relay: &mut Option<JoinHandle<()>>) {
    match relay {
        Some(relay) => drop(relay.await),
        None => std::future::pending().await,
    }
}

fn bind_http(
    settings: &Settings,
    database: &Database,
    checkout: Checkout,
    metrics: HttpMetrics,
) -> Result<(Server, SocketAddr), StartupError> {
    let HttpSettings { host, port, .. } = &settings.http;
    let for_requests = database.leaving(settings.desk.limits().sessions());
    let refused = |cause| StartupError::Http(ListenError::new("http", host, *port, cause));
    http::bind(&settings.http, settings.orders.limits(), for_requests, checkout, metrics).map_err(refused)
}

fn start_relay(
    settings: &Settings,
    database: &Database,
    parts: RelayParts,
    stop: CancellationToken,
) -> Result<Option<JoinHandle<()>>, StartupError> {
    if !settings.relay.enabled {
        info!("this instance does not relay (relay.enabled); another one must publish the outbox");
        return Ok(None);
    }
    let (kafka, relay) = (settings.kafka.clone(), settings.relay.clone());
    let relay = Relay::new(database.clone(), kafka, relay, parts).map_err(StartupError::Kafka)?;
    Ok(Some(tokio::spawn(relay.run(stop))))
}

/// An instance that does not relay needs no Kafka, and so does not complain of it.
fn start_kafka_watch(
    settings: &Settings,
    alarms: Alarms,
    partitions: TopicPartitions,
    stop: CancellationToken,
) -> Result<Option<JoinHandle<()>>, StartupError> {
    if !settings.relay.enabled {
        return Ok(None);
    }
    let watch = KafkaWatch::new(&settings.kafka, &settings.topics, alarms, partitions)
        .map_err(StartupError::Kafka)?;
    Ok(Some(tokio::spawn(watch.run(stop))))
}

/// Waits until the database answers and is migrated; a newer one is no use waiting for.
async fn await_schema(
    database: &Database,
    settings: &DatabaseSettings,
    readiness: &Readiness,
) -> Result<(), StartupError> {
    let mut pauses = crate::storage::database::reconnect_pauses();
    let since = Instant::now();
    loop {
        match migrations::check(database).await {
            Ok(()) => {
                readiness.set_ready(DATABASE);
                return Ok(());
            }
            // Neither a database that comes later nor a migration that runs later is a reason to end.
            Err(error @ (MigrationError::Database(_) | MigrationError::Behind(_))) => {
                let pause = pauses.next().unwrap_or(settings.acquire_timeout);
                warn!(
                    "waiting for the database at {}, {} s so far: {error}",
                    settings.url,
                    since.elapsed().as_secs()
                );
                readiness.set_unready(DATABASE, error.to_string());
                sleep(pause).await;
            }
            Err(error @ (MigrationError::Failed(_) | MigrationError::Ahead(_))) => {
                return Err(StartupError::Schema(error));
            }
        }
    }
}

async fn watch_database(database: Database, readiness: Readiness, mut backlog: Backlog) {
    let mut ticks = interval(DATABASE_CHECK_INTERVAL);
    // A look that took long is not made up for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut session = None;
    loop {
        ticks.tick().await;
        match database.ping(&mut session).await {
            Ok(()) => readiness.set_ready(DATABASE),
            Err(error) => readiness.set_unready(DATABASE, error.to_string()),
        }
        let Some(own) = &mut session else {
            backlog.is_unknown();
            continue;
        };
        if let Err(error) = database.within_limit(backlog.look(own)).await {
            debug!("the backlog cannot be looked at: {error}");
            backlog.is_unknown();
            session = None;
        }
    }
}
