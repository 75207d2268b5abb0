//! What can be wrong. Each is a broken promise, and names what it is about.

use std::fmt;

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// A buyer was promised an order that the database does not hold.
    OrderLost {
        /// The buyer's request.
        request_key: String,
        /// What he was promised.
        order: String,
    },
    /// A buyer was promised one order, and for the same request another.
    PromisedDifferently {
        /// The buyer's request.
        request_key: String,
        /// What he was promised.
        orders: Vec<String>,
    },
    /// One event id in two outbox rows: readers drop the second as a repeat.
    CommittedTwice {
        /// The event.
        event: String,
    },
    /// More than one order for one request.
    BoughtTwice {
        /// The buyer's request.
        request_key: String,
        /// What the database holds for it.
        orders: Vec<String>,
    },
    /// An order that a buyer was told he does not have.
    RefusedButBought {
        /// The buyer's request.
        request_key: String,
        /// What the database holds for it.
        order: String,
    },
    /// An order that nobody asked for.
    NeverAskedFor {
        /// The order.
        order: String,
    },
    /// An order whose event was never committed.
    NoEvent {
        /// The order.
        order: String,
    },
    /// A committed event that the topic does not hold.
    NotRecorded {
        /// The event.
        event: String,
    },
    /// An event in the topic that was never committed: rolled back, or of nobody.
    RecordedUncommitted {
        /// The event.
        event: String,
    },
    /// A record under another key than its event's.
    WrongKey {
        /// The event.
        event: String,
        /// The record's key.
        key: String,
    },
    /// The records of one key in several partitions, where they have no order.
    KeyInSeveralPartitions {
        /// The key.
        key: String,
        /// Where its records are.
        partitions: Vec<i32>,
    },
    /// A later event of a key stands in the topic before an earlier one did.
    RecordedOutOfOrder {
        /// The key.
        key: String,
        /// The earlier event, which came too late.
        event: String,
    },
    /// A committed event that the data platform never received.
    NotReceived {
        /// The event.
        event: String,
    },
    /// The data platform received what was never committed.
    ReceivedUncommitted {
        /// The event.
        event: String,
    },
    /// The data platform received a later event of a key before an earlier one.
    ReceivedOutOfOrder {
        /// The key.
        key: String,
        /// The earlier event, which came too late.
        event: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OrderLost { request_key, order } => {
                write!(f, "order {order} was promised (request {request_key}) and is not in the database")
            }
            Self::PromisedDifferently { request_key, orders } => {
                write!(f, "request {request_key} was answered with different orders: {}", orders.join(", "))
            }
            Self::CommittedTwice { event } => write!(f, "event {event} was committed twice"),
            Self::BoughtTwice { request_key, orders } => {
                write!(f, "request {request_key} bought more than once: orders {}", orders.join(", "))
            }
            Self::RefusedButBought { request_key, order } => {
                write!(f, "request {request_key} was refused, but the database holds order {order}")
            }
            Self::NeverAskedFor { order } => write!(f, "nobody asked for order {order}"),
            Self::NoEvent { order } => write!(f, "order {order} was committed without an event"),
            Self::NotRecorded { event } => write!(f, "event {event} was committed and is not in the topic"),
            Self::RecordedUncommitted { event } => {
                write!(f, "event {event} is in the topic and was never committed")
            }
            Self::WrongKey { event, key } => {
                write!(f, "event {event} stands under the key {key}, not its own")
            }
            Self::KeyInSeveralPartitions { key, partitions } => {
                write!(f, "the records of key {key} are in partitions {partitions:?}")
            }
            Self::RecordedOutOfOrder { key, event } => {
                write!(f, "event {event} of key {key} was recorded after a later one")
            }
            Self::NotReceived { event } => write!(f, "event {event} was committed and never received"),
            Self::ReceivedUncommitted { event } => {
                write!(f, "event {event} was received and never committed")
            }
            Self::ReceivedOutOfOrder { key, event } => {
                write!(f, "event {event} of key {key} was received after a later one")
            }
        }
    }
}
