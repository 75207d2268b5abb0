//! # Admission
//!
//! Tells the refusals of a connection that no waiting cures from a server that is away or starting, by their
//! SQLSTATE, and says what to do.
//!
//! **A pooler is refused**, too. One that hands the server's sessions round between transactions (PgBouncer with
//! `pool_mode = transaction`) mixes up prepared statements: two instances have given the same name to different ones, and a
//! statement runs that nobody meant. And any that opens sessions of its own leaves out what a session promises, such as
//! `synchronous_commit`. Both are known by a mark that every session of ours asks the server to keep.

use diesel::ConnectionError;
use diesel::sql_types::{Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

/// What a session is started with, and shows as long as it is the one that was asked for.
pub(super) const MARK: &str = "-c order_service.session=direct";
const MARKED: &str = "direct";
const POOLER: &str = "a pooler such as PgBouncer stands between, and would mix up the sessions of this service, which keeps \
                      a pool of its own: name PostgreSQL itself in database.url";

/// Whether it is a session with PostgreSQL itself.
pub(super) async fn check_directness(session: &mut AsyncPgConnection) -> Result<(), ConnectionError> {
    let mark = diesel::dsl::sql::<Nullable<Text>>("current_setting('order_service.session', true)");
    let mark: Result<Option<String>, _> = diesel::select(mark).get_result(session).await;
    match mark {
        Ok(Some(mark)) if mark == MARKED => Ok(()),
        Ok(_) => Err(ConnectionError::InvalidConnectionUrl(POOLER.to_owned())),
        Err(error) => Err(ConnectionError::BadConnection(error.to_string())),
    }
}

/// The server's words and what to do, when it will never let this user in as things are.
pub(super) fn refusal(error: &Error) -> Option<String> {
    let server = error.as_db_error()?;
    if *server.code() == SqlState::PROTOCOL_VIOLATION && server.message().contains("startup parameter") {
        return Some(format!("{}: {POOLER}", server.message()));
    }
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
