//! # Ledger
//!
//! The judge of every crash test. It is told what each station of an order's way has seen: what buyers asked for and
//! were answered, what the database holds, what the topic holds, what the data platform received. Then
//! it says whether the promise was kept:
//!
//! - an order that a buyer was promised is in the database, once for each request key, and a refused one is not, whatever
//!   else the buyer was told before or after;
//! - every committed event is in the topic and was received, and nothing else is or was;
//! - the events of one key stand in one partition, and came the first time each in the order of their commits.
//!
//! Repeats are no fault, they are counted: a test states how many it allows.
//!
//! It is pure data: no clock, no server, no order in which it must be told. Ids are text, because it compares them
//! and knows nothing else about them.

mod balance;
mod finding;

use std::collections::{BTreeMap, BTreeSet};

pub use balance::{Balance, Counts};
pub use finding::Finding;

/// What all stations have seen.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    requests: BTreeMap<String, Request>,
    orders: Vec<Order>,
    events: Vec<Event>,
    /// By place in the topic: a record that is read twice is still one.
    records: BTreeMap<(i32, i64), Event>,
    receipts: Vec<String>,
}

/// What a buyer was told of his request, in all his attempts. Nothing of it is forgotten over a later answer.
#[derive(Clone, Debug, Default)]
struct Request {
    attempts: usize,
    /// Attempts of which he knows that they did nothing, and no more.
    turned_away: usize,
    /// Whether he was told that he has not bought.
    refused: bool,
    /// What he was told that he has bought: several, if he was told different ones.
    promised: BTreeSet<String>,
}

impl Request {
    /// Whether no attempt is left that may have bought.
    fn all_turned_away(&self) -> bool {
        self.attempts > 0 && self.turned_away >= self.attempts
    }
}

#[derive(Clone, Debug)]
struct Order {
    id: String,
    request_key: String,
}

#[derive(Clone, Debug)]
struct Event {
    key: String,
    id: String,
}

impl Ledger {
    /// A buyer has sent a request under this key; until an answer tells more, its outcome is unclear. Told again, it is
    /// another attempt.
    pub fn requested(&mut self, request_key: &str) {
        self.request(request_key).attempts += 1;
    }

    /// The buyer was told that he has bought, as `order`.
    pub fn acknowledged(&mut self, request_key: &str, order: &str) {
        self.request(request_key).promised.insert(order.to_owned());
    }

    /// The buyer was told that he has bought nothing under this key. He may buy under it later, but then it is another
    /// request, for which the ledger wants another name.
    pub fn refused(&mut self, request_key: &str) {
        self.request(request_key).refused = true;
    }

    /// The buyer was told that this attempt did nothing, and nothing of others under this key.
    pub fn turned_away(&mut self, request_key: &str) {
        self.request(request_key).turned_away += 1;
    }

    fn request(&mut self, key: &str) -> &mut Request {
        self.requests.entry(key.to_owned()).or_default()
    }

    /// The database holds this order.
    pub fn order(&mut self, id: &str, request_key: &str) {
        self.orders.push(Order { id: id.to_owned(), request_key: request_key.to_owned() });
    }

    /// The database has committed this event; those of one key are told in the order of their commits.
    pub fn committed(&mut self, key: &str, event: &str) {
        self.events.push(Event { key: key.to_owned(), id: event.to_owned() });
    }

    /// The topic holds this event, here.
    pub fn recorded(&mut self, partition: i32, offset: i64, key: &str, event: &str) {
        self.records.insert((partition, offset), Event { key: key.to_owned(), id: event.to_owned() });
    }

    /// The data platform has received this event, after those it was told of before.
    pub fn received(&mut self, event: &str) {
        self.receipts.push(event.to_owned());
    }

    /// The verdict on what was told so far.
    pub fn balance(&self) -> Balance {
        Balance::of(self)
    }
}
