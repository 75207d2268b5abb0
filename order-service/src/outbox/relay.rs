//! # Relay
//!
//! The only publisher. In a cycle it reads pending rows, sends at most one event per key, waits for Kafka's
//! acknowledgements and deletes exactly the rows that were acknowledged.
//!
//! *First deliveries of a key are in the order of their commits* by two rules: the next event of a key is sent
//! only after the previous one was acknowledged ([`super::in_flight`]), and a row that could not be sent holds
//! back the later rows of its key; a row is deleted only by its exact seq
//! and only after its acknowledgement. Nothing else is remembered: whatever happens to this process, the rows
//! that are still there are what must still be published. The price is a repeat, never a loss.
//!
//! An event that is not acknowledged within [`RelaySettings::straggler_after`] stays on its way and holds up
//! only its own key; but the cycle that sent it waits that long, so what is committed meanwhile is late by up to
//! as much. One that is refused waits and is tried again ([`super::failed_rows`]), and its key waits with it.
//!
//! One instance per database may relay: two would repeat events. (A lease that chooses one of several
//! instances, a scan floor and a quarantine take their place here.)

use super::failed_rows::FailedRows;
use super::in_flight::{Admission, Bound, InFlight};
use super::message::PendingMessage;
use super::wake_up::WakeUp;
use crate::kafka::event_publisher::{Delivery, EventPublisher, PublisherError, SendError, told_with_cure};
use crate::settings::{KafkaSettings, RelaySettings};
use crate::storage::Session;
use crate::storage::database::{Database, ReconnectPauses, reconnect_pauses};
use crate::storage::error::DatabaseError;
use crate::storage::outbox;
use service_chassis::alarms::Alarms;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Raised while events are refused or fail, cleared when the last of them was acknowledged.
pub const PUBLISHING_FAILS: &str = "publishing-fails";
/// Raised while as many events as are allowed wait for their acknowledgement.
pub const IN_FLIGHT_FULL: &str = "relay-in-flight-full";
/// Raised while the database refuses the relay's statements, cleared by the next that works.
pub const OUTBOX_REFUSED: &str = "outbox-refused";

/// What the relay works with.
pub struct Relay {
    database: Database,
    kafka: KafkaSettings,
    settings: RelaySettings,
    wake_up: WakeUp,
    alarms: Alarms,
    publisher: Arc<EventPublisher>,
    deliveries: UnboundedReceiver<Delivery>,
    in_flight: InFlight,
    failed: FailedRows,
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
        wake_up: WakeUp,
        alarms: Alarms,
    ) -> Result<Self, PublisherError> {
        let (sender, deliveries) = unbounded_channel();
        let publisher = Arc::new(EventPublisher::new(&kafka, sender)?);
        let bound = Bound { events: settings.max_in_flight, bytes: settings.max_in_flight_bytes };
        let in_flight = InFlight::new(bound);
        Ok(Self {
            database,
            kafka,
            settings,
            wake_up,
            alarms,
            publisher,
            deliveries,
            in_flight,
            failed: FailedRows::default(),
            acknowledged: Vec::new(),
        })
    }

    /// Publishes until `stop`, then flushes: what is acknowledged in time is deleted, the rest stays in the table.
    pub async fn run(mut self, stop: CancellationToken) {
        info!("the relay publishes the outbox; only one instance per database may do so (relay.enabled)");
        let mut pauses = reconnect_pauses();
        while !stop.is_cancelled() {
            let Err(error) = self.publish_until(&stop, &mut pauses).await else { break };
            if let DatabaseError::Refused(cause) = &error {
                self.alarms.raise(OUTBOX_REFUSED, "", cause);
            }
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
        let mut session = self.database.relay_session().await?;
        let flush_timeout = self.settings.flush_timeout;
        let given_up = async {
            stop.cancelled().await;
            sleep(flush_timeout).await;
        };
        tokio::select! {
            ended = self.publish(&mut session, stop, pauses) => ended,
            () = given_up => Ok(()),
        }
    }

    async fn publish(
        &mut self,
        session: &mut Session,
        stop: &CancellationToken,
        pauses: &mut ReconnectPauses,
    ) -> Result<(), DatabaseError> {
        while !stop.is_cancelled() {
            let deleted = self.cycle(session).await?;
            *pauses = reconnect_pauses();
            self.alarms.clear(OUTBOX_REFUSED, "");
            if self.publisher.fatal_error().is_some() {
                self.replace_publisher().await;
            }
            if deleted == 0 {
                self.rest(stop).await;
            }
        }
        Ok(())
    }

    /// Reads, sends, waits and deletes once; the number of rows that are done with.
    async fn cycle(&mut self, session: &mut Session) -> Result<usize, DatabaseError> {
        self.take_deliveries();
        if !self.in_flight.is_full() {
            let in_flight = self.in_flight.seqs();
            let limit =
                outbox::BatchLimit { rows: self.settings.batch_rows, bytes: self.settings.batch_bytes };
            let read = outbox::pending(session, &in_flight, limit);
            let pending = self.database.within_limit(read).await?;
            let sent = self.send_all(&pending, Instant::now());
            self.report_fullness();
            self.await_deliveries(sent).await;
        }
        self.report_fullness();
        self.delete_acknowledged(session).await
    }

    /// Sends what may be sent now. A row that may not be, whatever the reason, holds back the later rows of its key:
    /// they must not overtake it.
    fn send_all(&mut self, pending: &[PendingMessage], now: Instant) -> HashSet<i64> {
        let mut held_keys: HashSet<&str> = HashSet::new();
        let mut sent = HashSet::new();
        for row in pending {
            let key = row.message.key.as_str();
            if held_keys.contains(key) {
                continue;
            }
            if self.send(row, now) {
                sent.insert(row.seq);
            } else {
                held_keys.insert(key);
            }
        }
        if i64::try_from(pending.len()).is_ok_and(|rows| rows < self.settings.batch_rows) {
            let seen: HashSet<i64> = pending.iter().map(|row| row.seq).chain(self.in_flight.seqs()).collect();
            self.failed.retain(&seen);
            self.clear_failure_if_over();
        }
        sent
    }

    /// Only after its row is deleted may the next event of a key be sent, or the row would be sent twice. When the
    /// delete fails the rows stay remembered for the next session; when the process dies, they are repeated.
    async fn delete_acknowledged(&mut self, session: &mut Session) -> Result<usize, DatabaseError> {
        if !self.acknowledged.is_empty() {
            let delete = outbox::delete(session, &self.acknowledged);
            self.database.within_limit(delete).await?;
        }
        for seq in &self.acknowledged {
            self.in_flight.finish(*seq);
        }
        Ok(std::mem::take(&mut self.acknowledged).len())
    }

    async fn delete_last(&mut self) -> Result<usize, DatabaseError> {
        let mut session = self.database.relay_session().await?;
        self.delete_acknowledged(&mut session).await
    }

    fn send(&mut self, pending: &PendingMessage, now: Instant) -> bool {
        let message = &pending.message;
        let bytes = message.payload.len();
        if self.failed.must_wait(pending.seq, now) {
            return false;
        }
        match self.in_flight.admit(&message.key, bytes) {
            Admission::Granted => {}
            Admission::KeyBusy | Admission::Full => return false,
        }
        match self.publisher.send(pending) {
            Ok(()) => {
                self.in_flight.start(pending.seq, &message.key, bytes);
                debug!(event.id = %message.event_id, "event {} of key {} sent", message.event_id, message.key);
                true
            }
            // Both are seen again in the next cycle, the second one by a new producer.
            Err(SendError::QueueFull | SendError::Fatal(_)) => false,
            Err(error @ SendError::Refused(_)) => {
                let what = format!("event {} of key {}: {error}", message.event_id, message.key);
                self.fail(pending.seq, &what, now);
                false
            }
        }
    }

    /// Collects deliveries until all that was sent in this cycle has one, or none came for a while. What an earlier
    /// cycle left behind is not waited for.
    async fn await_deliveries(&mut self, mut sent: HashSet<i64>) {
        let mut patience = tokio::time::Instant::now() + self.settings.straggler_after;
        while !sent.is_empty() {
            match timeout_at(patience, self.deliveries.recv()).await {
                Ok(Some(delivery)) => {
                    sent.remove(&delivery.seq);
                    self.take(delivery);
                    patience = tokio::time::Instant::now() + self.settings.straggler_after;
                }
                Ok(None) | Err(_) => return,
            }
        }
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
                self.failed.acknowledged(seq);
                self.clear_failure_if_over();
            }
            Err(error) => {
                self.in_flight.finish(seq);
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
        self.alarms.raise(PUBLISHING_FAILS, "", format!("{what}; it stays in the outbox and is tried again"));
    }

    fn clear_failure_if_over(&self) {
        if self.failed.is_empty() {
            self.alarms.clear(PUBLISHING_FAILS, "");
        }
    }

    fn report_fullness(&self) {
        if self.in_flight.is_full() {
            let detail = format!("{} events wait for kafka's acknowledgement", self.in_flight.len());
            self.alarms.raise(IN_FLIGHT_FULL, "", detail);
        } else {
            self.alarms.clear(IN_FLIGHT_FULL, "");
        }
    }

    /// Until something may have changed: a commit here, an acknowledgement, a commit elsewhere.
    async fn rest(&mut self, stop: &CancellationToken) {
        tokio::select! {
            () = sleep(self.settings.poll_interval) => {}
            () = self.wake_up.woken() => {}
            Some(delivery) = self.deliveries.recv() => self.take(delivery),
            () = stop.cancelled() => {}
        }
    }

    async fn replace_publisher(&mut self) {
        let cause = self.publisher.fatal_error().unwrap_or_default();
        warn!("the producer failed for good and is replaced; its events are sent again: {cause}");
        let (sender, deliveries) = unbounded_channel();
        match EventPublisher::new(&self.kafka, sender) {
            Ok(publisher) => {
                let failed = std::mem::replace(&mut self.publisher, Arc::new(publisher));
                // Dropping it purges its queue, which takes a moment.
                drop(tokio::task::spawn_blocking(move || drop(failed)).await);
                self.take_deliveries();
                self.deliveries = deliveries;
                self.in_flight.retain(&self.acknowledged);
            }
            Err(error) => self.alarms.raise(PUBLISHING_FAILS, "", error.to_string()),
        }
    }

    /// The last acknowledgements are worth a bounded wait: each one that is deleted is a repeat less.
    async fn finish(mut self) {
        let (publisher, timeout) = (self.publisher.clone(), self.settings.flush_timeout);
        let flushed = tokio::task::spawn_blocking(move || publisher.flush(timeout)).await;
        self.take_deliveries();
        if !self.acknowledged.is_empty() {
            let timeout = self.settings.flush_timeout;
            if tokio::time::timeout(timeout, self.delete_last())
                .await
                .ok()
                .is_none_or(|deleted| deleted.is_err())
            {
                let count = self.acknowledged.len();
                warn!("{count} acknowledged events could not be deleted and will be repeated");
            }
        }
        if let Ok(Ok(())) = flushed {
            info!("the relay has stopped, nothing is on its way");
        } else {
            let count = self.in_flight.len();
            warn!("the relay has stopped; {count} events are not acknowledged and stay in the outbox");
        }
    }
}
