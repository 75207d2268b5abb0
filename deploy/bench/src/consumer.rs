//! # The benchmark `consumer`
//!
//! How fast records are read and delivered, and what holds them up: what the README explains, measure by measure. Ours is
//! data-platform-consumer as a process of its own, with a data platform of the benchmark's in it ([`platform`]); the
//! baseline of rates is librdkafka alone, in such a process too ([`raw`]). Both say themselves when they began and ended.

mod beside;
mod broker;
mod member;
mod memory;
mod noop;
mod platform;
mod raw;
mod records;
mod recovery;
mod slow;

use crate::Failure;
use crate::command_line::ConsumerOptions;
use crate::report::{self, Row, Series, say};
use broker::Broker;
pub(crate) use member::enter_if_asked;
use member::{Job, Member};
use platform::Manners;
use records::{Keys, Topic};

const NAME: &str = "consumer";
/// Enough for several calls at a time of each partition, few enough that a partition is a good part of the whole.
const PARTITIONS: i32 = 6;
const FEW_KEYS: u64 = 100;

/// What can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ConsumerMeasure {
    #[value(name = "noop_1_partition")]
    Noop1Partition,
    #[value(name = "noop_6_partitions")]
    Noop6Partitions,
    #[value(name = "slow_3s")]
    Slow3Seconds,
    #[value(name = "slow_50ms")]
    Slow50Millis,
    #[value(name = "slow_5ms")]
    Slow5Millis,
    #[value(name = "beside_slow_key")]
    BesideSlowKey,
    #[value(name = "beside_poison")]
    BesidePoison,
    #[value(name = "recovery")]
    Recovery,
    #[value(name = "memory")]
    Memory,
}

/// Everything that a measure needs.
pub(crate) struct ConsumerBench<'b> {
    broker: &'b Broker,
    options: &'b ConsumerOptions,
    topics: Topics,
}

/// What is read. Nobody changes it: each reader begins at the beginning, as a group of its own.
struct Topics {
    unique_1: Topic,
    few_1: Topic,
    unique_6: Topic,
    few_6: Topic,
    empty: Topic,
}

/// Measures what the options name and publishes it.
pub(crate) async fn run(options: &ConsumerOptions) -> Result<(), Failure> {
    let broker = Broker::start(options).await?;
    say(&format!("consumer: {} rounds; broker: {}", options.rounds, broker.name()))?;
    if cfg!(debug_assertions) {
        say("built without optimisation: its figures mean nothing (cargo run --release -p bench)")?;
    }
    let measured = measure(&broker, options).await;
    let name = broker.name();
    broker.stop().await?;
    let rows = measured?;
    say(&format!("\nbroker: {name}"))?;
    report::publish(NAME, &rows)
}

async fn measure(broker: &Broker, options: &ConsumerOptions) -> Result<Vec<Row>, Failure> {
    let records = broker.bears(options.records);
    let measured = async {
        let topics = Topics {
            unique_1: records::topic(broker, 1, broker.bears_in_one(records), Keys::Unique).await?,
            few_1: records::topic(broker, 1, broker.bears_in_one(records), Keys::Few(FEW_KEYS)).await?,
            unique_6: records::topic(broker, PARTITIONS, records, Keys::Unique).await?,
            few_6: records::topic(broker, PARTITIONS, records, Keys::Few(FEW_KEYS)).await?,
            empty: records::topic(broker, PARTITIONS, 0, Keys::Unique).await?,
        };
        ConsumerBench { broker, options, topics }.measure().await
    };
    let measured = measured.await;
    broker.delete_topics().await?;
    measured
}

impl ConsumerBench<'_> {
    async fn measure(&self) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        let wants = |measure| self.options.wants(measure);
        if self.broker.is_in_memory()
            && (wants(ConsumerMeasure::Noop1Partition) || wants(ConsumerMeasure::Noop6Partitions))
        {
            say(
                "\nNOT MEASURED: noop_1_partition and noop_6_partitions, which need a real Kafka (the mock cluster keeps too few records): --bootstrap-servers, or a Docker engine",
            )?;
        } else {
            if wants(ConsumerMeasure::Noop1Partition) {
                rows.extend(
                    noop::measure(self, "noop_1_partition", &self.topics.unique_1, &self.topics.few_1)
                        .await?,
                );
            }
            if wants(ConsumerMeasure::Noop6Partitions) {
                rows.extend(
                    noop::measure(self, "noop_6_partitions", &self.topics.unique_6, &self.topics.few_6)
                        .await?,
                );
            }
        }
        rows.extend(slow::measure(self).await?);
        if wants(ConsumerMeasure::BesideSlowKey) || wants(ConsumerMeasure::BesidePoison) {
            rows.extend(beside::measure(self).await?);
        }
        if wants(ConsumerMeasure::Recovery) {
            rows.push(recovery::measure(self).await?);
        }
        if wants(ConsumerMeasure::Memory) {
            rows.push(memory::measure(self).await?);
        }
        Ok(rows)
    }

    /// A consumer of this topic, from its beginning.
    fn consume(&self, topic: &Topic, manners: &Manners, changes: &[(&str, &str)]) -> Result<Member, Failure> {
        Member::start(self.broker, topic, &Job::Deliver(manners.clone()), &self.changes(changes))
    }

    /// The settings that are not the defaults; what the command line says comes last.
    fn changes<'c>(&'c self, changes: &[(&'c str, &'c str)]) -> Vec<(&'c str, &'c str)> {
        let set = self.options.set.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        changes.iter().copied().chain(set).collect()
    }

    /// A platform that takes everything at once.
    fn manners(&self) -> Manners {
        Manners { beside: self.broker.processes(), ..Manners::default() }
    }
}

fn row(measure: &str, ours: Series, baseline: Series, unit: &'static str, note: &str) -> Row {
    Row { measure: measure.to_owned(), ours, baseline, unit, note: note.to_owned() }
}
