//! # Raw librdkafka
//!
//! The baseline: a consumer that is given all partitions from their beginning and polls, on one thread, without looking at what
//! it polls. It has no group, no commits and no order to keep. With the fetch settings of data-platform-consumer,
//! and, for comparison, with librdkafka's own.

use super::member::{Began, Found};
use crate::Failure;
use data_platform_consumer::consumer_group;
use data_platform_consumer::settings::Settings;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::time::Duration;

const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// How records are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Fetch {
    /// As data-platform-consumer does it.
    AsTheConsumer,
    /// As librdkafka does it when nobody says anything.
    ByDefault,
}

/// What is looked at of each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Look {
    /// Where key and value lie.
    KeyAndValue,
    /// Its headers too, which librdkafka only parses for who asks.
    Headers,
}

/// Polls so many records.
pub(super) fn poll(
    settings: &Settings,
    (fetch, look): (Fetch, Look),
    records: u64,
    partitions: i32,
    beside: &[i32],
) -> Result<Found, Failure> {
    let consumer: BaseConsumer = config(settings, fetch).create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(&settings.kafka.topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let mut began = None;
    for _ in 0..records {
        let record = consumer.poll(LONGEST_SILENCE).ok_or("no record comes any more")??;
        black_box((record.key(), record.payload()));
        if look == Look::Headers {
            black_box(
                record.headers().map(|headers| headers.iter().fold(0, |length, it| length + it.key.len())),
            );
        }
        began.get_or_insert_with(|| Began::now(beside));
    }
    Ok(began.ok_or("no record was wanted")?.until_now())
}

fn config(settings: &Settings, fetch: Fetch) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &settings.kafka.bootstrap_servers)
        .set("group.id", &settings.kafka.group_id)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false");
    if fetch == Fetch::AsTheConsumer {
        for (key, value) in consumer_group::fetch_properties(&settings.delivery) {
            config.set(key, value);
        }
        for (key, value) in settings.kafka.properties.iter() {
            config.set(key, value);
        }
    }
    config
}
