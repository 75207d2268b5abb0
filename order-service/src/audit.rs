//! # Audit
//!
//! Whether the promise was kept: every order of a range of time has its event in the topic, and the topic has no event
//! without an order. It only reads, and joins no consumer group.
//!
//! Orders and events go on meanwhile, so the order of the looks decides what a finding is worth:
//!
//! 1. the orders of the window, then the rows that wait ([`look_at_database`]);
//! 2. the ends of the topic, and the records up to them ([`DatabaseLook::compare_with_topic`]).
//!
//! The row of an order that was seen is there too, unless it was deleted, and it is deleted only after its record was
//! acknowledged. So who waits nowhere in the first look has a record below the ends of the second: what is not found
//! there either is missing, not late. A record whose order was not seen may have been committed since, so its order is
//! looked up before it counts as unexpected: an event follows its order.
//!
//! Which record is of the window is told by the event's own time, not Kafka's, which may be days later. It reads on to the
//! end of the topic, however long ago the window is, since an event may be published at any time after its order.

pub mod comparison;
pub mod content;
pub mod record;
pub mod report;
pub mod retention;

use crate::kafka::topic_admin::TopicAdmin;
use crate::kafka::topic_reader::{ReadError, TopicReader};
use crate::settings::{KafkaSettings, Retention, Settings};
use crate::storage::Session;
use crate::storage::audited_orders;
use crate::storage::database::{Database, within_longest_read};
use crate::storage::error::DatabaseError;
use chrono::{DateTime, TimeDelta, Utc};
use comparison::{Comparison, Window};
use record::Seen;
use report::Report;
use retention::{Bounds, Partition};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{JoinError, spawn_blocking};
use tracing::warn;

/// The clocks of the instances and of the brokers may differ by as much.
const CLOCKS: TimeDelta = TimeDelta::minutes(10);
/// Records that are handed over together, and strangers that are looked up together.
const CHUNK: usize = 1000;
/// Chunks that may wait to be compared.
const CHUNKS: usize = 4;
/// How long the topic's own retention is asked for: some brokers do not know the question.
const LONGEST_QUESTION: Duration = Duration::from_secs(5);

/// What is audited, and how.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The time in which the orders were completed.
    pub window: Window,
    /// How many findings of each kind are told.
    pub limit: usize,
    /// How long Kafka may say nothing.
    pub kafka_timeout: Duration,
}

/// Why there is no report.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The database could not be read.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The topic could not be read.
    #[error(transparent)]
    Kafka(#[from] ReadError),
    /// A thread of it has panicked, or the runtime stops.
    #[error("the reading of the topic has ended by itself: {0}")]
    Ended(#[from] JoinError),
}

/// Compares.
///
/// # Errors
/// [`AuditError`].
pub async fn run(settings: &Settings, plan: Plan) -> Result<Report, AuditError> {
    let database = Database::new(&settings.database)?;
    let look = look_at_database(&database, plan).await?;
    look.compare_with_topic(&settings.kafka, settings.topics.retention).await
}

/// What the database held, before the topic was looked at.
pub struct DatabaseLook {
    plan: Plan,
    at: DateTime<Utc>,
    session: Session,
    comparison: Comparison,
}

/// The first look: the orders of the window, and then which of their events wait.
///
/// # Errors
/// [`DatabaseError`].
pub async fn look_at_database(database: &Database, plan: Plan) -> Result<DatabaseLook, DatabaseError> {
    let at = Utc::now();
    let mut session = database.reading_session().await?;
    let orders = within_longest_read(audited_orders::completed_within(&mut session, plan.window)).await?;
    let mut comparison = Comparison::new(plan.window, orders, plan.limit);
    let tell = |order_id, event_id, waits| comparison.waits(order_id, event_id, waits);
    within_longest_read(audited_orders::waiting(&mut session, tell)).await?;
    Ok(DatabaseLook { plan, at, session, comparison })
}

impl DatabaseLook {
    /// The second look, and the verdict. `promised` is for how long the topic shall keep its records.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn compare_with_topic(
        mut self,
        kafka: &KafkaSettings,
        promised: Retention,
    ) -> Result<Report, AuditError> {
        let reader = Arc::new(TopicReader::connect(kafka, self.plan.kafka_timeout)?);
        let since = self.plan.window.from.checked_sub_signed(CLOCKS).unwrap_or(self.plan.window.from);
        let (chunks, received) = channel(CHUNKS);
        let for_reading = reader.clone();
        let reading = spawn_blocking(move || read(&for_reading, since, &chunks));
        self.compare(received).await?;
        reading.await??;
        let for_retention = reader.clone();
        let partitions = spawn_blocking(move || for_retention.partitions()).await??;
        // Its end waits for threads of librdkafka.
        drop(spawn_blocking(move || drop(reader)));
        let bounds = self.bounds(kafka, promised, &partitions).await;
        Ok(self.comparison.report(&retention::kept(&partitions, bounds, self.at)))
    }

    /// Kafka is asked for the topic's own retention only where that matters. Without an answer the audit goes on, and says
    /// what it takes for granted.
    async fn bounds(&self, kafka: &KafkaSettings, promised: Retention, partitions: &[Partition]) -> Bounds {
        let unknown = Bounds { promised, kept_by_time: None };
        if partitions.iter().all(|partition| partition.low <= 0) {
            return unknown;
        }
        let limit = self.plan.kafka_timeout.min(LONGEST_QUESTION);
        let answer = match TopicAdmin::connect(kafka) {
            Ok(admin) => admin.properties(&kafka.topic, limit).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match answer {
            Ok(properties) => Bounds::of_topic(promised, &properties),
            Err(cause) => {
                warn!(
                    "the retention of topic {} is not known ({cause}): what is older than a partition's oldest record \
                     counts as beyond retention, although somebody may have deleted it",
                    kafka.topic
                );
                unknown
            }
        }
    }

    async fn compare(&mut self, mut chunks: Receiver<Vec<Seen>>) -> Result<(), DatabaseError> {
        while let Some(chunk) = chunks.recv().await {
            for seen in chunk {
                self.comparison.record(seen);
            }
            if self.comparison.strangers_waiting() >= CHUNK {
                self.look_up_strangers().await?;
            }
        }
        self.look_up_strangers().await
    }

    async fn look_up_strangers(&mut self) -> Result<(), DatabaseError> {
        let strangers = self.comparison.strangers();
        let ids: Vec<i64> = strangers.iter().map(|(_, event)| event.order_id).collect();
        let stored = within_longest_read(audited_orders::event_ids(&mut self.session, &ids)).await?;
        self.comparison.introduce(strangers, &stored);
        Ok(())
    }
}

/// Blocks the thread; ends early when nobody receives any more.
fn read(reader: &TopicReader, since: DateTime<Utc>, chunks: &Sender<Vec<Seen>>) -> Result<(), ReadError> {
    let ends = reader.ends()?;
    let mut chunk = Vec::with_capacity(CHUNK);
    reader.read(since.timestamp_millis(), &ends, |raw| {
        chunk.push(Seen::of(raw));
        chunk.len() < CHUNK || chunks.blocking_send(std::mem::take(&mut chunk)).is_ok()
    })?;
    // Whoever does not receive has failed, and says so himself.
    chunks.blocking_send(chunk).ok();
    Ok(())
}
