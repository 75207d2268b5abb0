//! What the assignments answer: what a report led to, and what is to be done next.

use std::time::Instant;

use shared_messages::dead_letter::DeadLetterCause;

use super::AssignmentEpoch;
use crate::delivery::call::NotDelivered;
use crate::delivery::fault::Verdict;

/// What a report led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reported {
    Delivered,
    /// It is tried again.
    Failed {
        failures: u32,
        again_at: Instant,
        not_delivered: NotDelivered,
    },
    /// It becomes a dead letter.
    AtFault {
        cause: DeadLetterCause,
        not_delivered: NotDelivered,
    },
    /// It failed while its partition was handed back: the next owner repeats it.
    LeftToTheNextOwner,
    /// It belongs to an earlier assignment.
    Late,
}

/// What is to be done about records at fault.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ParkingStep<R> {
    /// Ask the dead-letter topic what its end shows.
    Ask { assignment: AssignmentEpoch, partition: i32, ceiling_reached_at: Option<i64> },
    /// Write this record there.
    Park(Parking<R>),
    /// No more of this partition, until an operator decides.
    CeilingReached { partition: i32 },
}

/// A record to be written to the dead letters.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parking<R> {
    pub(crate) assignment: AssignmentEpoch,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) record: R,
    pub(crate) verdict: Verdict,
}

/// What became of a dead letter on the wire.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parked {
    Done,
    /// It could not be written, and is tried again.
    Failed {
        again_at: Instant,
        cause: String,
    },
    /// Its partition is being handed back, or is somebody else's.
    LeftToTheNextOwner,
}

/// Which partitions to pause and which to resume.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct IntakeChanges {
    pub(crate) pause: Vec<i32>,
    pub(crate) resume: Vec<i32>,
}
