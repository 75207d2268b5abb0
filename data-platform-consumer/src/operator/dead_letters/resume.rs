//! # Resume
//!
//! Lets partitions go on that stopped at the ceiling of dead letters. Which ones they are stands with the group's committed
//! positions; the word that they may go on is written into the dead-letter topic, where the consumer that owns them
//! looks every few seconds. Its ceiling counts anew from there.

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;

use super::resolutions::{NotAcknowledged, Pending, Resolutions};
use super::{DeadLettersError, ResumeArguments, Workplace, write};
use crate::consumer_group::{RefusedByClient, ceiling_reached_at};
use crate::kafka_clients::{self, Ears, refused};
use crate::operator::Patience;
use crate::settings::KafkaSettings;

pub(super) fn run(
    arguments: &ResumeArguments,
    workplace: &mut Workplace<'_>,
) -> Result<(), DeadLettersError> {
    let ResumeArguments { partition: wanted, yes, patience: Patience { kafka_timeout } } = arguments;
    let kafka = &workplace.settings.kafka;
    let Found { partitions, stopped } = look(kafka, *kafka_timeout)?;
    if let Some(partition) = wanted.iter().copied().find(|wanted| !partitions.contains(wanted)) {
        let (topic, last) = (kafka.topic.clone(), partitions.iter().copied().max().unwrap_or(-1));
        return Err(DeadLettersError::NoSuchPartition { topic, partition, last });
    }
    let chosen: Vec<i32> =
        stopped.iter().copied().filter(|partition| wanted.is_empty() || wanted.contains(partition)).collect();
    let topic = &kafka.topic;
    if chosen.is_empty() {
        let group = &kafka.group_id;
        let told = if stopped.is_empty() {
            format!(
                "no partition of {topic} is known to have stopped at the ceiling of dead letters in group {group}"
            )
        } else {
            format!(
                "partitions {stopped:?} of {topic} have stopped in group {group}, and none of them is meant by that"
            )
        };
        return write(workplace.out, &[told]);
    }
    if !yes {
        let told = format!(
            "partitions {chosen:?} of {topic} stopped at the ceiling of dead letters, and would go on; say --yes to do it"
        );
        return write(workplace.out, &[told]);
    }
    let resolutions = Resolutions::connect(kafka, *kafka_timeout)?;
    let written =
        |partition: &i32| resolutions.write_resumed(*partition, &kafka.group_id).and_then(Pending::wait);
    let failures: Vec<NotAcknowledged> =
        chosen.iter().filter_map(|partition| written(partition).err()).collect();
    let (failed, all) = (failures.len(), chosen.len());
    write(workplace.out, &[format!("{} of {all} partitions go on within some seconds", all - failed)])?;
    failures
        .into_iter()
        .next()
        .map_or(Ok(()), |cause| Err(DeadLettersError::NotResumed { failed, all, cause }))
}

/// What there is.
struct Found {
    /// All of the topic's.
    partitions: Vec<i32>,
    /// Those whose committed position says that they stopped. A consumer commits that within its commit interval.
    stopped: Vec<i32>,
}

fn look(kafka: &KafkaSettings, limit: Duration) -> Result<Found, DeadLettersError> {
    let config = kafka_clients::reading(kafka, &kafka.group_id);
    let consumer: BaseConsumer<Ears> =
        config.create_with_context(Ears::default()).map_err(|error| RefusedByClient::new(&error, kafka))?;
    committed(&consumer, &kafka.topic, limit).map_err(|error| {
        let cause = consumer.context().heard().unwrap_or_else(|| error.to_string());
        if refused(&error) {
            let (topic, group) = (kafka.topic.clone(), kafka.group_id.clone());
            return DeadLettersError::PositionsRefused { topic, group, cause: error.to_string() };
        }
        DeadLettersError::Silent { servers: kafka.bootstrap_servers.clone(), limit, cause }
    })
}

fn committed(consumer: &BaseConsumer<Ears>, topic: &str, limit: Duration) -> KafkaResult<Found> {
    let metadata = consumer.fetch_metadata(Some(topic), limit)?;
    let found = metadata.topics().first();
    if let Some(error) = found.and_then(MetadataTopic::error) {
        return Err(KafkaError::MetadataFetch(error.into()));
    }
    let mut wanted = TopicPartitionList::new();
    for partition in found.into_iter().flat_map(MetadataTopic::partitions) {
        wanted.add_partition(topic, partition.id());
    }
    if wanted.count() == 0 {
        return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition));
    }
    let committed = consumer.committed_offsets(wanted, limit)?;
    let (mut partitions, mut stopped) = (Vec::new(), Vec::new());
    for element in committed.elements() {
        element.error()?;
        partitions.push(element.partition());
        if ceiling_reached_at(element.metadata()).is_some() {
            stopped.push(element.partition());
        }
    }
    Ok(Found { partitions, stopped })
}
