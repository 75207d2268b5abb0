//! # Ledger
//!
//! The judge of every crash test. It is told what each station of an order's way has seen: what buyers asked for and
//! were answered, what the database holds, what the topic holds, what the data platform received. Then
//! it says whether the promise was kept:
//!
//! - an order that a buyer was promised is in the database, once for each request key, and a refused one is not;
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
    requests: BTreeMap<String, Answer>,
    orders: Vec<Order>,
    events: Vec<Event>,
    /// By place in the topic: a record that is read twice is still one.
    records: BTreeMap<(i32, i64), Event>,
    receipts: Vec<String>,
}

/// What a buyer knows about his request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// None that tells: he may have bought or not.
    Unclear,
    /// Bought, as this order; as several, if he was told different ones.
    Acknowledged(BTreeSet<String>),
    /// Certainly not bought.
    Refused,
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
    /// A buyer has sent a request under this key; until an answer tells more, its outcome is unclear.
    pub fn requested(&mut self, request_key: &str) {
        self.requests.entry(request_key.to_owned()).or_insert(Answer::Unclear);
    }

    /// The buyer was told that he has bought, as `order`.
    pub fn acknowledged(&mut self, request_key: &str, order: &str) {
        let answer = self.requests.entry(request_key.to_owned()).or_insert(Answer::Unclear);
        if let Answer::Acknowledged(promised) = answer {
            promised.insert(order.to_owned());
        } else {
            *answer = Answer::Acknowledged(BTreeSet::from([order.to_owned()]));
        }
    }

    /// The buyer was told that he has bought nothing. It says nothing against an earlier promise under the same
    /// key, which stands.
    pub fn refused(&mut self, request_key: &str) {
        let answer = self.requests.entry(request_key.to_owned()).or_insert(Answer::Refused);
        if *answer == Answer::Unclear {
            *answer = Answer::Refused;
        }
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
