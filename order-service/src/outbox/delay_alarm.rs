//! # Delay alarm
//!
//! The one sign that covers every reason why events are not published: the oldest of them waits for too long. Brokers may
//! answer and still take nothing (too few replicas in sync, partitions without a leader), and nobody else looks
//! from the outbox's end.

use service_chassis::alarms::Alarms;
use std::time::Duration;

/// Raised while the oldest pending event has waited for longer than `relay.alarm_after`.
pub const PUBLISHING_DELAYED: &str = "publishing-delayed";

/// Judges the age of the oldest pending event.
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

    /// How long the oldest pending event has waited, if one waits.
    pub fn judge(&self, oldest: Option<Duration>) {
        match oldest {
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
    }
}
