//! # Consumer group
//!
//! One member of the group that reads completed orders. One thread owns the Kafka consumer and everything the
//! member knows, and polls from beginning to end ([`poll_loop`]); calls to the data platform run elsewhere
//! and report into the thread's mailbox. In the order in which data passes:
//!
//! - `positions` says where reading starts; `rebalance` takes partitions over and hands them back;
//! - `key_queues` decides what may run side by side, the breaker of [`crate::delivery`] how much of it, and `retries` what
//!   comes again;
//! - `parking` writes records at fault to the dead letters;
//! - `offset_tracker` constructs the position that may be committed, `offset_commits` sends it;
//! - `oversight` writes down once a second how all of it stands, and leaves the group when it does not move (`watchdog`,
//!   `recovery`);
//! - `assignment` puts these together for one partition, `assignments` for all of them, `group` for the whole member.
//!
//! It promises that every record is delivered at least once, and the first time each in its key's order. It
//! does not promise that a record is delivered only once: a crash, or a call that outlives its
//! assignment, repeats it.

mod assignment;
mod assignments;
mod client;
mod examination;
mod group;
mod key_queues;
mod offset_commits;
mod offset_tracker;
mod oversight;
mod parking;
mod poll_loop;
mod positions;
mod rebalance;
mod recovery;
mod reports;
mod retries;
#[cfg(test)]
mod simulation;
mod watchdog;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;

use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaResult;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::delivery::call::{Calls, Report};
use crate::delivery::ceiling::RecentDeadLetters;
use crate::delivery::dead_letters::{DeadLetters, ParkingReport};
use crate::health::Health;
use crate::settings::{DeliverySettings, KafkaSettings};
use crate::sink::Sink;

use assignment::Commit;
pub(crate) use assignments::{AssignmentEpoch, Parking, Reported};
use group::Group;
use poll_loop::PollLoop;
use rebalance::GroupContext;

pub(crate) use client::{RESERVED as RESERVED_PROPERTIES, check as check_properties};
pub use client::{RefusedByClient, fetch_properties};
pub(crate) use offset_commits::ceiling_reached_at;
pub(crate) use watchdog::Standstill;

type GroupConsumer = BaseConsumer<GroupContext>;

/// What lies in the poll thread's mailbox.
pub(crate) enum Signal {
    /// The client has something to be polled.
    Readable,
    /// Calls have ended.
    Reported(Vec<Report>),
    /// A dead letter was acknowledged, or not.
    Parked(ParkingReport),
    /// The end of a partition's dead letters was read, or could not be.
    DeadLettersSeen { assignment: AssignmentEpoch, partition: i32, seen: Result<RecentDeadLetters, String> },
    /// The end of a partition was looked up, if it could be.
    EndSeen(Option<(i32, i64)>),
    /// A commit has been answered.
    Committed(Vec<Commit>, KafkaResult<()>),
    /// Finish and leave.
    Stop,
}

/// A running member of the group.
#[derive(Debug)]
pub struct GroupMember {
    mailbox: Sender<Signal>,
    ended: oneshot::Receiver<()>,
}

/// The poll thread broke down. Partitions pass to other members when the session times out.
#[derive(Debug, thiserror::Error)]
#[error("the thread that polls Kafka has ended by itself")]
pub struct PollThreadEnded;

/// Why there is no member.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// librdkafka does not take the settings.
    #[error(transparent)]
    Client(#[from] RefusedByClient),
    /// The system gave no thread.
    #[error("cannot start the thread that polls Kafka")]
    Thread(#[source] io::Error),
}

/// Joins the group, in a thread of its own. A Kafka that is away is waited for, visibly, at any time.
pub fn join(
    kafka: KafkaSettings,
    delivery: &DeliverySettings,
    sink: Arc<dyn Sink>,
    health: Health,
    runtime: Handle,
) -> Result<GroupMember, JoinError> {
    let (mailbox, signals) = mpsc::channel();
    let (ending, ended) = oneshot::channel();
    let calls = Calls::new(runtime, sink, mailbox.clone());
    let dead_letters = DeadLetters::new(&kafka, mailbox.clone());
    let group = Group::new(kafka, delivery, signals, calls, dead_letters, health);
    let poll_loop = PollLoop::set_up(group, mailbox.clone())?;
    let poll = move || {
        poll_loop.run();
        // Whoever waited for the end may have given up.
        ending.send(()).ok();
    };
    thread::Builder::new().name("kafka-poll".to_owned()).spawn(poll).map_err(JoinError::Thread)?;
    Ok(GroupMember { mailbox, ended })
}

impl GroupMember {
    /// Asks it to finish what is on the wire, commit, and leave. Returns at once.
    pub fn stop(&self) {
        // A thread that has ended needs no asking.
        self.mailbox.send(Signal::Stop).ok();
    }

    /// Waits until it has left.
    pub async fn left(&mut self) -> Result<(), PollThreadEnded> {
        (&mut self.ended).await.map_err(|_| PollThreadEnded)
    }
}
