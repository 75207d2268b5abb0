//! # The cluster, from outside

use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::metadata::MetadataTopic;

use crate::records::reader;

/// Whether every partition of every topic has all its replicas in sync.
pub(crate) fn all_replicas_in_sync(brokers: &str, patience: Duration) -> Result<bool, KafkaError> {
    let cluster = reader(brokers)?.fetch_metadata(None, patience)?;
    let mut partitions = cluster.topics().iter().flat_map(MetadataTopic::partitions);
    Ok(partitions.all(|partition| partition.isr().len() == partition.replicas().len()))
}
