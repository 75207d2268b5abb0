//! # What an error of PostgreSQL means
//!
//! By its SQLSTATE, which is the same in every language of the server:
//!
//! | SQLSTATE | means |
//! |---|---|
//! | 22 data, 23 constraints (but for 23502), 54 limits, P0 a trigger's refusal | rejected: this event, found among its neighbours |
//! | 08 connection, 53 resources, 57 stopping or cancelled, 40 conflict, 55 lock, 25006 standby, 58 and XX the server's own | unavailable |
//! | 23502 a column that somebody has added, 23514 without a constraint's name (no partition for the row); 42P01 no table, 42 and 0A a table of another shape, 3F, 28, 3D, 42501 | misconfigured, with what to do |
//! | any other | misconfigured: it loses nothing, and a person looks |

use std::error::Error as _;

use service_chassis::exit;
use service_chassis::visible::visible;
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use super::NotTaken;
use crate::sink::DeliveryFailure;

pub(super) const POOLER: &str = "a pooler such as PgBouncer stands between, and would mix up prepared statements: name PostgreSQL \
                                 itself in sink.postgres.url";

/// What follows from it for a batch.
pub(super) fn of(error: &Error) -> NotTaken {
    if let Some(told) = error.as_db_error() {
        return of_server(told);
    }
    let text = exit::sentence(error);
    NotTaken::Whatever(
        if error.is_closed() || error.source().is_some_and(<dyn std::error::Error>::is::<std::io::Error>) {
            DeliveryFailure::unavailable(format!("the database cannot be reached: {text}"))
        } else {
            DeliveryFailure::misconfigured(format!(
                "the database cannot be used: {text} (see sink.postgres.url)"
            ))
        },
    )
}

fn of_server(told: &DbError) -> NotTaken {
    // What it knows of the values (DETAIL) is not told on: it may quote the order.
    let text = format!("{} (SQLSTATE {})", visible(told.message()), told.code().code());
    match meaning(told) {
        Meaning::Rejected => NotTaken::OneOfThem(DeliveryFailure::rejected(text)),
        Meaning::Unavailable => NotTaken::Whatever(DeliveryFailure::unavailable(text)),
        Meaning::Misconfigured(cure) => {
            NotTaken::Whatever(DeliveryFailure::misconfigured(format!("{text}: {cure}")))
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Rejected,
    Unavailable,
    Misconfigured(&'static str),
}

fn meaning(told: &DbError) -> Meaning {
    if *told.code() == SqlState::PROTOCOL_VIOLATION && told.message().contains("startup parameter") {
        return Meaning::Misconfigured(POOLER);
    }
    // Unlike a check's, this refusal names no constraint: the table is partitioned, and none of its parts takes the row.
    if *told.code() == SqlState::CHECK_VIOLATION && told.constraint().is_none() {
        return Meaning::Misconfigured(
            "order_completed_events is partitioned and no partition takes this row: create it",
        );
    }
    of_code(told.code())
}

fn of_code(code: &SqlState) -> Meaning {
    let cure = match code.code() {
        "42P01" => {
            "run `data-platform-consumer sink prepare`, or correct the search_path of sink.postgres.url"
        }
        "42501" => {
            "grant this user INSERT, SELECT and UPDATE on order_completed_events, or correct sink.postgres.url"
        }
        "28P01" => "the user or the password of sink.postgres.url is wrong, correct it",
        "3D000" => "create the database (CREATE DATABASE …), or correct the last part of sink.postgres.url",
        "3F000" => "create the schema (CREATE SCHEMA …), or correct the search_path of sink.postgres.url",
        // All of its own columns that need a value have one, so it is one that somebody has added.
        "23502" => "give the column that was added to order_completed_events a default, or let it be NULL",
        "25006" => return Meaning::Unavailable,
        other => match other.get(..2).unwrap_or_default() {
            "22" | "23" | "54" | "P0" => return Meaning::Rejected,
            "08" | "40" | "53" | "55" | "57" | "58" | "XX" => return Meaning::Unavailable,
            "28" => {
                "create the role (CREATE ROLE … LOGIN PASSWORD …), let it in by pg_hba.conf, or correct sink.postgres.url"
            }
            "0A" | "42" => {
                "order_completed_events is of another shape than this version needs: rename it, and run \
                            `data-platform-consumer sink prepare`"
            }
            _ => "see the log of PostgreSQL",
        },
    };
    Meaning::Misconfigured(cure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_means_what_the_table_says() {
        for code in ["22P02", "22021", "22P05", "23503", "23505", "23514", "54001", "P0001"] {
            assert_eq!(of_code(&SqlState::from_code(code)), Meaning::Rejected, "{code}");
        }
        for code in [
            "08006", "53100", "53300", "57P01", "57P03", "57014", "40P01", "55P03", "25006", "58030", "XX000",
        ] {
            assert_eq!(of_code(&SqlState::from_code(code)), Meaning::Unavailable, "{code}");
        }
        for (code, cure) in [
            ("23502", "a default"),
            ("42P01", "sink prepare"),
            ("42703", "sink prepare"),
            ("42P10", "sink prepare"),
            ("42501", "grant"),
            ("28P01", "password"),
            ("28000", "CREATE ROLE"),
            ("3D000", "CREATE DATABASE"),
            ("3F000", "CREATE SCHEMA"),
            ("99999", "log"),
        ] {
            let Meaning::Misconfigured(told) = of_code(&SqlState::from_code(code)) else { panic!("{code}") };
            assert!(told.contains(cure), "{code}: {told}");
        }
    }
}
