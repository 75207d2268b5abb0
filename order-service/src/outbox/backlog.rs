//! # Backlog
//!
//! How many events wait to be published, and for how long the oldest has: the two numbers that say whether publishing
//! keeps up. And how large the table is, with what vacuum has still to remove, and what is in quarantine. They are the
//! database's, so every instance shows the same.
//!
//! The age costs one probe of an index. Counting costs the more the more there is, so it is repeated only as often as it
//! takes a small share of the time. While the database does not answer, all are unknown (`NaN`), not what they were.

use super::delay_alarm::DelayAlarm;
use crate::storage::Session;
use crate::storage::error::DatabaseError;
use crate::storage::{outbox, outbox_status};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// Counting takes at most one part in so many of the time.
const SHARE_OF_COUNTING: u32 = 20;
/// After a count that the database broke off, as more wait than can be counted within the time that a statement has.
const COUNT_AGAIN_AFTER_TIME_OUT: Duration = Duration::from_mins(1);

/// Looks at the outbox when it is told to.
#[derive(Debug)]
pub struct Backlog {
    alarm: Option<DelayAlarm>,
    pending: Gauge<f64, AtomicU64>,
    pending_bytes: Gauge<f64, AtomicU64>,
    table_bytes: Gauge<f64, AtomicU64>,
    dead_rows: Gauge<f64, AtomicU64>,
    quarantined: Gauge<f64, AtomicU64>,
    oldest_age: Gauge<f64, AtomicU64>,
    count_at: Instant,
}

impl Backlog {
    /// With an alarm on the age of the oldest event, where this instance is the one that publishes.
    pub fn new(alarm: Option<DelayAlarm>) -> Self {
        let backlog = Self {
            alarm,
            pending: Gauge::default(),
            pending_bytes: Gauge::default(),
            table_bytes: Gauge::default(),
            dead_rows: Gauge::default(),
            quarantined: Gauge::default(),
            oldest_age: Gauge::default(),
            count_at: Instant::now(),
        };
        backlog.is_unknown();
        backlog
    }

    /// Shows them.
    pub fn register_metrics(&self, registry: &mut Registry) {
        let help = "Events that are committed and not yet known to be in Kafka; the same on every instance";
        registry.register("outbox_pending_events", help, self.pending.clone());
        let help = "The size of their payloads";
        registry.register_with_unit("outbox_pending", help, Unit::Bytes, self.pending_bytes.clone());
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
        if let Some(alarm) = &self.alarm {
            alarm.judge(oldest);
        }
        self.oldest_age.set(oldest.unwrap_or_default().as_secs_f64());
        let began = Instant::now();
        if began >= self.count_at {
            // Whatever breaks it off, this look or the server, it is not begun again at once.
            self.count_at = began + COUNT_AGAIN_AFTER_TIME_OUT;
            let counted = match outbox_status::read(session).await {
                Err(DatabaseError::Busy(_)) => {
                    self.count_is_unknown();
                    return Ok(());
                }
                counted => counted?,
            };
            for (gauge, number) in [
                (&self.pending, counted.pending),
                (&self.pending_bytes, counted.pending_bytes),
                (&self.table_bytes, counted.table_bytes),
                (&self.dead_rows, counted.dead_rows),
                (&self.quarantined, counted.quarantined),
            ] {
                #[allow(clippy::cast_precision_loss, reason = "a table has fewer than 2^52 rows or bytes")]
                gauge.set(number as f64);
            }
            self.count_at = began + began.elapsed() * SHARE_OF_COUNTING;
        }
        Ok(())
    }

    /// The database does not answer.
    pub fn is_unknown(&self) {
        self.oldest_age.set(f64::NAN);
        self.count_is_unknown();
    }

    fn count_is_unknown(&self) {
        for gauge in
            [&self.pending, &self.pending_bytes, &self.table_bytes, &self.dead_rows, &self.quarantined]
        {
            gauge.set(f64::NAN);
        }
    }
}
