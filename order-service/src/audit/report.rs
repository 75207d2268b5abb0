//! # Report
//!
//! What an audit found: counts for all of it, the first few of each kind by name. A table for people, JSON for
//! programs.

use super::comparison::Window;
use super::record::{Event, Place};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use shared_messages::Uuid;
use std::fmt;

/// How much was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Orders of the window.
    pub orders: u64,
    /// Those whose event stands in the topic.
    pub published: u64,
    /// Records that were read.
    pub records_read: u64,
    /// Those of orders that are not of the window, or were committed after the orders were read.
    pub records_of_other_orders: u64,
}

/// Findings of one kind: all of them counted, the first few told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kind<T> {
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub first: Vec<T>,
    #[serde(skip)]
    limit: usize,
}

impl<T> Kind<T> {
    fn up_to(limit: usize) -> Self {
        Self { count: 0, first: Vec::new(), limit }
    }

    pub(super) fn add(&mut self, finding: T) {
        self.count += 1;
        if self.first.len() < self.limit {
            self.first.push(finding);
        }
    }
}

/// An order by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// The order.
    pub order_id: i64,
    /// Its event.
    pub event_id: Uuid,
    /// When it was completed.
    #[serde(serialize_with = "as_text")]
    pub completed_at: DateTime<Utc>,
}

/// An event that stands more than once in the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Repeat {
    /// Whose.
    #[serde(flatten)]
    pub order: Told,
    /// How many records carry it.
    pub records: u16,
}

/// A record whose order or event the database does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unexpected {
    /// Where it stands.
    #[serde(flatten)]
    pub place: Place,
    /// The order that it names.
    pub order_id: i64,
    /// Its event id.
    pub event_id: Uuid,
    /// The event id that the order has in the database, if there is such an order.
    pub stored_event_id: Option<Uuid>,
}

/// A record that says something else than its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Different {
    /// Where it stands.
    #[serde(flatten)]
    pub place: Place,
    /// Its order.
    pub order_id: i64,
    /// Its event id, which is the order's.
    pub event_id: Uuid,
}

/// A record that stands under a key that is not its order's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WrongKey {
    /// Where it stands.
    #[serde(flatten)]
    pub place: Place,
    /// Its order.
    pub order_id: i64,
    /// Its key.
    pub key: String,
}

/// A record that is no event that this program can read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// Where it stands.
    #[serde(flatten)]
    pub place: Place,
    /// Why it cannot be read.
    pub cause: String,
}

/// All findings, by kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Findings {
    /// In the database, neither waiting nor in the topic.
    pub missing: Kind<Told>,
    /// In the topic, and no order's event.
    pub unexpected: Kind<Unexpected>,
    /// An order's event by its id, and saying something else than the order.
    pub different: Kind<Different>,
    /// Under another key than their order's.
    pub wrong_key: Kind<WrongKey>,
    /// No event that can be read.
    pub unreadable: Kind<Unreadable>,
    /// In the topic more than once.
    pub repeated: Kind<Repeat>,
    /// Not in the topic, but still in the outbox.
    pub pending: Kind<Told>,
    /// Not in the topic, but in quarantine.
    pub quarantined: Kind<Told>,
    /// Not in the topic, which has lost what is that old to its retention.
    pub beyond_retention: Kind<Told>,
}

impl Findings {
    pub(super) fn up_to(limit: usize) -> Self {
        Self {
            missing: Kind::up_to(limit),
            unexpected: Kind::up_to(limit),
            different: Kind::up_to(limit),
            wrong_key: Kind::up_to(limit),
            unreadable: Kind::up_to(limit),
            repeated: Kind::up_to(limit),
            pending: Kind::up_to(limit),
            quarantined: Kind::up_to(limit),
            beyond_retention: Kind::up_to(limit),
        }
    }

    pub(super) fn unexpected(&mut self, place: Place, event: &Event, stored_event_id: Option<Uuid>) {
        let (order_id, event_id) = (event.order_id, event.event_id);
        self.unexpected.add(Unexpected { place, order_id, event_id, stored_event_id });
    }

    pub(super) fn different(&mut self, place: Place, event: &Event) {
        self.different.add(Different { place, order_id: event.order_id, event_id: event.event_id });
    }

    pub(super) fn wrong_key(&mut self, place: Place, order_id: i64, key: String) {
        self.wrong_key.add(WrongKey { place, order_id, key });
    }

    pub(super) fn unreadable(&mut self, place: Place, cause: String) {
        self.unreadable.add(Unreadable { place, cause });
    }

    pub(super) fn repeated(&mut self, order: Told, records: u16) {
        if records > 1 {
            self.repeated.add(Repeat { order, records });
        }
    }
}

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    #[serde(serialize_with = "as_text")]
    from: DateTime<Utc>,
    #[serde(serialize_with = "as_text")]
    to: DateTime<Utc>,
    /// How much was compared.
    #[serde(flatten)]
    pub counts: Counts,
    /// What stands out.
    #[serde(flatten)]
    pub findings: Findings,
}

impl Report {
    pub(super) fn new(window: Window, counts: Counts, findings: Findings) -> Self {
        Self { from: window.from, to: window.to, counts, findings }
    }

    /// In a few words what breaks the promise; nothing when it was kept. Repeats are allowed, unless it is `strict`.
    pub fn broken(&self, strict: bool) -> Option<String> {
        let Findings { missing, unexpected, different, wrong_key, unreadable, repeated, .. } = &self.findings;
        let repeats = if strict { repeated.count } else { 0 };
        let broken: Vec<String> = [
            (missing.count, "order(s) without an event"),
            (unexpected.count, "record(s) that no order has"),
            (different.count, "record(s) that say something else than their order"),
            (wrong_key.count, "record(s) under a wrong key"),
            (unreadable.count, "unreadable record(s)"),
            (repeats, "event(s) more than once"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
        (!broken.is_empty()).then(|| broken.join(", "))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { orders, published, records_read, records_of_other_orders } = self.counts;
        let all = &self.findings;
        writeln!(f, "audit of the orders completed from {} to {}", text(self.from), text(self.to))?;
        let mut line = |name: &str, count: u64, what: &str| writeln!(f, "  {name:<17}{count:>9}  {what}");
        line("orders", orders, "in the database")?;
        line("published", published, "of them stand in the topic")?;
        line("pending", all.pending.count, "wait in the outbox")?;
        line("quarantined", all.quarantined.count, "wait in quarantine for an operator")?;
        line("beyond retention", all.beyond_retention.count, "are older than what the topic still keeps")?;
        line("missing", all.missing.count, "are in none of these places: LOST, unless published again")?;
        line("records", records_read, "read from the topic")?;
        line("of other orders", records_of_other_orders, "of them, completed at another time or since")?;
        line("unexpected", all.unexpected.count, "of them are no order's event")?;
        line("different", all.different.count, "of them say something else than their order")?;
        line("wrong key", all.wrong_key.count, "of them stand under a key that is not their order's")?;
        line("unreadable", all.unreadable.count, "of them are no event of a known version")?;
        line("repeated", all.repeated.count, "events stand there more than once, under the same id")?;
        list(f, "missing", &all.missing)?;
        list(f, "unexpected", &all.unexpected)?;
        list(f, "different", &all.different)?;
        list(f, "wrong key", &all.wrong_key)?;
        list(f, "unreadable", &all.unreadable)?;
        list(f, "repeated", &all.repeated)?;
        list(f, "pending", &all.pending)?;
        list(f, "quarantined", &all.quarantined)?;
        list(f, "beyond retention", &all.beyond_retention)
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, name: &str, kind: &Kind<T>) -> fmt::Result {
    for finding in &kind.first {
        writeln!(f, "  {name}: {finding}")?;
    }
    match kind.count.saturating_sub(kind.first.len() as u64) {
        0 => Ok(()),
        more => writeln!(f, "  {name}: {more} more (--limit)"),
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "order {} of {}, event {}", self.order_id, text(self.completed_at), self.event_id)
    }
}

impl fmt::Display for Repeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} records", self.order, self.records)
    }
}

impl fmt::Display for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, order_id, event_id, stored_event_id } = self;
        match stored_event_id {
            Some(stored) => {
                write!(f, "{place} has event {event_id} of order {order_id}, whose event is {stored}")
            }
            None => write!(f, "{place} has event {event_id} of order {order_id}, which does not exist"),
        }
    }
}

impl fmt::Display for Different {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, order_id, event_id } = self;
        write!(f, "{place} has event {event_id} of order {order_id}, and not as the order is")
    }
}

impl fmt::Display for WrongKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has order {} under the key {:?}", self.place, self.order_id, self.key)
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.cause)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {} offset {}", self.partition, self.offset)
    }
}

fn text(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn as_text<S: Serializer>(moment: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*moment))
}
