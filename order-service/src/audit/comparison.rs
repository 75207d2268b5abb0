//! # Comparison
//!
//! Orders on one side, records on the other, told in any order of the records; the answer is what is missing, repeated
//! or unexpected. Pure data: no clock, no database, no Kafka.
//!
//! An order and its record know each other by order id *and* event id, and say the same ([`super::content`]). A record of no order that was told is a
//! stranger: it may belong to an order that was committed after the orders were read, so whoever asks must look it up
//! ([`Comparison::strangers`], [`Comparison::introduce`]) before it counts as unexpected.
//!
//! **Memory**: 48 bytes for each order in one vector (48 MB a million, twice that for moments while it grows), sorted
//! once and searched by halving; records are counted, not kept, but for the first few of each kind of finding.

use super::content::Content;
use super::record::{Event, Place, Seen};
use super::report::{Counts, Findings, Report, Told};
use chrono::{DateTime, Utc};
use shared_messages::Uuid;
use shared_messages::topics::{partition_of, record_key};
use std::collections::HashMap;

/// A range of time: its beginning belongs to it, its end does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its beginning.
    pub from: DateTime<Utc>,
    /// Its end.
    pub to: DateTime<Utc>,
}

impl Window {
    /// Whether this moment belongs to it.
    pub fn contains(&self, moment: DateTime<Utc>) -> bool {
        self.from <= moment && moment < self.to
    }
}

/// Where an order's event waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// Nowhere.
    No,
    /// In the outbox, to be published.
    Pending,
    /// In quarantine, for an operator.
    Quarantined,
}

/// One order, as small as it can be.
struct Standing {
    order_id: i64,
    completed_at_micros: i64,
    event_id: Uuid,
    content: Content,
    /// How many records carry its event; it stops at the greatest.
    records: u16,
    waits: Waits,
}

/// The orders of the window, before they are compared.
#[derive(Default)]
pub struct Orders(Vec<Standing>);

impl Orders {
    /// Adds an order; each once, in any order.
    pub fn push(&mut self, order_id: i64, event_id: Uuid, completed_at: DateTime<Utc>, content: Content) {
        let completed_at_micros = completed_at.timestamp_micros();
        self.0.push(Standing {
            order_id,
            completed_at_micros,
            event_id,
            content,
            records: 0,
            waits: Waits::No,
        });
    }
}

/// Since when each partition has every record that it was given: nothing for one that never lost any to retention.
#[derive(Clone, Debug, Default)]
pub struct Kept(pub Vec<Option<DateTime<Utc>>>);

impl Kept {
    /// Whether retention may have taken the record of an order that was completed at this time.
    fn may_have_lost(&self, order_id: i64, completed_at: DateTime<Utc>) -> bool {
        let partitions = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let partition = partition_of(record_key(order_id).as_bytes(), partitions);
        let since = self.0.get(partition as usize).copied().flatten();
        since.is_some_and(|since| completed_at < since)
    }
}

/// A comparison that is going on.
pub struct Comparison {
    window: Window,
    orders: Vec<Standing>,
    strangers: Vec<(Place, Event)>,
    records: u64,
    others: u64,
    findings: Findings,
}

impl Comparison {
    /// It will tell the first `limit` findings of each kind, and count the rest.
    pub fn new(window: Window, orders: Orders, limit: usize) -> Self {
        let mut orders = orders.0;
        orders.sort_unstable_by_key(|standing| standing.order_id);
        let findings = Findings::up_to(limit);
        Self { window, orders, strangers: Vec::new(), records: 0, others: 0, findings }
    }

    /// The event of this order waits. A row of an order that was not told is none of our business.
    pub fn waits(&mut self, order_id: i64, event_id: Uuid, waits: Waits) {
        if let Some(standing) = self.find(order_id)
            && standing.event_id == event_id
        {
            standing.waits = waits;
        }
    }

    /// The topic holds this record.
    pub fn record(&mut self, seen: Seen) {
        self.records += 1;
        let place = seen.place;
        let event = match seen.content {
            Ok(event) => event,
            Err(cause) => {
                if seen.time.is_none_or(|time| self.window.contains(time)) {
                    self.findings.unreadable(place, cause);
                }
                return;
            }
        };
        let in_window = self.window.contains(event.occurred_at);
        match self.find(event.order_id) {
            Some(standing) if standing.event_id == event.event_id => {
                standing.records = standing.records.saturating_add(1);
                if event.content != Some(standing.content) {
                    self.findings.different(place, &event);
                }
                self.check_key(place, event);
            }
            Some(standing) => {
                let stored = standing.event_id;
                self.findings.unexpected(place, &event, Some(stored));
            }
            None if in_window => self.strangers.push((place, event)),
            None => self.others += 1,
        }
    }

    /// The records since the last call whose orders were not told. Look them up, and [introduce](Self::introduce) them.
    pub fn strangers(&mut self) -> Vec<(Place, Event)> {
        std::mem::take(&mut self.strangers)
    }

    /// How many strangers wait to be looked up.
    pub fn strangers_waiting(&self) -> usize {
        self.strangers.len()
    }

    /// What the database says of strangers: the event ids of those orders that there are.
    pub fn introduce(&mut self, strangers: Vec<(Place, Event)>, stored: &HashMap<i64, Uuid>) {
        for (place, event) in strangers {
            match stored.get(&event.order_id) {
                Some(stored) if *stored == event.event_id => {
                    self.others += 1;
                    self.check_key(place, event);
                }
                stored => self.findings.unexpected(place, &event, stored.copied()),
            }
        }
    }

    /// The verdict. Who calls this has told every order, row and record.
    pub fn report(mut self, kept: &Kept) -> Report {
        let mut counts = Counts { orders: self.orders.len() as u64, ..Counts::default() };
        for standing in &self.orders {
            let completed_at =
                DateTime::from_timestamp_micros(standing.completed_at_micros).unwrap_or_default();
            let told = Told { order_id: standing.order_id, event_id: standing.event_id, completed_at };
            match (standing.records, standing.waits) {
                (0, Waits::Pending) => self.findings.pending.add(told),
                (0, Waits::Quarantined) => self.findings.quarantined.add(told),
                (0, Waits::No) if kept.may_have_lost(told.order_id, completed_at) => {
                    self.findings.beyond_retention.add(told);
                }
                (0, Waits::No) => self.findings.missing.add(told),
                (records, _) => {
                    counts.published += 1;
                    self.findings.repeated(told, records);
                }
            }
        }
        counts.records_read = self.records;
        counts.records_of_other_orders = self.others;
        Report::new(self.window, counts, self.findings)
    }

    fn check_key(&mut self, place: Place, event: Event) {
        if let Some(key) = event.wrong_key {
            self.findings.wrong_key(place, event.order_id, key);
        }
    }

    fn find(&mut self, order_id: i64) -> Option<&mut Standing> {
        let index = self.orders.binary_search_by_key(&order_id, |standing| standing.order_id).ok()?;
        self.orders.get_mut(index)
    }
}

#[cfg(test)]
#[path = "comparison_tests.rs"]
mod tests;
