//! # Policy
//!
//! What is done next when a transaction of some orders was not committed. Pure rules: no clock, no database.
//!
//! The one that counts: after a COMMIT whose answer was lost, the orders are *uncertain*, and "nothing was done" is no
//! answer for them any more until a later transaction has looked. They are recovered by themselves, for as long as there is time.

use crate::checkout::error::CheckoutError;
use crate::storage::error::DatabaseError;
use crate::storage::orders::REQUEST_KEY_CONSTRAINT;
use std::fmt;
use thiserror::Error;

/// How often the same orders are tried again, where trying again may help.
const MOST_REPEATS: u32 = 3;

/// Why a transaction was not committed, or may not have been.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    /// The answer to COMMIT was lost.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// No connection, or it was lost before COMMIT.
    #[error("the database is away: {0}")]
    Away(String),
    /// A deadlock.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// A statement that took longer than it may.
    #[error("the database is slow: {0}")]
    Slow(String),
    /// Another replica has completed one of the keys meanwhile.
    #[error("a request key was used meanwhile")]
    Twin,
    /// A row is locked by somebody else.
    #[error("a row is locked: {0}")]
    Locked(String),
    /// The database refuses one of the orders.
    #[error("{0}")]
    Refused(String),
    /// The work panicked.
    #[error("it panicked")]
    Panicked,
    /// A defect of the caller.
    #[error("its transaction was not used as it must be")]
    Misused,
}

/// How far the orders have come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// How many there are.
    pub(super) orders: usize,
    /// How often they were tried again.
    pub(super) repeats: u32,
    /// Whether an earlier COMMIT of theirs may have been applied: this is their recovery.
    pub(super) uncertain: bool,
    /// Whether there is time to find out.
    pub(super) time_left: bool,
    /// Whether the batch may cost another transaction.
    pub(super) transactions_left: bool,
}

/// What is done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The same orders again.
    Repeat,
    /// The same orders again, but not here: it may take long to find out what became of them.
    Recover,
    /// Each half by itself.
    Halve,
    /// Those whose rows are held go elsewhere, the rest again.
    SetAside,
    /// This is their answer.
    GiveUp(CheckoutError),
}

impl Trouble {
    pub(super) fn of(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unavailable(cause) | DatabaseError::NotAdmitted(cause) => Self::Away(cause),
            DatabaseError::OutcomeUnknown(cause) => Self::Unknown(cause),
            DatabaseError::Locked(cause) => Self::Locked(cause),
            DatabaseError::Busy(cause) => Self::Busy(cause),
            DatabaseError::Cancelled(cause) => Self::Slow(cause),
            DatabaseError::Duplicate { constraint } if constraint == REQUEST_KEY_CONSTRAINT => Self::Twin,
            DatabaseError::Duplicate { .. } | DatabaseError::Refused(_) => Self::Refused(error.to_string()),
        }
    }
}

/// What is done next.
pub(super) fn step(trouble: &Trouble, progress: Progress) -> Step {
    let Progress { orders, repeats, uncertain, time_left, transactions_left } = progress;
    let unknown = || Step::GiveUp(CheckoutError::OutcomeUnknown(trouble.to_string()));
    let not_now = || Step::GiveUp(CheckoutError::Unavailable(trouble.to_string()));
    let failed = || Step::GiveUp(CheckoutError::Failed(trouble.to_string()));
    let give_up = || if uncertain { unknown() } else { not_now() };
    match trouble {
        Trouble::Unknown(_) if !uncertain => Step::Recover,
        Trouble::Unknown(_) if time_left => Step::Repeat,
        Trouble::Unknown(_) => unknown(),
        // What holds the row may be the lost transaction itself.
        Trouble::Away(_) | Trouble::Busy(_) | Trouble::Slow(_) | Trouble::Locked(_) if uncertain => {
            if time_left {
                Step::Repeat
            } else {
                unknown()
            }
        }
        Trouble::Away(_) | Trouble::Busy(_) | Trouble::Twin | Trouble::Locked(_)
            if repeats >= MOST_REPEATS =>
        {
            give_up()
        }
        // Once: a connection may have been stale, a disk busy. Waiting for a server is not for a desk with orders behind it.
        Trouble::Away(_) | Trouble::Slow(_) if repeats > 0 => give_up(),
        Trouble::Away(_) | Trouble::Slow(_) | Trouble::Busy(_) | Trouble::Twin => Step::Repeat,
        Trouble::Locked(_) => Step::SetAside,
        Trouble::Refused(_) | Trouble::Panicked if orders > 1 => {
            if transactions_left {
                Step::Halve
            } else {
                give_up()
            }
        }
        // Whether it came before the look-up or after it cannot be told.
        Trouble::Refused(_) | Trouble::Panicked | Trouble::Misused if uncertain => unknown(),
        Trouble::Refused(_) | Trouble::Panicked | Trouble::Misused => failed(),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repeat => formatter.write_str("they are tried again"),
            Self::Recover => formatter.write_str("what became of them is looked for"),
            Self::Halve => formatter.write_str("each half is tried by itself"),
            Self::SetAside => formatter.write_str("those that need a held row wait in the slow lane"),
            Self::GiveUp(error) => write!(formatter, "they are answered: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Progress =
        Progress { orders: 4, repeats: 0, uncertain: false, time_left: true, transactions_left: true };

    fn every_trouble() -> Vec<Trouble> {
        let why = String::new;
        vec![
            Trouble::Unknown(why()),
            Trouble::Away(why()),
            Trouble::Busy(why()),
            Trouble::Slow(why()),
            Trouble::Twin,
            Trouble::Locked(why()),
            Trouble::Refused(why()),
            Trouble::Panicked,
            Trouble::Misused,
        ]
    }

    #[test]
    fn a_lost_commit_is_looked_for_and_never_answered_with_nothing_was_done() {
        let lost = Trouble::Unknown(String::new());
        assert_eq!(step(&lost, FRESH), Step::Recover);
        assert_eq!(step(&lost, Progress { uncertain: true, ..FRESH }), Step::Repeat);
        let late = Progress { uncertain: true, time_left: false, repeats: 100, orders: 1, ..FRESH };
        for trouble in every_trouble() {
            let Step::GiveUp(answer) = step(&trouble, late) else { continue };
            assert!(matches!(answer, CheckoutError::OutcomeUnknown(_)), "{trouble}: {answer:?}");
        }
    }

    #[test]
    fn whatever_happens_it_comes_to_an_end() {
        for uncertain in [false, true] {
            for orders in [1, 4] {
                let late =
                    Progress { orders, repeats: 100, uncertain, time_left: false, transactions_left: false };
                for trouble in every_trouble() {
                    let step = step(&trouble, late);
                    let ended = match step {
                        Step::GiveUp(_) => true,
                        // The recovery ends, as its orders are uncertain.
                        Step::Recover => !uncertain,
                        Step::Repeat | Step::Halve | Step::SetAside => false,
                    };
                    assert!(ended, "{trouble} {late:?}: {step:?}");
                }
            }
        }
    }

    #[test]
    fn one_bad_order_is_found_by_halving() {
        let refused = Trouble::Refused("numeric value out of range".to_owned());
        assert_eq!(step(&refused, FRESH), Step::Halve);
        let alone = step(&refused, Progress { orders: 1, ..FRESH });
        assert!(matches!(alone, Step::GiveUp(CheckoutError::Failed(_))), "{alone:?}");
    }

    #[test]
    fn a_deadlock_is_repeated_a_few_times_and_then_answered() {
        let busy = Trouble::of(DatabaseError::Busy("deadlock detected".to_owned()));
        assert!(matches!(busy, Trouble::Busy(_)), "{busy}");
        for repeats in 0..MOST_REPEATS {
            assert_eq!(step(&busy, Progress { repeats, ..FRESH }), Step::Repeat, "{repeats}");
        }
        let tired = Progress { repeats: MOST_REPEATS, ..FRESH };
        let ended = step(&busy, tired);
        assert!(matches!(ended, Step::GiveUp(CheckoutError::Unavailable(_))), "{ended:?}");
        // Unless a COMMIT was lost: then as long as there is time, and never "nothing was done".
        let uncertain = Progress { uncertain: true, ..tired };
        assert_eq!(step(&busy, uncertain), Step::Repeat);
        let late = step(&busy, Progress { time_left: false, ..uncertain });
        assert!(matches!(late, Step::GiveUp(CheckoutError::OutcomeUnknown(_))), "{late:?}");
    }

    #[test]
    fn a_database_that_is_away_or_slow_is_tried_once_more_and_no_longer() {
        let slow = "canceling statement due to statement timeout".to_owned();
        for trouble in [Trouble::Away("refused".to_owned()), Trouble::of(DatabaseError::Cancelled(slow))] {
            assert_eq!(step(&trouble, FRESH), Step::Repeat);
            let again = step(&trouble, Progress { repeats: 1, ..FRESH });
            assert!(matches!(again, Step::GiveUp(CheckoutError::Unavailable(_))), "{again:?}");
        }
    }
}
