//! # Admission
//!
//! Tells the refusals of a connection that no waiting cures from a server that is away or starting, by their
//! SQLSTATE, and says what to do.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

/// The server's words and what to do, when it will never let this user in as things are.
pub(super) fn refusal(error: &Error) -> Option<String> {
    let server = error.as_db_error()?;
    let cure = cure(server.code())?;
    Some(format!("{}: {cure}", server.message()))
}

fn cure(code: &SqlState) -> Option<&'static str> {
    Some(if *code == SqlState::INVALID_PASSWORD {
        "the user or the password of database.url is wrong, correct it"
    } else if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        "create the role (CREATE ROLE … LOGIN PASSWORD …), let it in by pg_hba.conf, or correct database.url"
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        "create the database (CREATE DATABASE …), or correct the last part of database.url"
    } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        "grant CONNECT on the database to this user, or correct database.url"
    } else {
        return None;
    })
}

#[cfg(test)]
mod tests {
    use super::cure;
    use tokio_postgres::error::SqlState;

    #[test]
    fn a_server_that_starts_stops_or_is_full_is_worth_waiting_for() {
        for code in [
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::ADMIN_SHUTDOWN,
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::CONNECTION_FAILURE,
        ] {
            assert_eq!(cure(&code), None, "{code:?}");
        }
        assert!(cure(&SqlState::INVALID_PASSWORD).is_some());
    }
}
