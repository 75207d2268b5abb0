//! # Group positions
//!
//! Asks the brokers for positions, and commits them in the group's name without being a member of it.
//!
//! Everything here blocks the thread, and is bounded: a Kafka that says nothing for as long as the limit is given up.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{Change, Look, Members, Position, PositionsError, Target};
use crate::consumer_group::RefusedByClient;
use crate::kafka_clients::{self, Ears};
use crate::settings::KafkaSettings;

/// librdkafka takes a time of nothing for one without end.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Every broker is asked for members, and one that is away is waited for: the positions are worth more.
const MEMBERS_WITHIN: Duration = Duration::from_secs(5);

/// The positions of one group in one topic.
pub struct GroupPositions {
    /// Always there, until this is dropped.
    consumer: Option<Arc<BaseConsumer<Ears>>>,
    group: String,
    topic: String,
    servers: String,
    limit: Duration,
    /// What stood beside the positions of these partitions when they were looked at.
    marks: Mutex<BTreeMap<i32, String>>,
}

impl GroupPositions {
    /// Connects in the background; `limit` is how long one look, or one commit, may take.
    pub fn connect(kafka: &KafkaSettings, limit: Duration) -> Result<Self, RefusedByClient> {
        let consumer = kafka_clients::speaking_for(kafka, &kafka.group_id)
            .create_with_context(Ears::default())
            .map_err(|error| RefusedByClient::new(&error, kafka))?;
        Ok(Self {
            consumer: Some(Arc::new(consumer)),
            group: kafka.group_id.clone(),
            topic: kafka.topic.clone(),
            servers: kafka.bootstrap_servers.clone(),
            limit,
            marks: Mutex::default(),
        })
    }

    /// Looks at every partition of the topic.
    pub fn look(&self) -> Result<Look, PositionsError> {
        let until = Until(Instant::now() + self.limit);
        let partitions = self.partitions(until)?;
        let committed = self.committed(&partitions, until)?;
        let mut positions = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let what = format!("the offsets of {}[{partition}]", self.topic);
            let (oldest, end) =
                self.ask(what, |consumer| consumer.fetch_watermarks(&self.topic, partition, until.left()))?;
            let committed = committed.get(&partition).copied();
            positions.push(Position { partition, committed, oldest, end });
        }
        let members = self.members(!committed.is_empty());
        Ok(Look { group: self.group.clone(), topic: self.topic.clone(), members, positions })
    }

    /// The offset of the first record in each partition that is not earlier than the target; nothing where all are earlier,
    /// or if the target is no time.
    pub fn times(&self, look: &Look, target: Target) -> Result<BTreeMap<i32, i64>, PositionsError> {
        let Some(millis) = target.millis() else { return Ok(BTreeMap::new()) };
        let until = Until(Instant::now() + self.limit);
        let asked = look.positions.iter().map(|position| (position.partition, millis));
        let answer = self.ask("the offsets of a time".to_owned(), |consumer| {
            offsets(&consumer.offsets_for_times(self.list(asked)?, until.left())?)
        })?;
        Ok(answer)
    }

    /// Commits these changes, and reads back what stands then.
    pub fn set(&self, changes: &[Change]) -> Result<Vec<Position>, PositionsError> {
        let wanted: BTreeMap<i32, i64> =
            changes.iter().map(|change| (change.from.partition, change.to)).collect();
        let new = changes.iter().filter(|change| change.changes());
        let new: Vec<_> = new.map(|change| (change.from.partition, change.to)).collect();
        if !new.is_empty() {
            self.commit(&new)?;
        }
        let partitions: Vec<i32> = wanted.keys().copied().collect();
        let stands = self.committed(&partitions, Until(Instant::now() + self.limit))?;
        let differs =
            |(partition, offset): (&i32, &i64)| (stands.get(partition) != Some(offset)).then_some(*partition);
        let partitions: Vec<i32> = wanted.iter().filter_map(differs).collect();
        if !partitions.is_empty() {
            return Err(PositionsError::NotAsSet { partitions });
        }
        let set = |change: &Change| Position { committed: Some(change.to), ..change.from };
        Ok(changes.iter().map(set).collect())
    }

    /// On a thread of its own: librdkafka waits for the answer to a commit without a bound. What stands with a position stays with
    /// it: that a partition has reached the ceiling of dead letters is for `dead-letters resume` to lift.
    fn commit(&self, positions: &[(i32, i64)]) -> Result<(), PositionsError> {
        let what = || "the commit, which was not taken, or not all of it".to_owned();
        let mut list = TopicPartitionList::new();
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        for (partition, offset) in positions {
            let mut element = list.add_partition(&self.topic, *partition);
            element.set_offset(Offset::Offset(*offset)).map_err(|error| self.failed(what(), &error))?;
            if let Some(mark) = marks.get(partition) {
                element.set_metadata(mark);
            }
        }
        drop(marks);
        let (consumer, (answer, answered)) = (self.consumer.clone(), mpsc::sync_channel(1));
        let committing = move || {
            let result = consumer.map_or(Ok(()), |consumer| consumer.commit(&list, CommitMode::Sync));
            // Whoever asked may have given up.
            answer.send(result).ok();
        };
        let started = thread::Builder::new().name("positions-commit".to_owned()).spawn(committing);
        if let Err(error) = started {
            return Err(PositionsError::Answer { what: what(), cause: error.to_string() });
        }
        match answered.recv_timeout(self.limit) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if is_about_members(&error) => {
                Err(PositionsError::MembersPresent { group: self.group.clone() })
            }
            Ok(Err(error)) => Err(self.failed(what(), &error)),
            Err(_) => Err(PositionsError::Unanswered { limit: self.limit }),
        }
    }

    fn partitions(&self, until: Until) -> Result<Vec<i32>, PositionsError> {
        let what = || format!("the topic {}", self.topic);
        let metadata =
            self.ask(what(), |consumer| consumer.fetch_metadata(Some(&self.topic), until.left()))?;
        let topic = metadata.topics().first();
        if let Some(error) = topic.and_then(MetadataTopic::error) {
            return Err(self.failed(what(), &KafkaError::MetadataFetch(error.into())));
        }
        let mut partitions: Vec<i32> =
            topic.iter().flat_map(|topic| topic.partitions()).map(MetadataPartition::id).collect();
        partitions.sort_unstable();
        if partitions.is_empty() {
            return Err(PositionsError::TopicMissing { topic: self.topic.clone() });
        }
        Ok(partitions)
    }

    fn committed(&self, partitions: &[i32], until: Until) -> Result<BTreeMap<i32, i64>, PositionsError> {
        let committed = self.committed_list(partitions, until)?;
        let elements = committed.elements();
        let marked = elements.iter().filter(|element| !element.metadata().is_empty());
        let marks = marked.map(|element| (element.partition(), element.metadata().to_owned())).collect();
        *self.marks.lock().unwrap_or_else(PoisonError::into_inner) = marks;
        offsets(&committed).map_err(|error| self.failed(self.what_stands(), &error))
    }

    fn what_stands(&self) -> String {
        format!("the positions of group {}", self.group)
    }

    fn committed_list(&self, partitions: &[i32], until: Until) -> Result<TopicPartitionList, PositionsError> {
        let list = || self.list(partitions.iter().map(|partition| (*partition, 0)));
        self.ask(self.what_stands(), |consumer| {
            loop {
                let answer = consumer.committed_offsets(list()?, until.left());
                match answer.and_then(|committed| offsets(&committed).map(|_| committed)) {
                    // An answer that comes at once must not make this spin.
                    Err(error) if is_a_move(&error) && !until.is_over() => {
                        thread::sleep(AGAIN_AFTER.min(until.left()));
                    }
                    answer => return answer,
                }
            }
        })
    }

    fn members(&self, has_positions: bool) -> Members {
        let Some(consumer) = &self.consumer else { return Members::Known(Vec::new()) };
        let within = MEMBERS_WITHIN.min(self.limit);
        let groups = match consumer.fetch_group_list(Some(&self.group), within) {
            Ok(groups) => groups,
            Err(error) => return Members::Unclear(kafka_clients::cause_of(consumer, &error)),
        };
        match groups.groups().iter().find(|group| group.name() == self.group) {
            Some(group) => {
                let members = group.members().iter();
                let told = |client: &str, host: &str| format!("{client} at {}", host.trim_start_matches('/'));
                Members::Known(members.map(|member| told(member.client_id(), member.client_host())).collect())
            }
            None if has_positions => {
                Members::Unclear("no broker lists the group, although it has positions".to_owned())
            }
            None => Members::Known(Vec::new()),
        }
    }

    fn list(&self, offsets: impl Iterator<Item = (i32, i64)>) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))?;
        }
        Ok(list)
    }

    fn ask<T>(
        &self,
        what: String,
        question: impl FnOnce(&BaseConsumer<Ears>) -> KafkaResult<T>,
    ) -> Result<T, PositionsError> {
        let answer = self.consumer.as_deref().map_or(Err(KafkaError::Canceled), question);
        answer.map_err(|error| self.failed(what, &error))
    }

    fn failed(&self, what: String, error: &KafkaError) -> PositionsError {
        let consumer = self.consumer.as_deref();
        let cause =
            consumer.map_or_else(|| error.to_string(), |consumer| kafka_clients::cause_of(consumer, error));
        let (topic, group) = (self.topic.clone(), &self.group);
        let code = error.rdkafka_error_code();
        match code {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                PositionsError::TopicMissing { topic }
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                PositionsError::Forbidden { rights: format!("DESCRIBE and READ on the topic {topic}") }
            }
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                PositionsError::Forbidden { rights: format!("DESCRIBE and READ on the group {group}") }
            }
            _ if code.is_some_and(is_silence) => {
                PositionsError::Silent { what, servers: self.servers.clone(), limit: self.limit, cause }
            }
            _ => PositionsError::Answer { what, cause },
        }
    }
}

impl Drop for GroupPositions {
    /// Closing a client may wait for a broker that is away, and nobody has to wait for that.
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            let closing = move || drop(consumer);
            thread::Builder::new().name("positions-close".to_owned()).spawn(closing).ok();
        }
    }
}

/// Until when one look may last.
#[derive(Clone, Copy)]
struct Until(Instant);

impl Until {
    fn is_over(self) -> bool {
        self.0 <= Instant::now()
    }

    fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now()).max(SHORTEST_WAIT)
    }
}

/// Those that have one.
fn offsets(list: &TopicPartitionList) -> KafkaResult<BTreeMap<i32, i64>> {
    let mut offsets = BTreeMap::new();
    for element in list.elements() {
        element.error()?;
        if let Offset::Offset(offset) = element.offset() {
            offsets.insert(element.partition(), offset);
        }
    }
    Ok(offsets)
}

/// The group's coordinator is being moved, or has just been, and is found again.
fn is_a_move(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotCoordinator
                | RDKafkaErrorCode::CoordinatorLoadInProgress
                | RDKafkaErrorCode::CoordinatorNotAvailable
        )
    )
}

/// So Kafka refuses a commit from outside while the group has members.
fn is_about_members(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::FencedInstanceId
        )
    )
}

fn is_silence(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::WaitingForCoordinator
            | RDKafkaErrorCode::CoordinatorNotAvailable
            | RDKafkaErrorCode::LeaderNotAvailable
    )
}
