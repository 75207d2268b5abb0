//! # Outbox commands
//!
//! `order-service outbox status` shows what waits and who publishes; `order-service outbox quarantine` lists, releases and
//! discards what Kafka refuses for good. They need the database only.

use crate::storage::Session;
use crate::storage::database::{Database, within_longest_read};
use crate::storage::error::DatabaseError;
use crate::storage::outbox_status::{self, OutboxStatus};
use crate::storage::quarantine::{self, QuarantinedRow, Selection};
use clap::{Args, Subcommand};
use serde::Serialize;
use service_chassis::command_line::unless_closed;
use std::io::{self, Write};
use thiserror::Error;

/// What to do with the outbox.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum OutboxCommand {
    /// Show what waits to be published, and which instance publishes
    Status(Form),
    /// Events that Kafka refuses for good
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
}

/// What to do with the quarantine.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum QuarantineCommand {
    /// List its rows: which event, since when, and why
    List {
        #[command(flatten)]
        form: Form,
        /// List at most so many
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(i64).range(1..))]
        limit: i64,
    },
    /// Put rows back into the outbox, to be published in the order of their key; what is still refused comes back
    Release(Keys),
    /// Delete rows: their events are never published. Says what it would do, and does it only with --yes
    Discard {
        #[command(flatten)]
        which: Which,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
}

/// How it is shown.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Form {
    /// As JSON, for a program to read
    #[arg(long)]
    json: bool,
}

/// Rows of which keys are meant.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct Keys {
    /// All rows of this key
    #[arg(long)]
    key: Option<String>,
    /// Every row
    #[arg(long)]
    all: bool,
}

/// Which rows are meant.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// All rows of this key
    #[arg(long)]
    key: Option<String>,
    /// One row; those of its key that are left stay, until they are released
    #[arg(long)]
    seq: Option<i64>,
    /// Every row
    #[arg(long)]
    all: bool,
}

/// Why an outbox command failed.
#[derive(Debug, Error)]
pub(super) enum OutboxCommandError {
    /// The database.
    #[error("{0}; nothing is known to have changed")]
    Database(#[from] DatabaseError),
    /// A release that stopped in the middle.
    #[error(
        "{released} rows are known to be released, and not the others: {cause}; do it again for what is left"
    )]
    Released {
        /// So many were, before.
        released: usize,
        /// Why it stopped.
        cause: DatabaseError,
    },
    /// Nothing is selected.
    #[error("no row in quarantine is meant by that; see `order-service outbox quarantine list`")]
    NothingSelected,
    /// Standard output.
    #[error("the answer cannot be written")]
    Write(#[from] io::Error),
    /// It has no JSON form.
    #[error("the answer has no JSON form")]
    Json(#[from] serde_json::Error),
}

impl Keys {
    fn selection(self) -> Selection {
        self.key.map_or(Selection::All, Selection::Key)
    }
}

impl Which {
    fn selection(self) -> Selection {
        match (self.key, self.seq) {
            (Some(key), _) => Selection::Key(key),
            (None, Some(seq)) => Selection::Seq(seq),
            (None, None) => Selection::All,
        }
    }
}

/// Does it, and writes the answer to standard output.
pub(super) async fn run(command: OutboxCommand, database: &Database) -> Result<(), OutboxCommandError> {
    let mut session = database.session().await?;
    match command {
        OutboxCommand::Status(form) => {
            // It counts what waits, which may take longer than a statement of others may.
            let session = database.reading_session().await?;
            let status = within_longest_read(outbox_status::read(&session)).await?;
            if form.json { json(&status) } else { write(&status_lines(&status)) }
        }
        OutboxCommand::Quarantine(QuarantineCommand::List { form, limit }) => {
            let rows = quarantine::list(&session, &Selection::All, limit.saturating_add(1));
            let rows = database.within_limit(rows).await?;
            show(Listed::of(rows, limit), form)
        }
        OutboxCommand::Quarantine(QuarantineCommand::Release(keys)) => {
            let released = release(database, &mut session, &keys.selection()).await?;
            done(released, "released: the instance that publishes will send them, in the order of their keys")
        }
        OutboxCommand::Quarantine(QuarantineCommand::Discard { which, yes }) => {
            discard(database, &session, &which.selection(), yes).await
        }
    }
}

/// What `list` shows, and whether there is more.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    rows: Vec<QuarantinedRow>,
    is_cut_off: bool,
}

impl Listed {
    /// Of one row more than the limit, if there is one.
    fn of(mut rows: Vec<QuarantinedRow>, limit: i64) -> Self {
        let before = rows.len();
        rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Self { is_cut_off: rows.len() < before, rows }
    }
}

fn show(listed: Listed, form: Form) -> Result<(), OutboxCommandError> {
    if form.json {
        return json(&listed);
    }
    let Listed { rows, is_cut_off } = listed;
    if rows.is_empty() {
        return write(&["nothing is in quarantine".to_owned()]);
    }
    let mut lines = row_lines(&rows);
    if is_cut_off {
        lines.push(format!("there are more: these are the first {}; see --limit", rows.len()));
    }
    write(&lines)
}

/// In transactions of a bounded size: orders wait for none of them, and the relay for none for long.
async fn release(
    database: &Database,
    session: &mut Session,
    selection: &Selection,
) -> Result<usize, OutboxCommandError> {
    let (mut released, mut above) = (0, i64::MIN);
    loop {
        let batch = database.change_within_limit(quarantine::release(session, selection, above)).await;
        let batch = batch.map_err(|cause| OutboxCommandError::Released { released, cause })?;
        released += batch.len();
        if batch.len() < quarantine::RELEASED_AT_ONCE {
            return Ok(released);
        }
        above = batch.into_iter().max().unwrap_or(above);
    }
}

async fn discard(
    database: &Database,
    session: &Session,
    selection: &Selection,
    yes: bool,
) -> Result<(), OutboxCommandError> {
    let rows = if yes {
        database.change_within_limit(quarantine::discard(session, selection)).await?
    } else {
        database.within_limit(quarantine::list(session, selection, i64::MAX)).await?
    };
    if rows.is_empty() {
        return Err(OutboxCommandError::NothingSelected);
    }
    write(&row_lines(&rows))?;
    done(
        rows.len(),
        if yes {
            "discarded: their events are never published"
        } else {
            "would be discarded, and their events never be published; say --yes to do it"
        },
    )
}

fn done(rows: usize, what: &str) -> Result<(), OutboxCommandError> {
    if rows == 0 {
        return Err(OutboxCommandError::NothingSelected);
    }
    write(&[format!("{rows} rows {what}")])
}

fn status_lines(status: &OutboxStatus) -> Vec<String> {
    let seconds = |seconds: Option<f64>| seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.1} s"));
    let holder = status.holder.as_deref().unwrap_or("no instance");
    vec![
        format!(
            "pending       {:>12}  events that are committed and not known to be in Kafka",
            status.pending
        ),
        format!("oldest        {:>12}  waits", seconds(status.oldest_seconds)),
        format!("bytes         {:>12}  of payload that waits", status.pending_bytes),
        format!(
            "disk          {:>12}  bytes that it takes of the database's disk",
            status.pending_disk_bytes
        ),
        format!("table         {:>12}  bytes of the table and its index", status.table_bytes),
        format!("dead rows     {:>12}  that vacuum has still to remove, by its statistics", status.dead_rows),
        format!("publishing    {:>12}  left of its lease: {holder}", seconds(status.lease_seconds)),
        format!("scan floor    {:>12}  of {} drawn", status.scan_floor, status.reached),
        format!("quarantine    {:>12}  rows of {} keys", status.quarantined, status.quarantined_keys),
    ]
}

fn row_lines(rows: &[QuarantinedRow]) -> Vec<String> {
    let head = format!("{:>10}  {:<12} {:<36} {:>9}  {:<20} cause", "seq", "key", "event", "bytes", "since");
    let line = |row: &QuarantinedRow| {
        let since = row.quarantined_at.format("%Y-%m-%dT%H:%M:%SZ");
        let cause = row.cause.as_deref().unwrap_or("follows an earlier row of its key");
        let QuarantinedRow { seq, key, event_id, bytes, .. } = row;
        format!("{seq:>10}  {key:<12} {event_id:<36} {bytes:>9}  {since:<20} {cause}")
    };
    std::iter::once(head).chain(rows.iter().map(line)).collect()
}

fn json(answer: &impl Serialize) -> Result<(), OutboxCommandError> {
    write(&[serde_json::to_string_pretty(answer)?])
}

fn write(lines: &[String]) -> Result<(), OutboxCommandError> {
    let mut out = io::stdout().lock();
    let written = lines.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
    Ok(unless_closed(written)?)
}
