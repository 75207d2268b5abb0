//! # Size alarm
//!
//! How much of the database's disk the events take that wait: 10,000 orders a second that nobody publishes fill 25 GB in an hour,
//! and a database whose disk is full takes no orders.
//!
//! It looks at what waits, not at the table. That keeps its size after a backlog, as its pages are used again (vacuum does not give
//! them back), so an alarm on it would never end.

use service_chassis::alarms::Alarms;

/// Raised while pending events take more of the disk than `relay.alarm_above_bytes`.
pub const BACKLOG_LARGE: &str = "backlog-large";

/// Judges the bytes of what waits.
#[derive(Clone, Debug)]
pub struct SizeAlarm {
    alarms: Alarms,
    above: u64,
    active: bool,
}

impl SizeAlarm {
    /// Raises the alarm when what waits takes more than `above` bytes.
    pub fn new(alarms: Alarms, above: u64) -> Self {
        Self { alarms, above, active: false }
    }

    /// What the pending events take of the disk, about. The alarm ends a tenth below where it began, or an estimate would raise it
    /// again and again.
    pub fn judge(&mut self, bytes: u64) {
        let enough = if self.active { self.above - self.above / 10 } else { self.above };
        self.active = bytes > enough;
        if self.active {
            let (megabytes, most) = (bytes / 1_000_000, self.above / 1_000_000);
            let detail = format!(
                "the events that wait take {megabytes} MB of the database's disk, more than {most} MB (relay.alarm_above_bytes): see what \
                 keeps them from being published (other alarms, the brokers), and that the disk has room; orders go on while it has"
            );
            self.alarms.raise(BACKLOG_LARGE, "", detail);
        } else {
            self.alarms.clear(BACKLOG_LARGE, "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_a_tenth_below_where_it_began() {
        let alarms = Alarms::new();
        let mut alarm = SizeAlarm::new(alarms.clone(), 1_000_000_000);
        for (bytes, active) in [
            (1_000_000_000, false),
            (1_000_000_001, true),
            (900_000_001, true),
            (900_000_000, false),
            (999_999_999, false),
        ] {
            alarm.judge(bytes);
            assert_eq!(alarms.active().len(), usize::from(active), "{bytes}");
        }
    }
}
