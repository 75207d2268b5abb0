//! # Latencies
//!
//! How long buyers waited for a clear answer, and events for their delivery, by what was away when the order was
//! placed.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::deliveries::Delivery;

/// All orders of a run, by phase.
#[derive(Default)]
pub(crate) struct Latencies {
    phases: Mutex<Vec<Phase>>,
}

struct Phase {
    name: String,
    began: Instant,
    orders: Vec<Ordered>,
}

struct Ordered {
    event: String,
    completed: DateTime<Utc>,
    answered: Duration,
}

impl Latencies {
    /// What is ordered from now on belongs to this phase.
    pub(crate) fn phase(&self, name: &str) {
        let phase = Phase { name: name.to_owned(), began: Instant::now(), orders: Vec::new() };
        self.phases.lock().unwrap_or_else(PoisonError::into_inner).push(phase);
    }

    /// A request that was begun then has now been answered.
    pub(crate) fn ordered(&self, event: &str, completed: DateTime<Utc>, began: Instant) {
        let order = Ordered { event: event.to_owned(), completed, answered: began.elapsed() };
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(phase) = phases.iter_mut().rev().find(|phase| phase.began <= began) {
            phase.orders.push(order);
        }
    }

    /// The events of the orders that were placed in the current phase so far.
    pub(crate) fn events_of_this_phase(&self) -> std::collections::HashSet<String> {
        let phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        let orders = phases.last().into_iter().flat_map(|phase| &phase.orders);
        orders.map(|order| order.event.clone()).collect()
    }

    /// A table for a person.
    pub(crate) fn table(&self, deliveries: &[Delivery]) -> String {
        let mut first: HashMap<&str, DateTime<Utc>> = HashMap::new();
        for delivery in deliveries {
            first.entry(&delivery.event).or_insert(delivery.at);
        }
        let mut table = format!(
            "{:<32} {:>6}   {:<26}   {}\n{:<32} {:>6}   {:>8} {:>8} {:>8}   {:>8} {:>8} {:>8}",
            "",
            "",
            "answer to the buyer (ms)",
            "commit to delivery (ms)",
            "while",
            "orders",
            "p50",
            "p99",
            "max",
            "p50",
            "p99",
            "max",
        );
        for phase in self.phases.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let answers = phase.orders.iter().map(|order| order.answered.as_millis());
            let delivered = phase.orders.iter().filter_map(|order| {
                let took = *first.get(order.event.as_str())? - order.completed;
                u128::try_from(took.num_milliseconds()).ok()
            });
            let (name, orders) = (&phase.name, phase.orders.len());
            let (answered, delivered) = (columns(answers.collect()), columns(delivered.collect()));
            write!(table, "\n{name:<32} {orders:>6}   {answered}   {delivered}").ok();
        }
        table
    }
}

/// Median, 99th percentile and maximum; dashes where there is nothing.
fn columns(mut millis: Vec<u128>) -> String {
    millis.sort_unstable();
    let at = |percent: usize| {
        let place = (millis.len() * percent).div_ceil(100).saturating_sub(1);
        millis.get(place).map_or_else(|| "-".to_owned(), u128::to_string)
    };
    format!("{:>8} {:>8} {:>8}", at(50), at(99), at(100))
}
