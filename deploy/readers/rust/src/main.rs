//! # A reader of `order-completed`, to copy from
//!
//! It keeps the revenue of each day in a table of its own, and counts each order once, however often Kafka delivers its
//! event and whenever this process dies (`tests/readers` tries both). Three things make it so:
//!
//! - the event id is unique, and inserted in the same transaction as the effect: a repeat inserts nothing;
//! - the position is committed to Kafka only after the database's COMMIT: a crash in between repeats, and never skips;
//! - whatever goes wrong ends the process with an error, and whoever runs it starts it again. A record that cannot be
//!   read ends it every time: it is an order, so a person has to look.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example without a crate for logs")]

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use shared_messages::OrderCompletedMessage;
use shared_messages::headers::EventHeaders;
use tokio::signal::unix::{SignalKind, signal};
use tokio_postgres::NoTls;

/// What a service of yours has in its migrations.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS handled_event
        (event_id text PRIMARY KEY, handled_at timestamptz NOT NULL DEFAULT now());
    CREATE TABLE IF NOT EXISTS revenue_by_day
        (day date PRIMARY KEY, orders bigint NOT NULL, paid_amount bigint NOT NULL);";

/// The unique key makes the second of two instances wait here until the first has committed.
const REMEMBER: &str = "INSERT INTO handled_event (event_id) VALUES ($1) ON CONFLICT (event_id) DO NOTHING";

/// The effect: a sum, because a sum shows at once when an event counts twice.
const COUNT: &str = "
    INSERT INTO revenue_by_day AS r (day, orders, paid_amount) VALUES ($1::text::date, 1, $2)
    ON CONFLICT (day) DO UPDATE
    SET orders = r.orders + 1, paid_amount = r.paid_amount + EXCLUDED.paid_amount";

/// Keeps the revenue of each day from the topic of completed orders.
#[derive(Parser)]
struct Settings {
    /// Where to find Kafka: HOST:PORT, several separated by commas
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", default_value = "localhost:9092")]
    bootstrap_servers: String,
    /// The topic of completed orders
    #[arg(long, env = "KAFKA_TOPIC", default_value = shared_messages::topics::ORDER_COMPLETED)]
    topic: String,
    /// A group of your own: with another team's you would take its records
    #[arg(long, env = "KAFKA_GROUP_ID", default_value = "order-reader")]
    group_id: String,
    /// Anything else for librdkafka, such as security.protocol=ssl; may be repeated
    #[arg(long = "kafka", value_name = "NAME=VALUE")]
    properties: Vec<String>,
    /// The database that keeps the revenue: `postgres://USER:PASSWORD@HOST:PORT/NAME`
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// How often the position is committed; a crash repeats what was handled since
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1_000)]
    commit_interval: u64,
}

/// Why the reader ends; what it has not committed is read again when it is started the next time.
#[derive(Debug, thiserror::Error)]
enum ReaderError {
    #[error("the Kafka client cannot go on")]
    Kafka(#[from] KafkaError),
    #[error("the database does not do what is wanted (is DATABASE_URL right?)")]
    Database(#[from] tokio_postgres::Error),
    #[error("signals cannot be heard")]
    Signals(#[from] std::io::Error),
    #[error(
        "topic {topic}, partition {partition}, offset {offset} cannot be read, and is not skipped: {cause}"
    )]
    Unreadable { topic: String, partition: i32, offset: i64, cause: String },
}

#[tokio::main(worker_threads = 1)]
async fn main() -> ExitCode {
    let Err(error) = run(Settings::parse()).await else { return ExitCode::SUCCESS };
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(deeper) = cause {
        eprintln!("  because: {deeper}");
        cause = deeper.source();
    }
    ExitCode::FAILURE
}

async fn run(settings: Settings) -> Result<(), ReaderError> {
    let stopping = stop_signal()?;
    // Use TLS wherever the database is on another machine.
    let (mut database, connection) = tokio_postgres::connect(&settings.database_url, NoTls).await?;
    tokio::spawn(connection);
    database.batch_execute(TABLES).await?;

    let mut config = ClientConfig::new();
    for property in &settings.properties {
        let (name, value) = property.split_once('=').unwrap_or((property, ""));
        config.set(name, value);
    }
    let consumer: BaseConsumer = config
        .set("bootstrap.servers", &settings.bootstrap_servers)
        .set("group.id", &settings.group_id)
        // A new group begins with the first order, not with whatever comes next.
        .set("auto.offset.reset", "earliest")
        // The position moves when we say so: after the work.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .create()?;
    consumer.subscribe(&[&settings.topic])?;

    let (mut committed_at, mut last_error) = (Instant::now(), None);
    while !stopping.load(Ordering::Relaxed) {
        // It blocks this thread, which is none of the runtime's workers. Polling also keeps us in the group: handle a
        // record in less than max.poll.interval.ms (5 minutes), or another member gets it too.
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(record)) => {
                last_error = None;
                handle(&record, &mut database).await?;
                // One commit for many records costs less, and what a crash repeats is dropped as a repeat.
                consumer.store_offset_from_message(&record)?;
            }
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error.into()),
            // A broker that is away, a topic that is not there yet: librdkafka goes on trying. Said once.
            Some(Err(error)) if last_error.as_ref() == Some(&error) => {}
            Some(Err(error)) => eprintln!("kafka: {}", last_error.insert(error)),
        }
        if committed_at.elapsed() >= Duration::from_millis(settings.commit_interval) {
            commit(&consumer);
            committed_at = Instant::now();
        }
    }
    commit(&consumer);
    // Dropping the consumer leaves the group, so that others need not wait for us to be missed.
    Ok(())
}

/// Turns true with SIGTERM or Ctrl-C: the record in hand is finished, and the group is left in good order.
fn stop_signal() -> std::io::Result<Arc<AtomicBool>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stopping = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopping);
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        stop.store(true, Ordering::Relaxed);
    });
    Ok(stopping)
}

/// One record, one transaction.
async fn handle(
    record: &BorrowedMessage<'_>,
    database: &mut tokio_postgres::Client,
) -> Result<(), ReaderError> {
    let (event_id, order) = decode(record).map_err(|cause| ReaderError::Unreadable {
        topic: record.topic().to_owned(),
        partition: record.partition(),
        offset: record.offset(),
        cause: cause.to_string(),
    })?;
    let paid = order.details.as_ref().map(|details| details.paid_amount);
    let day = order.occurred_at.as_datetime().date_naive().to_string();

    let transaction = database.transaction().await?;
    let is_new = transaction.execute(REMEMBER, &[&event_id]).await? == 1;
    if is_new {
        transaction.execute(COUNT, &[&day, &paid.unwrap_or(0)]).await?;
    }
    transaction.commit().await?;

    let amount = paid.map_or("amount unknown".to_owned(), |paid| format!("{paid} paid"));
    println!("order {}: {amount}, {}", order.order_id, if is_new { "counted" } else { "a repeat, dropped" });
    Ok(())
}

/// The event id and the order. An unknown version, or a value that is not what its version says, is an error.
fn decode(record: &BorrowedMessage<'_>) -> Result<(String, OrderCompletedMessage), Box<dyn Error>> {
    let headers = record.headers().into_iter().flat_map(Headers::iter);
    let headers = EventHeaders::from_pairs(headers.map(|header| (header.key, header.value)))?;
    let order = OrderCompletedMessage::from_json(record.payload().ok_or("it has no value")?)?;
    let event_id = headers.event_id.or(order.details.as_ref().map(|details| details.event_id));
    // A record of the original demonstration has no id: the place where it lies stands in for it.
    let place = || format!("{}-{}-{}", record.topic(), record.partition(), record.offset());
    Ok((event_id.map_or_else(place, |id| id.to_string()), order))
}

/// Tells Kafka how far we are. If it cannot be told now, the next time will do: repeats are dropped.
fn commit(consumer: &BaseConsumer) {
    match consumer.commit_consumer_state(CommitMode::Sync) {
        Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
        Err(error) => eprintln!("kafka: the position is not committed yet: {error}"),
    }
}
