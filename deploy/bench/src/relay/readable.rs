//! # `commit_to_readable`
//!
//! How long it takes from COMMIT until a consumer reads the event, one event at a time, against what raw librdkafka takes from
//! handing a record to the producer until the same consumer reads it. Database, relay and consumer are in this process: only
//! so is the moment of the COMMIT known.

use super::{RelayBench, backlog};
use crate::Failure;
use crate::report::{Row, Series, figure, say};
use crate::servers;
use futures_util::FutureExt;
use hdrhistogram::Histogram;
use order_service::kafka::topic_partitions::TopicPartitions;
use order_service::outbox::message::OutboxMessage;
use order_service::outbox::relay::{Relay, RelayParts};
use order_service::outbox::relay_metrics::RelayMetrics;
use order_service::outbox::wake_up::WakeUp;
use order_service::settings::Settings;
use order_service::storage::database::Database;
use order_service::storage::error::DatabaseError;
use order_service::storage::transaction_completion::{Outcome, in_transaction};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord};
use rdkafka::{Offset, TopicPartitionList};
use service_chassis::alarms::Alarms;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const EVENTS: u32 = 1_000;
const WARM_UP: u32 = 50;
const PATIENCE: Duration = Duration::from_secs(30);
const SLOWEST_NANOSECONDS: u64 = 60_000_000_000;
const PARTITIONS: i32 = 12;

struct Latencies {
    relayed: Histogram<u64>,
    raw: Histogram<u64>,
}

/// The median and the p99.
pub(super) async fn measure(bench: &RelayBench) -> Result<Vec<Row>, Failure> {
    say("\ncommit_to_readable")?;
    let [mut p50, mut raw_p50, mut p99, mut raw_p99] = [(); 4].map(|()| Series::default());
    for round in 1..=bench.options.rounds {
        let shop = bench.servers.shop().await?;
        let mut settings = servers::settings(&shop.url())?;
        settings.kafka.bootstrap_servers = bench.servers.broker.bootstrap_servers();
        let measured = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(settings.http.workers)
                .enable_all()
                .build()?;
            runtime.block_on(in_turns(&settings))
        });
        let Latencies { relayed, raw } = measured.await??;
        let milliseconds = |side: &Histogram<u64>, quantile| side.value_at_quantile(quantile) as f64 / 1e6;
        for (series, side, quantile) in [
            (&mut p50, &relayed, 0.5),
            (&mut p99, &relayed, 0.99),
            (&mut raw_p50, &raw, 0.5),
            (&mut raw_p99, &raw, 0.99),
        ] {
            series.push(milliseconds(side, quantile));
        }
        say(&format!(
            "  round {round}: {EVENTS} events each; from COMMIT p50 {} ms, p99 {} ms; raw p50 {} ms, p99 {} ms",
            figure(milliseconds(&relayed, 0.5)),
            figure(milliseconds(&relayed, 0.99)),
            figure(milliseconds(&raw, 0.5)),
            figure(milliseconds(&raw, 0.99))
        ))?;
    }
    let row = |quantile: &str, ours, baseline| Row {
        measure: format!("commit_to_readable_{quantile}"),
        ours,
        baseline,
        unit: "ms",
        note: "from COMMIT until a consumer has the event, against raw librdkafka's record".to_owned(),
    };
    Ok(vec![row("p50", p50, raw_p50), row("p99", p99, raw_p99)])
}

async fn in_turns(settings: &Settings) -> Result<Latencies, Failure> {
    let database = Database::new(&settings.database)?;
    let (wake_up, stop) = (WakeUp::default(), CancellationToken::new());
    let partitions = TopicPartitions::default();
    partitions.are(usize::try_from(PARTITIONS)?);
    let parts = RelayParts {
        wake_up: wake_up.clone(),
        alarms: Alarms::new(),
        partitions,
        metrics: RelayMetrics::default(),
    };
    let relay = Relay::new(database.clone(), settings.kafka.clone(), settings.relay.clone(), parts)?;
    let relay = tokio::spawn(relay.run(stop.clone()));
    let read = start_consumer(settings, stop.clone())?;
    let producer = raw_producer(settings)?;
    let new = || Histogram::new_with_bounds(1, SLOWEST_NANOSECONDS, 3);
    let mut latencies = Latencies { relayed: new()?, raw: new()? };
    let message = backlog::message()?;
    for number in 0..WARM_UP + EVENTS {
        let message = OutboxMessage { key: Uuid::new_v4().to_string(), ..message.clone() };
        let committed = commit(&database, message.clone(), wake_up.clone()).await?;
        let relayed = until_read(&read, &message.key)? - committed;
        let key = Uuid::new_v4().to_string();
        let record = BaseRecord::<_, _>::to(&message.topic).key(&key).payload(&message.payload);
        let handed = Instant::now();
        producer.send(record).map_err(|(error, _)| error)?;
        let raw = until_read(&read, &key)? - handed;
        producer.poll(Duration::ZERO);
        if number >= WARM_UP {
            latencies.relayed.saturating_record(nanoseconds(relayed));
            latencies.raw.saturating_record(nanoseconds(raw));
        }
    }
    stop.cancel();
    relay.await?;
    Ok(latencies)
}

/// When its COMMIT was answered.
async fn commit(database: &Database, message: OutboxMessage, wake_up: WakeUp) -> Result<Instant, Failure> {
    let (tell, told) = channel();
    let outcome: Outcome<(), DatabaseError> = in_transaction(database, move |transaction| {
        transaction.publish(message);
        transaction.after_commit(move || {
            // It is waited for below.
            tell.send(Instant::now()).ok();
            wake_up.wake();
        });
        async { Ok(()) }.boxed()
    })
    .await;
    match outcome {
        Outcome::Committed(()) => Ok(told.recv()?),
        failed @ (Outcome::RolledBack(_) | Outcome::Unknown(_)) => Err(format!("{failed:?}").into()),
    }
}

fn raw_producer(settings: &Settings) -> Result<BaseProducer, Failure> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", &settings.kafka.bootstrap_servers)
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .create()?)
}

/// Tells the key of every record from now on, and when it was there.
fn start_consumer(
    settings: &Settings,
    stop: CancellationToken,
) -> Result<Receiver<(String, Instant)>, Failure> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &settings.kafka.bootstrap_servers)
        .set("group.id", Uuid::new_v4().to_string())
        // The mock cluster answers a fetch that finds nothing only after this time.
        .set("fetch.wait.max.ms", "1")
        .create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        let (_, end) = consumer.fetch_watermarks(&settings.kafka.topic, partition, PATIENCE)?;
        all.add_partition_offset(&settings.kafka.topic, partition, Offset::Offset(end))?;
    }
    consumer.assign(&all)?;
    let (tell, read) = channel();
    std::thread::spawn(move || {
        while !stop.is_cancelled() {
            let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) else { continue };
            let key = String::from_utf8_lossy(record.key().unwrap_or_default()).into_owned();
            // Nobody waits for the last ones.
            tell.send((key, Instant::now())).ok();
        }
    });
    Ok(read)
}

fn until_read(read: &Receiver<(String, Instant)>, key: &str) -> Result<Instant, Failure> {
    loop {
        let (seen, at) = read.recv_timeout(PATIENCE)?;
        if seen == key {
            return Ok(at);
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(SLOWEST_NANOSECONDS)
}
