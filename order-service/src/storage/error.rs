//! # Database errors
//!
//! Split by what the caller will do: wait and try again, look again, or give up.

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use thiserror::Error;

/// Why the database did not do what it was asked. Before a COMMIT was sent, none of these leaves a trace.
#[derive(Debug, Error)]
pub enum DatabaseError {
    /// There is no connection, it was lost, or the server is starting or stopping. Trying later may help.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// It answers, but does not let us in: the user, the password or the database is wrong. Only a person can help.
    #[error("the database does not let us in: {0}")]
    NotAdmitted(String),
    /// The connection was lost while a change was on its way: it may have been applied.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
    /// A row is locked by somebody else, for longer than the lock time-out.
    #[error("a row is locked: {0}")]
    Locked(String),
    /// A deadlock was resolved against a statement, or it could not be serialised. Trying again helps.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// A statement took longer than it may, or somebody cancelled it. Trying again may take as long.
    #[error("a statement was cancelled: {0}")]
    Cancelled(String),
    /// A unique constraint: somebody else was first.
    #[error("unique constraint {constraint} is violated")]
    Duplicate {
        /// The constraint's name, empty when the server did not tell.
        constraint: String,
    },
    /// Anything else: a defect here or in the data.
    #[error("the database refused a statement: {0}")]
    Refused(String),
}

/// The server's own words for it; diesel does not hand out the SQLSTATE. PostgreSQL translates them under another
/// `lc_messages`, so a session asks for English (`super::admission`); where it may not, such an error is taken for `Refused`, and
/// answered as a failure.
const UNAVAILABLE: [&str; 5] = [
    "terminating connection",
    "the database system is",
    "server closed the connection",
    "sorry, too many clients",
    "remaining connection slots",
];
const LOCKED: [&str; 2] = ["due to lock timeout", "could not obtain lock"];
const BUSY: [&str; 1] = ["deadlock detected"];
const CANCELLED: [&str; 1] = ["canceling statement due to"];

impl From<DieselError> for DatabaseError {
    fn from(error: DieselError) -> Self {
        let DieselError::DatabaseError(kind, information) = &error else {
            return Self::Refused(error.to_string());
        };
        let message = information.message().to_owned();
        if matches!(kind, DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand) {
            Self::Unavailable(message)
        } else if matches!(kind, DatabaseErrorKind::ReadOnlyTransaction) {
            // A standby: the one that is primary now, or will be, is elsewhere.
            Self::Unavailable(message)
        } else if matches!(kind, DatabaseErrorKind::UniqueViolation) {
            let constraint = information.constraint_name().unwrap_or_default().to_owned();
            Self::Duplicate { constraint }
        } else if matches!(kind, DatabaseErrorKind::SerializationFailure) {
            Self::Busy(message)
        } else {
            Self::of_message(message)
        }
    }
}

impl DatabaseError {
    /// The error of a change outside of a transaction: when the connection was lost, it may have been applied.
    pub(super) fn of_change(error: DieselError) -> Self {
        match Self::from(error) {
            Self::Unavailable(cause) => Self::OutcomeUnknown(cause),
            known @ (Self::NotAdmitted(_)
            | Self::OutcomeUnknown(_)
            | Self::Locked(_)
            | Self::Busy(_)
            | Self::Cancelled(_)
            | Self::Duplicate { .. }
            | Self::Refused(_)) => known,
        }
    }

    fn of_message(message: String) -> Self {
        if says_one_of(&message, &UNAVAILABLE) {
            Self::Unavailable(message)
        } else if says_one_of(&message, &LOCKED) {
            Self::Locked(message)
        } else if says_one_of(&message, &BUSY) {
            Self::Busy(message)
        } else if says_one_of(&message, &CANCELLED) {
            Self::Cancelled(message)
        } else {
            Self::Refused(message)
        }
    }
}

fn says_one_of(message: &str, phrases: &[&str]) -> bool {
    phrases.iter().any(|phrase| message.contains(phrase))
}

/// Whether an error of COMMIT proves that the transaction was rolled back. Only the constraint checks that run
/// inside COMMIT do; after anything else (a lost connection, a FATAL) it may have been applied.
pub(super) fn proves_rollback(error: &DieselError) -> bool {
    matches!(
        error,
        DieselError::DatabaseError(
            DatabaseErrorKind::UniqueViolation
                | DatabaseErrorKind::ForeignKeyViolation
                | DatabaseErrorKind::SerializationFailure
                | DatabaseErrorKind::NotNullViolation
                | DatabaseErrorKind::CheckViolation
                | DatabaseErrorKind::RestrictViolation
                | DatabaseErrorKind::ExclusionViolation,
            _
        )
    )
}
