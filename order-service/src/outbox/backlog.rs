//! # Backlog
//!
//! How many events wait to be published, what they take, and for how long the oldest has: what says whether publishing
//! keeps up. And how large the table is, with what vacuum has still to remove, and what is in quarantine. They are the
//! database's, so every instance shows the same.
//!
//! The age costs one probe of an index, the rest a sample of a bounded size, so that it is known in an outage, too, when it matters
//! ([`crate::storage::outbox_size`]). While the database does not answer, all are unknown (`NaN`), not what they were, and the alarms stay
//! as they are.

use super::delay_alarm::DelayAlarm;
use super::size_alarm::SizeAlarm;
use crate::storage::Session;
use crate::storage::error::DatabaseError;
use crate::storage::outbox_size::OutboxSize;
use crate::storage::{outbox, outbox_size};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// Estimating takes at most one part in so many of the time.
const SHARE_OF_ESTIMATING: u32 = 20;
/// After an estimate that the database broke off, as it is busy.
const ESTIMATE_AGAIN_AFTER_TIME_OUT: Duration = Duration::from_mins(1);

/// What an operator is woken by.
#[derive(Debug)]
pub struct BacklogAlarms {
    /// The age of the oldest event.
    pub delay: DelayAlarm,
    /// What all of them take of the disk.
    pub size: SizeAlarm,
}

/// Looks at the outbox when it is told to.
#[derive(Debug)]
pub struct Backlog {
    alarms: Option<BacklogAlarms>,
    pending: Gauge<f64, AtomicU64>,
    pending_bytes: Gauge<f64, AtomicU64>,
    pending_disk_bytes: Gauge<f64, AtomicU64>,
    table_bytes: Gauge<f64, AtomicU64>,
    dead_rows: Gauge<f64, AtomicU64>,
    quarantined: Gauge<f64, AtomicU64>,
    oldest_age: Gauge<f64, AtomicU64>,
    estimate_at: Instant,
}

impl Backlog {
    /// With alarms, where this instance takes part in publishing.
    pub fn new(alarms: Option<BacklogAlarms>) -> Self {
        let backlog = Self {
            alarms,
            pending: Gauge::default(),
            pending_bytes: Gauge::default(),
            pending_disk_bytes: Gauge::default(),
            table_bytes: Gauge::default(),
            dead_rows: Gauge::default(),
            quarantined: Gauge::default(),
            oldest_age: Gauge::default(),
            estimate_at: Instant::now(),
        };
        backlog.is_unknown();
        backlog
    }

    /// Shows them.
    pub fn register_metrics(&self, registry: &mut Registry) {
        let help = "Events that are committed and not yet known to be in Kafka, estimated where they are many; the same on every instance";
        registry.register("outbox_pending_events", help, self.pending.clone());
        let help = "The size of their payloads";
        registry.register_with_unit("outbox_pending", help, Unit::Bytes, self.pending_bytes.clone());
        let help = "What their rows take of the database's disk";
        registry.register_with_unit(
            "outbox_pending_disk",
            help,
            Unit::Bytes,
            self.pending_disk_bytes.clone(),
        );
        let help = "The size of the outbox and its index, with what vacuum has still to remove";
        registry.register_with_unit("outbox_table", help, Unit::Bytes, self.table_bytes.clone());
        let help = "Rows of the outbox that vacuum has still to remove, by the database's statistics";
        registry.register("outbox_dead_rows", help, self.dead_rows.clone());
        let help = "Events that Kafka refuses for good, and later ones of their keys";
        registry.register("outbox_quarantined_events", help, self.quarantined.clone());
        let help = "How long the oldest pending event has waited, 0 without one; the same on every instance";
        registry.register_with_unit(
            "outbox_oldest_pending_age",
            help,
            Unit::Seconds,
            self.oldest_age.clone(),
        );
    }

    /// One look.
    ///
    /// # Errors
    /// The database does not answer, which says nothing about the events: the alarm stays as it is.
    pub async fn look(&mut self, session: &mut Session) -> Result<(), DatabaseError> {
        let oldest = outbox::oldest_age(session).await?;
        if let Some(alarms) = &self.alarms {
            alarms.delay.judge(oldest);
        }
        self.oldest_age.set(oldest.unwrap_or_default().as_secs_f64());
        let began = Instant::now();
        if began >= self.estimate_at {
            // Whatever breaks it off, this look or the server, it is not begun again at once.
            self.estimate_at = began + ESTIMATE_AGAIN_AFTER_TIME_OUT;
            match outbox_size::estimate(session).await {
                Err(DatabaseError::Cancelled(_)) => {
                    self.size_is_unknown();
                    return Ok(());
                }
                estimated => self.show(estimated?),
            }
            self.estimate_at = began + began.elapsed() * SHARE_OF_ESTIMATING;
        }
        Ok(())
    }

    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a table has fewer than 2^52 rows or bytes"
    )]
    fn show(&mut self, size: OutboxSize) {
        self.pending.set(size.pending);
        self.pending_bytes.set(size.pending_bytes);
        self.pending_disk_bytes.set(size.pending_disk_bytes);
        for (gauge, number) in [
            (&self.table_bytes, size.table_bytes),
            (&self.dead_rows, size.dead_rows),
            (&self.quarantined, size.quarantined),
        ] {
            gauge.set(number as f64);
        }
        if let Some(alarms) = &mut self.alarms {
            alarms.size.judge(size.pending_disk_bytes as u64);
        }
    }

    /// The database does not answer.
    pub fn is_unknown(&self) {
        self.oldest_age.set(f64::NAN);
        self.size_is_unknown();
    }

    fn size_is_unknown(&self) {
        for gauge in [
            &self.pending,
            &self.pending_bytes,
            &self.pending_disk_bytes,
            &self.table_bytes,
            &self.dead_rows,
            &self.quarantined,
        ] {
            gauge.set(f64::NAN);
        }
    }
}
