//! # Topic partitions
//!
//! How many partitions the topic has, as far as is known, and so in which of them a key lands. What it is used for may be
//! wrong for a moment without harm (partitions were added, nobody has looked yet): it chooses nothing, librdkafka does.

use shared_messages::topics::partition_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Shared by who looks at the topic and who asks. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct TopicPartitions {
    /// 0: not known.
    number: Arc<AtomicU32>,
}

impl TopicPartitions {
    /// This is how many there are.
    pub fn are(&self, number: usize) {
        self.number.store(u32::try_from(number).unwrap_or(0), Ordering::Relaxed);
    }

    /// How many there are; 1 as long as nobody knows.
    pub fn number(&self) -> u32 {
        self.number.load(Ordering::Relaxed).max(1)
    }

    /// Where this key lands. As long as nobody knows, all keys are taken to share one partition.
    pub fn of_key(&self, key: &str) -> u32 {
        partition_of(key.as_bytes(), self.number.load(Ordering::Relaxed))
    }
}
