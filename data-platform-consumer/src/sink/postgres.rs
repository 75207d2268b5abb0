//! # The sink `postgres`
//!
//! A table with a row for each event, known by its idempotency key, so that a repeat adds nothing: it is counted
//! (`deliveries`), and the row stays as it was. Whatever waits is written by one statement in one round trip, which is
//! prepared once for each session and commits durably by itself.
//!
//! It speaks the driver's language and not diesel's: what follows from an error hangs on its SQLSTATE ([`failure`]), which
//! diesel does not hand out, and there is one statement.
//!
//! The body is kept as the text that came, in a column of the type `json`: the database checks that it is JSON and can look into
//! it, and keeps what its `jsonb` could not hold, such as `\u0000`
//! (`a_body_that_jsonb_could_not_hold_is_kept_as_it_came`). A body that is no text in UTF-8 is rejected.
//!
//! Serving never creates the table: `data-platform-consumer sink prepare` does ([`prepare`]).

mod audited;
mod failure;
mod session;
mod settings;
mod table;
mod waiting;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use service_chassis::settings::DatabaseUrl;
use tokio_postgres::Config;

use super::batching::{BatchLimits, Batches, NotTaken, TakesBatches};
use super::{Delivery, DeliveryFailure, FailureKind, Sink, SinkRefused};
use crate::delivery::Event;
pub use audited::{AuditedRowsError, audited_rows};
use session::Session;
pub use settings::PostgresSinkSettings;
pub(super) use settings::broken_rule;
use table::Row;
pub use table::TABLE;
use waiting::Telling;

/// Between two attempts to reach a database that is away, by commands that wait for it.
const PAUSE: Duration = Duration::from_millis(500);

/// Writes events into a table.
pub struct PostgresSink {
    batches: Batches<Database>,
}

/// The sessions. No more are open than batches run at a time.
struct Database {
    config: Arc<Config>,
    connect_timeout: Duration,
    statement_timeout: Duration,
    idle: Mutex<Vec<Session>>,
}

impl PostgresSink {
    /// A sink with these settings. Nothing is connected yet.
    pub fn new(settings: &PostgresSinkSettings) -> Result<Self, SinkRefused> {
        let database = Database {
            config: Arc::new(session::config(settings)?),
            connect_timeout: settings.connect_timeout,
            statement_timeout: settings.statement_timeout,
            idle: Mutex::default(),
        };
        let limits = BatchLimits { events: settings.batch, batches: settings.connections };
        Ok(Self { batches: Batches::new(database, limits) })
    }
}

impl Sink for PostgresSink {
    fn deliver<'a>(&'a self, event: &'a Event) -> Delivery<'a> {
        Box::pin(async move { self.batches.deliver(Row::of(event)?).await })
    }
}

impl TakesBatches for Database {
    type Item = Row;

    fn key(row: &Row) -> &str {
        row.key()
    }

    async fn take(&self, batch: &[Row]) -> Result<(), NotTaken> {
        let kept = self.idle().pop();
        let session = match kept.filter(Session::is_open) {
            Some(session) => session,
            None => session::open(&self.config, self.connect_timeout).await.map_err(NotTaken::Whatever)?,
        };
        let written = session.write(batch, self.statement_timeout).await;
        // A session is as good as new after a row was refused. After anything else the next batch begins with a new one.
        let as_good_as_new = match &written {
            Ok(()) => true,
            Err(NotTaken::Whatever(failure) | NotTaken::OneOfThem(failure)) => {
                failure.kind() == FailureKind::Rejected
            }
        };
        if as_good_as_new {
            self.idle().push(session);
        }
        written
    }
}

impl Database {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        // Pushing and popping cannot panic half-way.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the table is not ready.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The URL cannot be used.
    #[error(transparent)]
    Settings(#[from] SinkRefused),
    /// The database was not there for as long as it is waited for.
    #[error(
        "gave up on {url} after {seconds} s (sink.postgres.wait_timeout): {cause}: start it, or correct sink.postgres.url"
    )]
    NoDatabase {
        /// Where it should be, without its password.
        url: DatabaseUrl,
        /// How long it was waited for.
        seconds: u64,
        /// Why it could not be reached at the last attempt.
        cause: DeliveryFailure,
    },
    /// It does not let us.
    #[error("the table {TABLE} cannot be prepared at {url}: {cause}")]
    Refused {
        /// Where the database is, without its password.
        url: DatabaseUrl,
        /// Why not, and what to do.
        cause: DeliveryFailure,
    },
}

/// Creates the table and its index if they are not there, and sees whether the sink can write to what is there. Waits for
/// a database that is away as long as `sink.postgres.wait_timeout`.
pub async fn prepare(settings: &PostgresSinkSettings) -> Result<(), PrepareError> {
    let config = session::config(settings)?;
    let url = || settings.url.clone();
    let (begin, mut telling) = (Instant::now(), Telling::default());
    loop {
        match session::prepare_table(&config, settings.connect_timeout, settings.statement_timeout).await {
            Ok(()) => return Ok(()),
            Err(cause) if cause.kind() != FailureKind::Unavailable => {
                return Err(PrepareError::Refused { url: url(), cause });
            }
            Err(cause) => {
                let seconds = begin.elapsed().as_secs();
                if begin.elapsed() >= settings.wait_timeout {
                    return Err(PrepareError::NoDatabase { url: url(), seconds, cause });
                }
                if telling.is_due(&cause.to_string(), Instant::now()) {
                    tracing::warn!(
                        "waiting for the database at {}, {seconds} s so far: {cause}",
                        settings.url
                    );
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
