//! # Storage
//!
//! The only place that speaks diesel. A file per table holds its queries: functions that take a connection
//! and have no policy. [`transaction_completion`] is the heart of the service: work, outbox rows, COMMIT, and
//! then, and only then, the callbacks.

mod admission;
pub mod audited_orders;
pub mod coupons;
pub mod database;
pub mod error;
pub mod held_rows;
mod metrics;
pub mod migrations;
pub mod orders;
pub mod outbox;
pub mod outbox_size;
pub mod outbox_status;
mod pool_share;
pub mod products;
pub mod quarantine;
pub mod relay_lease;
pub mod schema;
pub mod stock;
pub mod transaction_completion;

/// A session with PostgreSQL. Its queries are pipelined when they are polled together.
pub type Session = diesel_async::AsyncPgConnection;

/// A query fragment of one fixed text is prepared once per session (diesel prepares `sql_query` and inserts of a `Vec` again
/// with every call); this names the prepared statement by its type, so that texts need not be compared.
macro_rules! prepared_once {
    ($name:ident<'_>) => {
        impl diesel::query_builder::QueryId for $name<'_> {
            type QueryId = $name<'static>;

            const HAS_STATIC_QUERY_ID: bool = true;
        }
    };
}
pub(crate) use prepared_once;
