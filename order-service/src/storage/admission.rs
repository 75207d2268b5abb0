//! # Admission
//!
//! Tells the refusals of a connection that no waiting cures from a server that is away or starting, by their
//! SQLSTATE, and says what to do.
//!
//! **A pooler is refused**, too. One that hands the server's sessions round between transactions (PgBouncer with
//! `pool_mode = transaction`) mixes up prepared statements: two instances have given the same name to different ones, and a
//! statement runs that nobody meant. And any that opens sessions of its own leaves out what a session promises, such as
//! `synchronous_commit`. Both are known by a mark that every session of ours asks the server to keep.
//!
//! **It must speak English.** diesel hands out no SQLSTATE, so some errors are known by the server's words, which it translates
//! under another `lc_messages`.

use diesel::ConnectionError;
use diesel::sql_types::{Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;
use tracing::error;

/// What a session is started with, and shows as long as it is the one that was asked for.
pub(super) const MARK: &str = "-c order_service.session=direct";
const MARKED: &str = "direct";
const POOLER: &str = "a pooler such as PgBouncer stands between, and would mix up the sessions of this service, which keeps \
                      a pool of its own: name PostgreSQL itself in database.url";

/// Whether it is a session with PostgreSQL itself, whose words are understood.
pub(super) async fn admit(session: &mut AsyncPgConnection) -> Result<(), ConnectionError> {
    let mark = diesel::dsl::sql::<Nullable<Text>>("current_setting('order_service.session', true)");
    let language = diesel::dsl::sql::<Text>("current_setting('lc_messages')");
    let shown: Result<(Option<String>, String), _> =
        diesel::select((mark, language)).get_result(session).await;
    match shown {
        Ok((Some(mark), language)) if mark == MARKED => {
            agree_on_language(session, &language).await;
            Ok(())
        }
        Ok(_) => Err(ConnectionError::InvalidConnectionUrl(POOLER.to_owned())),
        Err(error) => Err(ConnectionError::BadConnection(error.to_string())),
    }
}

/// Has the server speak English on this session, which a superuser may ask for by himself. Without it the service serves,
/// but takes a locked row for a defect; that is told once.
async fn agree_on_language(session: &mut AsyncPgConnection, language: &str) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if is_english(language) {
        return;
    }
    let refused = diesel::sql_query("SET lc_messages = 'C'").execute(session).await.err();
    if let Some(refused) = refused.filter(|_| !TOLD.swap(true, Ordering::Relaxed)) {
        error!(
            "PostgreSQL tells its errors in {language:?}, so lock time-outs, deadlocks and statement time-outs are not \
             recognised and end as failures: let a superuser run ALTER ROLE … SET lc_messages = 'C' for the user of \
             database.url, and start the service again ({refused})"
        );
    }
}

/// Whether messages under this `lc_messages` are those that [`super::error`] knows. An empty one is the choice of the
/// server's environment, which may be anything.
fn is_english(lc_messages: &str) -> bool {
    let language = lc_messages.split(['_', '.', '@', '-', ' ']).next().unwrap_or_default();
    ["c", "posix", "en", "english"].iter().any(|english| language.eq_ignore_ascii_case(english))
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
        "create the role (CREATE ROLE … LOGIN PASSWORD …), let it in by pg_hba.conf (without TLS, which this service does not speak to \
         PostgreSQL), or correct database.url"
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
    use super::{cure, is_english};
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

    #[test]
    fn only_words_that_are_known_are_left_as_they_are() {
        for english in ["C", "C.UTF-8", "POSIX", "en_US.UTF-8", "en_GB", "en", "English_United States.1252"] {
            assert!(is_english(english), "{english}");
        }
        for other in ["", "de_DE.UTF-8", "ko_KR.utf8", "German_Germany.1252", "es_EC", "cs_CZ", "Catalan"] {
            assert!(!is_english(other), "{other}");
        }
    }
}
