//! # Offset commits
//!
//! Sends committable positions to the group's coordinator: at an interval while all is well, and before
//! partitions are handed back. Only ever positions that the offset tracker constructed.
//!
//! Each commit waits for its answer, those at the interval on a thread of the runtime, so that the poll
//! thread does not. librdkafka's commits without waiting would be simpler, but the binding that we use never
//! hears what became of them (`a_refused_commit_is_sent_again_and_ends_nothing`). One is under way at a time.
//!
//! A commit that fails is no reason to end: its position is sent again with the next one, and what is
//! repeated meanwhile was going to be repeated anyway. While the group rebalances, refusals are normal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;

use super::assignment::Commit;
use super::assignments::Assignments;
use super::offset_tracker::NextOffset;
use super::{GroupConsumer, Signal};
use crate::delivery::call::Calls;
use crate::health::Health;

/// What stands with a committed position where the ceiling of dead letters was reached, before the end of these.
const CEILING_REACHED_AT: &str = "dead-letter-ceiling-reached-at=";

/// The commits at the interval.
#[derive(Debug)]
pub(crate) struct OffsetCommits {
    topic: Arc<str>,
    interval: Duration,
    next: Instant,
    under_way: bool,
}

impl OffsetCommits {
    pub(crate) fn new(topic: Arc<str>, interval: Duration, now: Instant) -> Self {
        Self { topic, interval, next: now + interval, under_way: false }
    }

    /// Sends what is new, if it is time to. The answer comes to the mailbox.
    pub(crate) fn send_if_due<R: Clone>(
        &mut self,
        consumer: &Arc<GroupConsumer>,
        calls: &Calls,
        assignments: &mut Assignments<R>,
    ) {
        let now = Instant::now();
        if self.under_way || now < self.next {
            return;
        }
        self.next = now + self.interval;
        let commits = assignments.take_commits();
        if commits.is_empty() {
            return;
        }
        self.under_way = true;
        let (consumer, topic) = (Arc::clone(consumer), Arc::clone(&self.topic));
        let unanswered = Signal::Committed(commits.clone(), Err(KafkaError::Canceled));
        calls.run_blocking(unanswered, move || {
            let result = send(&consumer, &topic, &commits);
            // Before the answer: whoever reads it may count on being the consumer's only owner.
            drop(consumer);
            Signal::Committed(commits, result)
        });
    }

    /// What became of the commit under way.
    pub(crate) fn answered<R: Clone>(
        &mut self,
        commits: &[Commit],
        result: &KafkaResult<()>,
        assignments: &mut Assignments<R>,
        health: &Health,
    ) {
        self.under_way = false;
        if let Err(error) = result {
            tell_failure(error, health);
            for commit in commits {
                assignments.forget_commit(commit.partition);
            }
        }
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way
    }
}

/// Commits these positions and waits for the answer, for as long as the client waits for its coordinator.
pub(crate) fn send_and_wait(consumer: &GroupConsumer, topic: &str, commits: &[Commit], health: &Health) {
    match send(consumer, topic, commits) {
        Ok(()) if commits.is_empty() => {}
        Ok(()) => tracing::debug!(kafka.topic = topic, ?commits, "committed before handing back"),
        Err(error) => tell_failure(&error, health),
    }
}

fn send(consumer: &GroupConsumer, topic: &str, commits: &[Commit]) -> KafkaResult<()> {
    if commits.is_empty() {
        return Ok(());
    }
    let mut list = TopicPartitionList::with_capacity(commits.len());
    for Commit { partition, position: NextOffset(next), ceiling_reached_at } in commits {
        let mut element = list.add_partition(topic, *partition);
        element.set_offset(Offset::Offset(*next))?;
        if let Some(end) = ceiling_reached_at {
            element.set_metadata(format!("{CEILING_REACHED_AT}{end}"));
        }
    }
    // An error if even one partition's position was refused.
    consumer.commit(&list, CommitMode::Sync)
}

/// The other way round: what stands with a committed position.
pub(crate) fn ceiling_reached_at(metadata: &str) -> Option<i64> {
    metadata.strip_prefix(CEILING_REACHED_AT)?.parse().ok()
}

fn tell_failure(error: &KafkaError, health: &Health) {
    health.commit_failed();
    if belongs_to_a_rebalance(error) {
        tracing::info!("a commit was refused, as the group is changing: {error}");
    } else {
        tracing::warn!("a commit failed: {error}");
    }
}

/// These say that the group changed under the commit, not that anything is wrong.
fn belongs_to_a_rebalance(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::AssignmentLost
                | RDKafkaErrorCode::FencedInstanceId
                | RDKafkaErrorCode::State
        )
    )
}
