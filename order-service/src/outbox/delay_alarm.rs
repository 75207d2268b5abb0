//! # Delay alarm
//!
//! The one sign that covers every reason why events are not published: the oldest of them waits for too long. Brokers may
//! answer and still take nothing (too few replicas in sync, partitions without a leader), and nobody else looks
//! from the outbox's end.

use crate::storage::Session;
use crate::storage::error::DatabaseError;
use crate::storage::outbox;
use service_chassis::alarms::Alarms;
use std::time::Duration;

/// Raised while the oldest pending event has waited for longer than `relay.alarm_after`.
pub const PUBLISHING_DELAYED: &str = "publishing-delayed";

/// Looks at the oldest pending event when it is told to.
#[derive(Clone, Debug)]
pub struct DelayAlarm {
    alarms: Alarms,
    after: Duration,
}

impl DelayAlarm {
    /// Raises the alarm when an event waits for longer than `after`.
    pub fn new(alarms: Alarms, after: Duration) -> Self {
        Self { alarms, after }
    }

    /// One look.
    ///
    /// # Errors
    /// The database does not answer, which says nothing about the events: the alarm stays as it is.
    pub async fn look(&self, session: &mut Session) -> Result<(), DatabaseError> {
        match outbox::oldest_age(session).await? {
            Some(age) if age > self.after => {
                let seconds = age.as_secs();
                let detail = format!(
                    "the oldest event has waited for {seconds} s to be published: look at the brokers (in-sync replicas, leaders), \
                     at other alarms and at the relay; orders go on, their events wait in the outbox"
                );
                self.alarms.raise(PUBLISHING_DELAYED, "", detail);
            }
            Some(_) | None => self.alarms.clear(PUBLISHING_DELAYED, ""),
        }
        Ok(())
    }
}
