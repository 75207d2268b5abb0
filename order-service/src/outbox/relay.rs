//! # Relay
//!
//! The only publisher. It reads pending rows, sends at most one event per key, takes Kafka's
//! acknowledgements and deletes exactly the rows that were acknowledged.
//!
//! *First deliveries of a key are in the order of their commits* by two rules: the next event of a key is sent
//! only after the previous one was acknowledged and its row deleted ([`super::in_flight`]), and a row that could not be sent
//! holds back the later rows of its key; a row is deleted only by its exact seq
//! and only after its acknowledgement. Nothing else is remembered: whatever happens to this process, the rows
//! that are still there are what must still be published. The price is a repeat, never a loss.
//!
//! **A backlog** is published as fast as database and producer go: as long as reads come back full, the next read (with
//! the delete of what was acknowledged, one round trip) is on the wire before what was read is handed to the producer, and
//! acknowledgements are taken when they come ([`RelaySettings::max_in_flight`] bounds what is awaited); beside orders at a
//! [`super::pace`]. Without a backlog, a cycle waits for its acknowledgements, so that what is committed meanwhile gathers to one read and one delete.
//!
//! An event that is not acknowledged within [`RelaySettings::straggler_after`], while nothing else of its partition is either,
//! stays on its way and holds up only its own partition (`a_leaderless_partition_holds_up_only_its_own_keys`); but the cycle that sent it waits that long, so what is committed meanwhile is late by up to
//! as much. One that is refused waits and is tried again ([`super::failed_rows`]), and its key waits with it.
//!
//! While a partition has such a straggler, nothing more is handed to the producer for it: rows that are its next are kept
//! here, as far as they count as in flight. librdkafka's threads would spin over messages that wait behind those in
//! flight (its idempotent producer sends no more than five ahead), and take the processors from the buyers of a shop
//! whose Kafka hangs (`post_p99_broker_frozen` of the benchmark).
//!
//! One instance per database publishes, named by a lease ([`super::lease`], [`leading`]); the others stand by. Reads begin at
//! the [`super::scan_floor`].

mod cycle;
mod deliveries;
mod ending;
mod leading;
mod producer_life;
mod quarantining;
mod sending;

use self::leading::Turn;
use self::producer_life::Replacements;
use self::quarantining::Held;
pub use self::quarantining::OUTBOX_QUARANTINED;
use super::failed_rows::FailedRows;
use super::in_flight::{Bound, InFlight, PublishedRow};
use super::lease::Lease;
use super::pace::Pace;
use super::parked_rows::ParkedRows;
use super::relay_metrics::RelayMetrics;
use super::scan_floor::ScanFloor;
use super::wake_up::WakeUp;
use crate::kafka::event_publisher::{Delivery, EventPublisher, PublisherError};
use crate::kafka::topic_partitions::TopicPartitions;
use crate::settings::{KafkaSettings, RelaySettings};
use crate::storage::Session;
use crate::storage::database::{Database, ReconnectPauses, reconnect_pauses};
use crate::storage::error::DatabaseError;
use crate::storage::relay_lease::Claim;
use service_chassis::alarms::Alarms;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Raised while events are refused or fail, cleared when the last of them was acknowledged.
pub const PUBLISHING_FAILS: &str = "publishing-fails";
/// Raised while as many events as are allowed wait for their acknowledgement.
pub const IN_FLIGHT_FULL: &str = "relay-in-flight-full";
/// Raised while the database refuses the relay's statements, cleared by the next that works.
pub const OUTBOX_REFUSED: &str = "outbox-refused";

/// What the relay shares with others.
#[derive(Clone, Debug, Default)]
pub struct RelayParts {
    /// Given by every commit of this process.
    pub wake_up: WakeUp,
    /// Where it raises its own.
    pub alarms: Alarms,
    /// How many partitions the topic has.
    pub partitions: TopicPartitions,
    /// What it shows.
    pub metrics: RelayMetrics,
}

/// What the relay works with.
pub struct Relay {
    database: Database,
    kafka: KafkaSettings,
    settings: RelaySettings,
    wake_up: WakeUp,
    alarms: Alarms,
    metrics: RelayMetrics,
    claim: Claim,
    lease: Lease,
    floor: ScanFloor,
    /// How often rows have come back from below the floor, when that was last asked.
    rescans: Option<i64>,
    next_look_at_floor: Instant,
    deleted_since_look: usize,
    turn: Turn,
    held: Held,
    publisher: Arc<EventPublisher>,
    deliveries: UnboundedReceiver<Delivery>,
    partitions: TopicPartitions,
    in_flight: InFlight,
    /// In flight as to their keys and the bounds, but not handed to the producer: the next read goes off first, or their
    /// partition has a straggler.
    parked: ParkedRows,
    /// Set by a read that found only rows to park, until something is acknowledged.
    read_again_at: Option<Instant>,
    /// When the last read began at the floor, and whether anything was handed over since.
    pass_began: Option<Instant>,
    pass_was_useful: bool,
    /// How many partitions the topic was taken to have in the last cycle.
    partitions_before: u32,
    /// Refused when they were handed over, since the last read went off: it does not know of them.
    refused_meanwhile: Vec<(i64, String)>,
    /// When an event of a partition was last acknowledged.
    progress: HashMap<u32, Instant>,
    failed: FailedRows,
    pace: Pace,
    replacements: Replacements,
    /// Acknowledged, but not deleted yet; they count as in flight until they are.
    acknowledged: Vec<PublishedRow>,
    /// The same, but another session had their rows locked when they were to be deleted.
    locked: Vec<PublishedRow>,
    /// When those are tried again.
    try_locked_at: Instant,
}

impl Relay {
    /// # Errors
    /// [`PublisherError`].
    pub fn new(
        database: Database,
        kafka: KafkaSettings,
        settings: RelaySettings,
        RelayParts { wake_up, alarms, partitions, metrics }: RelayParts,
    ) -> Result<Self, PublisherError> {
        let (sender, deliveries) = unbounded_channel();
        let publisher = Arc::new(EventPublisher::new(&kafka, sender, metrics.producer.clone())?);
        let bound = Bound { events: settings.max_in_flight, bytes: settings.max_in_flight_bytes };
        let in_flight = InFlight::new(bound);
        let claim = leading::claim(settings.lease);
        let pace = Pace::new(settings.backlog_rate.events_per_second());
        Ok(Self {
            database,
            kafka,
            settings,
            wake_up,
            alarms,
            metrics,
            lease: Lease::new(claim.ttl),
            claim,
            floor: ScanFloor::default(),
            rescans: None,
            next_look_at_floor: Instant::now(),
            deleted_since_look: 0,
            turn: Turn::default(),
            held: Held::default(),
            publisher,
            deliveries,
            partitions,
            in_flight,
            parked: ParkedRows::default(),
            read_again_at: None,
            pass_began: None,
            pass_was_useful: false,
            partitions_before: 1,
            refused_meanwhile: Vec::new(),
            progress: HashMap::new(),
            failed: FailedRows::default(),
            pace,
            replacements: Replacements::default(),
            acknowledged: Vec::new(),
            locked: Vec::new(),
            try_locked_at: Instant::now(),
        })
    }

    /// Publishes until `stop`, whenever it is this instance's turn, then flushes: what is acknowledged in time is
    /// deleted, the rest stays in the table.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pauses = reconnect_pauses();
        while !stop.is_cancelled() {
            let Err(error) = self.publish_until(&stop, &mut pauses).await else { break };
            if let DatabaseError::Refused(cause)
            | DatabaseError::Busy(cause)
            | DatabaseError::Cancelled(cause) = &error
            {
                self.alarms.raise(OUTBOX_REFUSED, "", cause);
            }
            self.metrics.leads.set(0);
            let pause = pauses.next().unwrap_or(Duration::from_secs(5));
            warn!("the relay cannot read the outbox and tries again in {pause:?}: {error}");
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
        self.finish().await;
    }

    /// A database that does not answer must not hold up the stop: then the cycle is left where it is.
    async fn publish_until(
        &mut self,
        stop: &CancellationToken,
        pauses: &mut ReconnectPauses,
    ) -> Result<(), DatabaseError> {
        let session = self.database.relay_session().await?;
        self.begin_with_new_session();
        let flush_timeout = self.settings.flush_timeout;
        let given_up = async {
            stop.cancelled().await;
            sleep(flush_timeout).await;
        };
        tokio::select! {
            ended = self.publish(&session, stop, pauses) => ended,
            () = given_up => Ok(()),
        }
    }

    async fn publish(
        &mut self,
        session: &Session,
        stop: &CancellationToken,
        pauses: &mut ReconnectPauses,
    ) -> Result<(), DatabaseError> {
        while !stop.is_cancelled() {
            if !self.leads(session).await? {
                *pauses = reconnect_pauses();
                self.stand_by(session, stop).await?;
                self.alarms.clear(OUTBOX_REFUSED, "");
                continue;
            }
            self.move_to_quarantine(session).await?;
            self.look_at_floor_if_due(session).await?;
            let is_idle = self.cycle(session).await?;
            *pauses = reconnect_pauses();
            self.alarms.clear(OUTBOX_REFUSED, "");
            self.replace_publisher_if_it_failed().await;
            if is_idle {
                self.rest(stop).await;
            }
        }
        Ok(())
    }

    /// Until something may have changed: a commit here, an acknowledgement, a commit elsewhere. While rows are parked, or reads are
    /// futile, a commit is no reason to read at once.
    async fn rest(&mut self, stop: &CancellationToken) {
        let now = Instant::now();
        let poll_at = now + self.settings.poll_interval;
        let until = self.lease.renew_at().map_or(poll_at, |renew_at| poll_at.min(renew_at));
        let read_again_at = self.read_again_at.filter(|at| *at > now);
        let until = read_again_at.map_or(until, |at| until.min(at));
        tokio::select! {
            () = sleep_until(until.into()) => {}
            () = self.wake_up.woken(), if self.parked.is_empty() && read_again_at.is_none() => {}
            Some(delivery) = self.deliveries.recv() => self.take(delivery),
            () = stop.cancelled() => {}
        }
    }
}
