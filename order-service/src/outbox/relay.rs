//! # Relay
//!
//! The only publisher. In a cycle it reads pending rows, sends at most one event per key, waits for Kafka's
//! acknowledgements and deletes exactly the rows that were acknowledged.
//!
//! *First deliveries of a key are in the order of their commits* by two rules: the next event of a key is sent
//! only after the previous one was acknowledged ([`super::in_flight`]); a row is deleted only by its exact seq
//! and only after its acknowledgement. Nothing else is remembered: whatever happens to this process, the rows
//! that are still there are what must still be published. The price is a repeat, never a loss.
//!
//! An event that is not acknowledged within [`RelaySettings::straggler_after`] stays on its way and holds up
//! only its own key; it is not read again while it is.
//!
//! One instance per database may relay: two would repeat events. (A lease that chooses one of several
//! instances, a scan floor and a quarantine take their place here.)

use super::in_flight::{Admission, Bound, InFlight};
use super::message::PendingMessage;
use super::wake_up::WakeUp;
use crate::kafka::event_publisher::{Delivery, EventPublisher, PublisherError, SendError};
use crate::settings::{KafkaSettings, RelaySettings};
use crate::storage::Session;
use crate::storage::database::{Database, reconnect_pauses};
use crate::storage::error::DatabaseError;
use crate::storage::outbox;
use service_chassis::alarms::Alarms;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Raised while events are refused or fail, cleared by the next acknowledgement.
pub const PUBLISHING_FAILS: &str = "publishing-fails";
/// Raised while as many events as are allowed wait for their acknowledgement.
pub const IN_FLIGHT_FULL: &str = "relay-in-flight-full";

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
    /// Acknowledged, but not deleted yet; they count as in flight until they are.
    acknowledged: Vec<i64>,
}

/// What one cycle did.
struct Cycle {
    sent: usize,
    deleted: usize,
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
            acknowledged: Vec::new(),
        })
    }

    /// Publishes until `stop`, then flushes: what is acknowledged in time is deleted, the rest stays in the table.
    pub async fn run(mut self, stop: CancellationToken) {
        info!("the relay publishes the outbox; only one instance per database may do so (relay.enabled)");
        let mut pauses = reconnect_pauses();
        while !stop.is_cancelled() {
            let published = match self.database.relay_session().await {
                Ok(session) => {
                    pauses = reconnect_pauses();
                    self.publish_until(session, &stop).await
                }
                Err(error) => Err(error),
            };
            let Err(error) = published else { break };
            let pause = pauses.next().unwrap_or(Duration::from_secs(5));
            warn!(error = %error, "the relay lost the database and tries again in {pause:?}: {error}");
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
        mut session: Session,
        stop: &CancellationToken,
    ) -> Result<(), DatabaseError> {
        let flush_timeout = self.settings.flush_timeout;
        let given_up = async {
            stop.cancelled().await;
            sleep(flush_timeout).await;
        };
        tokio::select! {
            ended = self.publish(&mut session, stop) => ended,
            () = given_up => Ok(()),
        }
    }

    async fn publish(
        &mut self,
        session: &mut Session,
        stop: &CancellationToken,
    ) -> Result<(), DatabaseError> {
        while !stop.is_cancelled() {
            let Cycle { sent, deleted } = self.cycle(session).await?;
            if self.publisher.fatal_error().is_some() {
                self.replace_publisher();
            }
            if sent == 0 || deleted == 0 {
                self.rest(stop).await;
            }
        }
        Ok(())
    }

    async fn cycle(&mut self, session: &mut Session) -> Result<Cycle, DatabaseError> {
        self.take_deliveries();
        let mut sent = 0;
        if !self.in_flight.is_full() {
            let in_flight = self.in_flight.seqs();
            let limit =
                outbox::BatchLimit { rows: self.settings.batch_rows, bytes: self.settings.batch_bytes };
            let pending = outbox::pending(session, &in_flight, limit).await?;
            sent = pending.iter().filter(|pending| self.send(pending)).count();
        }
        self.report_fullness();
        if sent > 0 {
            self.await_deliveries().await;
        }
        let deleted = self.delete_acknowledged(session).await?;
        Ok(Cycle { sent, deleted })
    }

    /// Only after its row is deleted may the next event of a key be sent, or the row would be sent twice. When the
    /// delete fails the rows stay remembered for the next session; when the process dies, they are repeated.
    async fn delete_acknowledged(&mut self, session: &mut Session) -> Result<usize, DatabaseError> {
        if !self.acknowledged.is_empty() {
            outbox::delete(session, &self.acknowledged).await?;
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

    fn send(&mut self, pending: &PendingMessage) -> bool {
        let message = &pending.message;
        let bytes = message.payload.len();
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
            Err(SendError::QueueFull) => false,
            Err(error @ (SendError::Fatal(_) | SendError::Refused(_))) => {
                let detail = format!("event {} of key {}: {error}", message.event_id, message.key);
                self.alarms.raise(PUBLISHING_FAILS, &message.topic, detail);
                false
            }
        }
    }

    /// Collects deliveries until all that is on its way has one, or none came for a while.
    async fn await_deliveries(&mut self) {
        let mut patience = Instant::now() + self.settings.straggler_after;
        while self.in_flight.len() > self.acknowledged.len() {
            match timeout_at(patience, self.deliveries.recv()).await {
                Ok(Some(delivery)) => {
                    self.take(delivery);
                    patience = Instant::now() + self.settings.straggler_after;
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

    /// A failed event may be sent again at once: its row is still there.
    fn take(&mut self, Delivery { seq, result }: Delivery) {
        match result {
            Ok(()) => {
                self.alarms.clear(PUBLISHING_FAILS, &self.kafka.topic);
                self.acknowledged.push(seq);
            }
            Err(error) => {
                self.in_flight.finish(seq);
                let detail = format!("outbox row {seq} is not acknowledged and will be sent again: {error}");
                self.alarms.raise(PUBLISHING_FAILS, &self.kafka.topic, detail);
            }
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
        // Failures come as fast as they are tried, so only the poll interval ends the rest after one.
        let failing = self.alarms.active().iter().any(|alarm| alarm.name == PUBLISHING_FAILS);
        tokio::select! {
            () = sleep(self.settings.poll_interval) => {}
            () = self.wake_up.woken(), if !failing => {}
            () = stop.cancelled() => {}
        }
    }

    fn replace_publisher(&mut self) {
        let cause = self.publisher.fatal_error().unwrap_or_default();
        warn!("the producer failed for good and is replaced; its events are sent again: {cause}");
        let (sender, deliveries) = unbounded_channel();
        match EventPublisher::new(&self.kafka, sender) {
            Ok(publisher) => {
                self.publisher = Arc::new(publisher);
                self.take_deliveries();
                self.deliveries = deliveries;
                self.in_flight.retain(&self.acknowledged);
            }
            Err(error) => self.alarms.raise(PUBLISHING_FAILS, &self.kafka.topic, error.to_string()),
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
