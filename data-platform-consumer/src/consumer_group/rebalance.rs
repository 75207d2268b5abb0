//! # Rebalance
//!
//! Takes partitions over and hands them back. librdkafka calls this on the thread that polls, in the middle
//! of a poll, so everything here is on the poll thread, which does not poll meanwhile, and waits for nothing
//! without a bound: for calls at most `delivery.drain_timeout`, for positions `kafka.position_timeout`, for a
//! commit as long as librdkafka waits for the coordinator (`kafka.session_timeout`) and its answer.
//!
//! Taken over: a position is looked up for each partition and named in the one call that assigns it. Handed
//! back: nothing new starts but what others have overtaken, the rest of what waits is dropped, what is on the wire has a
//! bounded time to end, what finished is committed, and only then the partition goes, so that nothing is repeated
//! (`what_others_have_overtaken_is_caught_up_with_before_a_partition_is_handed_back`). If it was lost already, nothing is waited for
//! and nothing committed: it belongs to somebody else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::{Partition, Statistics};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaRespErr;

use super::group::Group;
use super::positions::{self, Start, StartPosition};
use super::watchdog::Reach;
use super::{GroupConsumer, offset_commits};
use crate::health::{BrokerReach, Health};
use crate::kafka_clients::reach::reaches_a_broker;

/// These are told elsewhere, in our words: a connection that failed comes as an error too, once and not at every
/// attempt, a session that timed out as an assignment that was lost, and requests that timed out as what came of it.
const TOLD_ELSEWHERE: [&str; 3] = ["FAIL", "SESSTMOUT", "REQTMOUT"];
/// How an error begins that is about the topic as a whole, and not about the fetch of a partition.
const ABOUT_THE_TOPIC: &str = "Subscribed topic not available";

/// What the client calls back. It shares the member's state with the poll loop; both are on one thread, so
/// the lock is never waited for.
#[derive(Clone)]
pub(crate) struct GroupContext {
    group: Arc<Mutex<Group>>,
    health: Health,
    events_served: Arc<AtomicU64>,
}

impl GroupContext {
    pub(crate) fn new(group: Group) -> Self {
        let health = group.health.clone();
        Self { group: Arc::new(Mutex::new(group)), health, events_served: Arc::default() }
    }

    pub(crate) fn group(&self) -> MutexGuard<'_, Group> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Grows with every callback. A poll that returns nothing may have served one of these, in which case there can
    /// be more to poll.
    pub(crate) fn events_served(&self) -> u64 {
        self.events_served.load(Ordering::Relaxed)
    }

    fn count_event(&self) {
        self.events_served.fetch_add(1, Ordering::Relaxed);
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.count_event();
        if TOLD_ELSEWHERE.contains(&facility) {
            tracing::debug!(target: "librdkafka", facility, "librdkafka: {message}");
            return;
        }
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "librdkafka", facility, "librdkafka: {message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", facility, "librdkafka: {message}");
            }
            RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "librdkafka", facility, "librdkafka: {message}");
            }
        }
    }

    fn stats(&self, statistics: Statistics) {
        self.count_event();
        let brokers = statistics.brokers.values();
        let brokers: Vec<BrokerReach<'_>> = brokers
            .map(|broker| BrokerReach { address: &broker.nodename, connected: broker.state == "UP" })
            .collect();
        let coordinator = statistics.cgrp.as_ref().is_some_and(|group| group.state == "up");
        self.health.in_reach(&brokers, coordinator);
        let mut group = self.group();
        group.client_reaches(reaches_a_broker(&statistics), Instant::now());
        if let Some(said) = &statistics.cgrp {
            group.client_said(&said.join_state, Instant::now());
        }
        if let Some(topic) = statistics.topics.get(&group.kafka.topic) {
            let known = topic.partitions.values().filter(|partition| partition.hi_offset >= 0);
            group.ends_seen(known.map(|partition| (partition.partition, partition.hi_offset)));
            for partition in topic.partitions.values() {
                group.reach_seen(partition.partition, reach(partition, &statistics));
            }
            // This comes behind all that was fetched before it, on the thread that takes it in.
            let at_rest = topic.partitions.values().filter(|partition| partition.fetchq_cnt == 0);
            for partition in at_rest {
                group.assignments.is_fetched_to(partition.partition, partition.next_offset);
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.count_event();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => self.health.no_broker_in_reach(),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) if reason.starts_with(ABOUT_THE_TOPIC) => {
                self.group().topic_is_missing();
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) if reason.starts_with(ABOUT_THE_TOPIC) => {
                self.health.topic_forbidden();
            }
            Some(code) => self.group().client_failed(&code.to_string(), reason),
            None => {}
        }
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        err: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        self.count_event();
        let mut group = self.group();
        let applied = if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            group.take_over(consumer, partitions)
        } else {
            group.hand_back(consumer, partitions)
        };
        if let Err(error) = applied {
            // Only a new client, which joins the group anew, gets out of this.
            tracing::error!(
                "partitions could not be taken over or handed back, so the client is replaced: {error}"
            );
            group.client_is_broken = true;
            // Without an answer it could not even be closed. A second one is refused, which does no harm.
            unassign(consumer, &TopicPartitionList::new()).ok();
        }
    }
}

impl Group {
    fn take_over(&mut self, consumer: &GroupConsumer, partitions: &TopicPartitionList) -> KafkaResult<()> {
        let starts = match positions::start_positions(consumer, partitions, self.kafka.position_timeout) {
            Ok(starts) => starts,
            Err(error) => {
                // The client wants an answer before it can be closed, and guessing a position is none.
                assign(consumer, &TopicPartitionList::new())?;
                return Err(error);
            }
        };
        let mut explicit = TopicPartitionList::with_capacity(starts.len());
        let now = Instant::now();
        for Start { partition, position, ceiling_reached_at } in &starts {
            explicit.add_partition_offset(&self.kafka.topic, *partition, position.to_offset())?;
            self.assignments.assign(*partition, *position, *ceiling_reached_at, now);
            if self.paused.contains(partition) {
                self.assignments.is_paused_already(*partition);
            }
            log_start(&self.kafka.topic, *partition, *position);
            if ceiling_reached_at.is_some() {
                self.ceiling_reached(*partition);
            }
        }
        assign(consumer, &explicit)?;
        if !starts.is_empty() {
            self.topic_is_known();
        }
        self.health.joined(self.assignments.partitions().len());
        if self.is_stopping() {
            consumer.pause(&explicit)?;
            for start in &starts {
                self.assignments.close(start.partition);
            }
        }
        Ok(())
    }

    fn hand_back(&mut self, consumer: &GroupConsumer, partitions: &TopicPartitionList) -> KafkaResult<()> {
        let numbers: Vec<i32> = partitions.elements().iter().map(TopicPartitionListElem::partition).collect();
        let lost = consumer.assignment_lost();
        // What could not be taken over was never assigned, and librdkafka refuses an answer that names it.
        let mut assigned = TopicPartitionList::new();
        for partition in self.assignments.partitions().iter().filter(|partition| numbers.contains(partition))
        {
            assigned.add_partition(&self.kafka.topic, *partition);
        }
        for partition in &numbers {
            self.assignments.close(*partition);
        }
        if !lost {
            let deadline = self.drain_deadline(Instant::now());
            self.await_calls(&numbers, deadline);
            self.await_commit_until(deadline);
            let committable = self.assignments.committable(&numbers);
            offset_commits::send_and_wait(consumer, &self.kafka.topic, &committable, &self.health);
        }
        for partition in &numbers {
            self.assignments.revoke(*partition);
            self.health.partition_gone(*partition);
            self.overseer.forget(*partition);
        }
        if self.assignments.partitions().is_empty() {
            self.health.delivery.nothing_owned();
        }
        let topic = &self.kafka.topic;
        if lost {
            tracing::warn!(
                kafka.topic = topic,
                lost,
                "lost partitions {numbers:?} of {topic} without handing them back: the group heard nothing from this member \
                 for too long, or the topic is gone; what was not committed is delivered again"
            );
            self.health.assignment_lost();
        } else {
            tracing::info!(kafka.topic = topic, lost, "handed back partitions {numbers:?} of {topic}");
        }
        unassign(consumer, &assigned)
    }
}

fn reach(partition: &Partition, statistics: &Statistics) -> Reach {
    if partition.leader < 0 {
        return Reach::NoLeader;
    }
    // Another replica than the leader, where the brokers have named one; and none while it changes.
    let serving = if partition.broker < 0 { partition.leader } else { partition.broker };
    let is_up = statistics.brokers.values().any(|broker| broker.nodeid == serving && broker.state == "UP");
    if is_up { Reach::Connected } else { Reach::BrokerAway(serving) }
}

fn assign(consumer: &GroupConsumer, partitions: &TopicPartitionList) -> KafkaResult<()> {
    if is_cooperative(consumer) {
        consumer.incremental_assign(partitions)
    } else {
        consumer.assign(partitions)
    }
}

fn unassign(consumer: &GroupConsumer, partitions: &TopicPartitionList) -> KafkaResult<()> {
    if is_cooperative(consumer) { consumer.incremental_unassign(partitions) } else { consumer.unassign() }
}

fn is_cooperative(consumer: &GroupConsumer) -> bool {
    matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative)
}

fn log_start(topic: &str, partition: i32, start: StartPosition) {
    let position = match start {
        StartPosition::At(next) => format!("from offset {next}"),
        StartPosition::Beginning => "from its beginning, as nothing was committed yet".to_owned(),
    };
    tracing::info!(
        kafka.topic = topic,
        kafka.partition = partition,
        "reading {topic}[{partition}] {position}"
    );
}
