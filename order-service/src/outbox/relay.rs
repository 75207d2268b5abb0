//! # Relay
//!
//! The only publisher. In a cycle it reads pending rows, sends at most one event per key, waits for Kafka's
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
//! acknowledgements are taken when they come ([`RelaySettings::max_in_flight`] bounds what is awaited). Without a
//! backlog, a cycle waits for its acknowledgements, so that what is committed meanwhile gathers to one read and one delete.
//!
//! An event that is not acknowledged within [`RelaySettings::straggler_after`] stays on its way and holds up
//! only its own partition (`a_leaderless_partition_holds_up_only_its_own_keys`); but the cycle that sent it waits that long, so what is committed meanwhile is late by up to
//! as much. One that is refused waits and is tried again ([`super::failed_rows`]), and its key waits with it.
//!
//! While a partition has such a straggler, nothing more is handed to the producer for it: rows that are its next are kept
//! here, as far as they count as in flight. librdkafka's threads would spin over messages that wait behind those in
//! flight (its idempotent producer sends no more than five ahead), and take the processors from the buyers of a shop
//! whose Kafka hangs (`post_p99_broker_frozen` of the benchmark).
//!
//! One instance per database publishes, named by a lease ([`super::lease`], [`leading`]); the others stand by. Reads begin at
//! the [`super::scan_floor`].

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
use super::in_flight::{Bound, InFlight};
use super::lease::Lease;
use super::pace::Pace;
use super::parked_rows::ParkedRows;
use super::relay_metrics::RelayMetrics;
use super::scan_floor::ScanFloor;
use super::wake_up::WakeUp;
use crate::kafka::event_publisher::{
    Delivery, EventPublisher, PublisherError, refused_for_good, told_with_cure,
};
use crate::kafka::topic_partitions::TopicPartitions;
use crate::outbox::message::PendingMessage;
use crate::settings::{KafkaSettings, RelaySettings};
use crate::storage::Session;
use crate::storage::database::{Database, ReconnectPauses, reconnect_pauses};
use crate::storage::error::DatabaseError;
use crate::storage::outbox::{self, BatchLimit, Unread};
use crate::storage::relay_lease::Claim;
use service_chassis::alarms::Alarms;
use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
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

/// Reads that find nothing to hand over take at most one part in so many of the time: while Kafka hangs, the database
/// is the buyers'.
const SHARE_OF_FUTILE_READS: u32 = 10;
/// What a read takes while a partition has a straggler: one part in so many of what it else may.
const SHARE_BESIDE_STRAGGLERS: i64 = 10;

/// How many deliveries are taken at a time.
const MOST_DELIVERIES: usize = 1000;

/// What a cycle waits for.
enum Awaited {
    /// The deliveries of these rows. What an earlier cycle left behind is not waited for.
    These(HashSet<i64>),
    /// Room for more.
    Room,
}

impl Awaited {
    fn came(&mut self, seq: i64) {
        if let Self::These(seqs) = self {
            seqs.remove(&seq);
        }
    }

    fn is_there(&self, in_flight: &InFlight) -> bool {
        match self {
            Self::These(seqs) => seqs.is_empty(),
            Self::Room => in_flight.is_half_empty(),
        }
    }
}

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
    /// In flight as to their keys and the bounds, but not handed to the producer: their partition has a straggler.
    parked: ParkedRows,
    /// Set by a read that found only rows to park, until something is acknowledged.
    read_again_at: Option<Instant>,
    failed: FailedRows,
    pace: Pace,
    replacements: Replacements,
    /// Acknowledged, but not deleted yet; they count as in flight until they are.
    acknowledged: Vec<i64>,
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
        let publisher = Arc::new(EventPublisher::new(&kafka, sender)?);
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
            failed: FailedRows::default(),
            pace,
            replacements: Replacements::default(),
            acknowledged: Vec::new(),
        })
    }

    /// Publishes until `stop`, whenever it is this instance's turn, then flushes: what is acknowledged in time is
    /// deleted, the rest stays in the table.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pauses = reconnect_pauses();
        while !stop.is_cancelled() {
            let Err(error) = self.publish_until(&stop, &mut pauses).await else { break };
            if let DatabaseError::Refused(cause) = &error {
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
            } else if let Some(next_read) = self.pace.next_read() {
                tokio::select! {
                    () = sleep_until(next_read.into()) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
        Ok(())
    }

    /// Deletes what was acknowledged, reads, sends, and waits; whether there was nothing to do.
    ///
    /// What was acknowledged counts as in flight until its row is gone, so a key's next event is not sent before that: its
    /// row would else be read, and sent, a second time.
    async fn cycle(&mut self, session: &Session) -> Result<bool, DatabaseError> {
        self.take_deliveries();
        let began = Instant::now();
        let busy = self.busy_partitions(began);
        if self.in_flight.is_full() || self.read_again_at.is_some_and(|at| began < at) {
            return self.cycle_without_read(session, &busy).await;
        }
        let limit = self.read_limit(&busy);
        let (pending, mut sent) = self.read_and_send_parked(session, &busy, limit).await?;
        let deleted = self.forget_acknowledged();
        let lanes = self.lanes(&sent);
        self.pace.has_read(pending.first().map(|row| row.seq), pending.len(), began);
        let is_full = limit.is_reached_by(&pending);
        let (read, admitted) = (pending.len(), self.admit_all(pending, &busy, lanes, !is_full));
        // Read on without waiting for acknowledgements, as long as most of what a full read has brought can be taken on.
        if is_full && admitted * 2 >= read && busy.is_empty() && !self.suspects() {
            // What was taken on is handed over behind the next read, if there is room for one.
            if !self.in_flight.is_half_empty() {
                self.send_parked(&busy);
                self.report_fullness();
                self.await_until(session, Awaited::Room).await?;
            }
            self.report_fullness();
            return Ok(false);
        }
        let handed = self.send_parked(&busy);
        let was_futile = admitted > 0 && handed.is_empty();
        self.read_again_at = was_futile.then(|| Instant::now() + began.elapsed() * SHARE_OF_FUTILE_READS);
        sent.extend(handed);
        self.report_fullness();
        if deleted == 0 && sent.is_empty() {
            return Ok(true);
        }
        self.await_until(session, Awaited::These(sent)).await?;
        self.report_fullness();
        Ok(false)
    }

    async fn cycle_without_read(
        &mut self,
        session: &Session,
        busy: &HashSet<u32>,
    ) -> Result<bool, DatabaseError> {
        let sent = self.send_parked(busy);
        let deleted = self.delete_acknowledged(session).await?;
        self.report_fullness();
        if deleted == 0 && sent.is_empty() {
            return Ok(true);
        }
        self.await_until(session, Awaited::These(sent)).await?;
        self.report_fullness();
        Ok(false)
    }

    /// The delete and the read are one round trip, and on the wire before the rows at hand go to the producer: database and
    /// producer work at the same time.
    async fn read_and_send_parked(
        &mut self,
        session: &Session,
        busy: &HashSet<u32>,
        limit: BatchLimit,
    ) -> Result<(Vec<PendingMessage>, HashSet<i64>), DatabaseError> {
        let above = self.floor.get();
        let in_flight = self.in_flight.seqs_above(above);
        let acknowledged = self.acknowledged.clone();
        let deleted = outbox::delete(session, &acknowledged);
        let read = outbox::pending(session, Unread { above, but: &in_flight }, limit);
        let database = self.database.clone();
        let mut round_trip = pin!(database.within_limit(async { tokio::try_join!(deleted, read) }));
        let at_once = futures_util::poll!(&mut round_trip);
        let sent = self.send_parked(busy);
        let ((), pending) = match at_once {
            Poll::Ready(answer) => answer?,
            Poll::Pending => round_trip.await?,
        };
        Ok((pending, sent))
    }

    /// Little while somebody hangs: most of it may be for him. Not more than can be taken on.
    fn read_limit(&self, busy: &HashSet<u32>) -> BatchLimit {
        let share = if busy.is_empty() { 1 } else { SHARE_BESIDE_STRAGGLERS };
        let room = i64::try_from(self.in_flight.room()).unwrap_or(i64::MAX);
        BatchLimit {
            rows: (self.pace.rows(self.settings.batch_rows) / share).min(room).max(1),
            bytes: self.settings.batch_bytes,
        }
    }

    /// When the delete fails the rows stay remembered for the next session; when the process dies, they are repeated.
    async fn delete_acknowledged(&mut self, session: &Session) -> Result<usize, DatabaseError> {
        self.database.within_limit(outbox::delete(session, &self.acknowledged)).await?;
        Ok(self.forget_acknowledged())
    }

    /// Their rows are gone.
    fn forget_acknowledged(&mut self) -> usize {
        for seq in &self.acknowledged {
            self.in_flight.finish(*seq);
        }
        let deleted = std::mem::take(&mut self.acknowledged).len();
        self.deleted_since_look += deleted;
        deleted
    }

    /// Collects deliveries until what is awaited has come, or nothing came for a while. The lease is renewed meanwhile.
    async fn await_until(&mut self, session: &Session, mut awaited: Awaited) -> Result<(), DatabaseError> {
        let mut patience = Instant::now() + self.settings.straggler_after;
        let mut deliveries = Vec::with_capacity(MOST_DELIVERIES);
        while !awaited.is_there(&self.in_flight) {
            let renew_at = self.lease.renew_at().unwrap_or(patience);
            tokio::select! {
                biased;
                _ = self.deliveries.recv_many(&mut deliveries, MOST_DELIVERIES) => {
                    for delivery in deliveries.drain(..) {
                        awaited.came(delivery.seq);
                        self.take(delivery);
                    }
                    patience = Instant::now() + self.settings.straggler_after;
                }
                () = sleep_until(patience.into()) => return Ok(()),
                () = sleep_until(renew_at.into()) => if !self.leads(session).await? { return Ok(()) },
            }
        }
        Ok(())
    }

    fn take_deliveries(&mut self) {
        while let Ok(delivery) = self.deliveries.try_recv() {
            self.take(delivery);
        }
    }

    fn take(&mut self, Delivery { seq, result }: Delivery) {
        match result {
            Ok(()) => {
                self.acknowledged.push(seq);
                self.in_flight.acknowledged(seq);
                self.metrics.published.inc();
                self.replacements.succeeded();
                self.is_beyond_suspicion(seq);
                self.read_again_at = None;
                self.failed.acknowledged(seq);
                self.clear_failure_if_over();
            }
            Err(error) => {
                let key = self.in_flight.key_of(seq).map(str::to_owned);
                self.in_flight.finish(seq);
                self.floor.is_below(seq);
                if let (Some(key), Some(cause)) = (key, refused_for_good(&error)) {
                    if self.was_refused_alone(seq) {
                        self.quarantine(seq, &key, cause);
                        return;
                    }
                } else {
                    self.is_not_alone_any_more(seq);
                }
                self.fail(
                    seq,
                    &format!("outbox row {seq} is not acknowledged: {}", told_with_cure(&error)),
                    Instant::now(),
                );
            }
        }
    }

    /// The row is still there, and is sent again after a wait.
    fn fail(&mut self, seq: i64, what: &str, now: Instant) {
        self.failed.failed(seq, now);
        self.metrics.failed.inc();
        self.alarms.raise(PUBLISHING_FAILS, "", format!("{what}; it stays in the outbox and is tried again"));
    }

    fn clear_failure_if_over(&self) {
        if self.failed.is_empty() {
            self.alarms.clear(PUBLISHING_FAILS, "");
        }
    }

    fn report_fullness(&self) {
        self.metrics.in_flight.set(i64::try_from(self.in_flight.awaited()).unwrap_or(i64::MAX));
        if self.in_flight.is_full() {
            let detail = format!("{} events wait for kafka's acknowledgement", self.in_flight.awaited());
            self.alarms.raise(IN_FLIGHT_FULL, "", detail);
        } else {
            self.alarms.clear(IN_FLIGHT_FULL, "");
        }
    }

    /// Until something may have changed: a commit here, an acknowledgement, a commit elsewhere. While rows are parked a
    /// commit is no reason to read them again.
    async fn rest(&mut self, stop: &CancellationToken) {
        let poll_at = Instant::now() + self.settings.poll_interval;
        let until = self.lease.renew_at().map_or(poll_at, |renew_at| poll_at.min(renew_at));
        tokio::select! {
            () = sleep_until(until.into()) => {}
            () = self.wake_up.woken(), if self.parked.is_empty() => {}
            Some(delivery) = self.deliveries.recv() => self.take(delivery),
            () = stop.cancelled() => {}
        }
    }
}
