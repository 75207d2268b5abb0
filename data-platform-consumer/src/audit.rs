//! # Audit
//!
//! Whether the promise was kept at this end: every event of a range of time that the group has finished is in the table of the sink
//! `postgres` or is a dead letter, and the table has no event that no record carries. It only reads, and joins no group.
//!
//! Records and rows go on meanwhile, so the order of the looks decides what a finding is worth:
//!
//! 1. the ends of the topic, then what the group has committed;
//! 2. the dead letters, then the records up to the ends;
//! 3. the rows.
//!
//! A record below what was committed was delivered before, or parked before: its row or its dead letter is there when it is looked
//! for, so what is found in neither is missing, not late. A row whose record stands behind the ends has come since, and is no
//! stranger. What is not committed yet may be under way, and is told apart.
//!
//! Which record is of the window is told by the event's own time, not Kafka's, which may be days later.

pub mod comparison;
pub mod report;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use shared_messages::dead_letter::{
    DeadLetter, OriginalRecord, Resolution, ResolutionOutcome, is_resolution,
};
use shared_messages::topics::dead_letter_topic;
use tokio::task::{JoinError, spawn_blocking};

use crate::delivery::{Event, Record, RecordPosition};
use crate::operator::topic_reader::{Ends, ReadError, TopicReader};
use crate::settings::{KafkaSettings, Settings};
use crate::sink::postgres::{self, AuditedRowsError};
use comparison::{Comparison, Partition, Place, Window};
use report::Report;

/// A publisher's time and Kafka's may differ by as much: a time without a zone is read as UTC, and zones lie up to 14 hours apart.
const CLOCKS: Duration = Duration::from_hours(15);

/// What is audited, and how.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The time in which the events occurred.
    pub window: Window,
    /// How many findings of each kind are told.
    pub limit: usize,
    /// How long Kafka may say nothing.
    pub kafka_timeout: Duration,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A topic could not be read.
    #[error(transparent)]
    Kafka(#[from] ReadError),
    /// The table could not be read.
    #[error(transparent)]
    Table(#[from] AuditedRowsError),
    /// A thread of it has panicked, or the runtime stops.
    #[error("the reading of the topic has ended by itself: {0}")]
    Ended(#[from] JoinError),
}

/// Compares.
pub async fn run(settings: &Settings, plan: Plan) -> Result<Report, AuditError> {
    let kafka = settings.kafka.clone();
    let mut comparison = spawn_blocking(move || look_at_kafka(&kafka, plan)).await??;
    postgres::audited_rows(&settings.sink.postgres, plan.window, |row| comparison.row(row)).await?;
    Ok(comparison.report())
}

/// The first two looks. Blocks the thread.
fn look_at_kafka(kafka: &KafkaSettings, plan: Plan) -> Result<Comparison, ReadError> {
    let reader = TopicReader::connect(kafka, &kafka.topic, plan.kafka_timeout)?;
    let ends = reader.ends()?;
    let committed = reader.committed(ends.len())?;
    let with_positions = ends.iter().zip(committed);
    let partitions =
        with_positions.map(|(&Ends { low, high }, committed)| Partition { low, high, committed });
    let partitions = partitions.collect();
    let mut comparison = Comparison::new(&kafka.topic, plan.window, partitions, plan.limit);

    let since = plan.window.from.as_datetime().timestamp_millis();
    let since = since.saturating_sub(i64::try_from(CLOCKS.as_millis()).unwrap_or(i64::MAX));
    // A dead letter is written after its record.
    let dead_letters = TopicReader::connect(kafka, &dead_letter_topic(&kafka.topic), plan.kafka_timeout)?;
    if let Some(ends) = dead_letters.ends_if_there()? {
        let mut places = HashMap::new();
        dead_letters.read(since, &ends, |record| {
            fold(&record, kafka, &mut places);
            true
        })?;
        for place in places.into_values() {
            comparison.parked(place);
        }
    }
    let mut records = 0;
    reader.read(since, &ends, |record| {
        records += 1;
        tell(&mut comparison, record, plan.window);
        true
    })?;
    comparison.records_read(records);
    Ok(comparison)
}

fn tell(comparison: &mut Comparison, record: Record, window: Window) {
    let position = record.position();
    let place = Place { partition: position.partition, offset: position.offset };
    let written = record.timestamp();
    match Event::decode(Arc::new(record)) {
        Ok(event) => {
            if window.contains(event.message.occurred_at) {
                comparison.event(place, event.idempotency_key(), event.message.order_id);
            }
        }
        // Nobody knows when it occurred; Kafka knows when it came.
        Err(cause) => {
            if written.is_none_or(|written| window.contains_millis(written.millis)) {
                comparison.unreadable(place, cause.to_string());
            }
        }
    }
}

/// Takes note of a dead letter of this group, by where it lies, and of one that was replayed: that is in the table, or missing.
/// One that was discarded stays.
fn fold(record: &Record, kafka: &KafkaSettings, places: &mut HashMap<Place, Place>) {
    let RecordPosition { partition, offset, .. } = *record.position();
    if is_resolution(record.value(), record.headers()) {
        if let Ok(Resolution { outcome: ResolutionOutcome::Replayed, resolved_offset, .. }) =
            Resolution::from_pairs(record.headers())
        {
            places.remove(&Place { partition, offset: resolved_offset });
        }
        return;
    }
    let Ok(dead_letter) = DeadLetter::from_pairs(record.headers()) else { return };
    let is_ours = dead_letter.consumer_group.is_none_or(|group| group == kafka.group_id);
    if is_ours && dead_letter.original.topic == kafka.topic {
        let OriginalRecord { partition: of, offset: at, .. } = dead_letter.original;
        places.insert(Place { partition, offset }, Place { partition: of, offset: at });
    }
}
