//! # Summary
//!
//! What was committed, what arrived, and whether that is the same.

use std::time::Duration;

use crate::arrivals::Comparison;
use crate::console::{Colour, Console, grouped};
use crate::sample_orders::Placed;

/// The figures of a run.
#[derive(Debug)]
pub struct Summary {
    /// Orders in the database.
    pub committed: usize,
    /// What arrived of them.
    pub arrived: Comparison,
    /// What was asked for.
    pub placed: Placed,
    /// Whether an event that this database never committed could come from elsewhere.
    pub others_use_the_topic: bool,
}

impl Summary {
    /// Whether the promise was kept.
    pub fn is_good(&self) -> bool {
        self.faults().is_empty()
    }

    /// What is not as it was promised.
    fn faults(&self) -> Vec<String> {
        let mut faults = self.placed.wrong.clone();
        if self.arrived.delivered < self.committed {
            faults
                .push(format!("{} committed orders did not arrive", self.committed - self.arrived.delivered));
        }
        if usize::try_from(self.placed.completed).is_ok_and(|answered| answered > self.committed) {
            faults.push("an order that was answered with 201 is not in the database".to_owned());
        }
        if self.arrived.uncommitted > 0 && !self.others_use_the_topic {
            faults.push(format!("{} events arrived that were never committed", self.arrived.uncommitted));
        }
        faults
    }

    /// Shows it.
    pub fn show(&self, console: &Console) {
        let count = |number: usize| grouped(i64::try_from(number).unwrap_or(i64::MAX));
        let repeated = i64::try_from(self.arrived.repeated).unwrap_or(i64::MAX);
        console.heading("summary");
        console.fact("committed", &format!("{:>7}  orders in the database", count(self.committed)));
        console.fact(
            "delivered",
            &format!("{:>7}  of them reached the data platform", count(self.arrived.delivered)),
        );
        console.fact("repeated", &format!("{:>7}  deliveries beyond the first", grouped(repeated)));
        console.fact(
            "refused",
            &format!(
                "{:>7}  on purpose: nothing taken, nothing published",
                grouped(self.placed.refused.into())
            ),
        );
        if let Some(last) = self.arrived.last {
            let time = seconds(last.saturating_duration_since(self.placed.began));
            console.fact("time", &format!("{time:>7}  from the first order to the last arrival"));
        }
        for fault in self.faults() {
            console.warning(&console.paint(Colour::Red, &fault));
        }
        if self.is_good() {
            let good = format!("committed = delivered = {}", count(self.committed));
            console.line(&format!("  {}", console.paint(Colour::Green, &good)));
        }
    }
}

/// Seconds with two digits: `0.41 s`.
pub fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn summary(committed: usize, delivered: usize, uncommitted: usize) -> Summary {
        Summary {
            committed,
            arrived: Comparison { delivered, repeated: 0, uncommitted, last: None },
            placed: Placed {
                began: Instant::now(),
                completed: u32::try_from(committed).unwrap(),
                refused: 2,
                wrong: Vec::new(),
                product_id: 1,
            },
            others_use_the_topic: false,
        }
    }

    #[test]
    fn all_that_was_committed_must_have_arrived_and_nothing_else() {
        assert!(summary(8, 8, 0).is_good());
        assert_eq!(summary(8, 7, 0).faults(), ["1 committed orders did not arrive"]);
        assert_eq!(summary(8, 8, 1).faults(), ["1 events arrived that were never committed"]);
    }

    #[test]
    fn strangers_are_expected_on_a_topic_that_others_use() {
        assert!(Summary { others_use_the_topic: true, ..summary(8, 8, 3) }.is_good());
    }

    #[test]
    fn a_refusal_that_was_none_is_a_fault() {
        let mut odd = summary(8, 8, 0);
        odd.placed.wrong.push("more than is left was bought as order 9".to_owned());
        assert!(!odd.is_good());
    }
}
