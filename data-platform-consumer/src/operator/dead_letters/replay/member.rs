//! # Member
//!
//! The replay's member of its group, `<group>-dead-letter-replay`, on the dead-letter topic. Two replays at a time share the
//! partitions, so one dead letter is never on its way twice (`two_replays_at_once_deliver_each_once_and_in_key_order`): a
//! partition is handed over only after its calls have ended and their resolutions were acknowledged, and the next owner
//! reads those before it starts. The exception is a call that outlives `delivery.drain_timeout`, or a member that the
//! group took for dead: then the same event id comes twice, as it may with any delivery.
//!
//! Assignment is eager: everybody hands back everything when somebody comes or goes. It is the simplest that is right, and
//! replays are few and short. The group commits nothing, so there is nothing of it left to be cleaned up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::super::DeadLettersError;
use super::state::State;
use crate::consumer_group::RefusedByClient;
use crate::delivery::Record;
use crate::kafka_clients::{self, Ears};
use crate::settings::KafkaSettings;

/// One wait for a record. Calls that ended are looked at in between.
const ONE_WAIT: Duration = Duration::from_millis(20);
/// How many records to read before looking at calls again.
const RECORDS_PER_TURN: usize = 500;
/// How long a client has to call back for its partitions when it is closed.
const LONGEST_REVOCATION: Duration = Duration::from_secs(5);

/// What the client calls back, on the thread that polls.
#[derive(Clone)]
struct ReplayContext {
    state: Arc<Mutex<State>>,
    ears: Arc<Ears>,
    topic: Arc<str>,
}

impl ReplayContext {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(
        &self,
        consumer: &BaseConsumer<Self>,
        assigned: bool,
        partitions: &TopicPartitionList,
    ) -> KafkaResult<()> {
        let mut state = self.state();
        if !assigned {
            state.hand_back(consumer.assignment_lost());
            return consumer.unassign();
        }
        let numbers: Vec<i32> = partitions.elements().iter().map(TopicPartitionListElem::partition).collect();
        let mut from_the_beginning = TopicPartitionList::with_capacity(numbers.len());
        for partition in &numbers {
            from_the_beginning.add_partition_offset(&self.topic, *partition, Offset::Beginning)?;
        }
        state.take_over(&numbers);
        consumer.assign(&from_the_beginning)
    }
}

impl ClientContext for ReplayContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.ears.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.ears.error(error, reason);
    }
}

impl ConsumerContext for ReplayContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        err: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let assigned = err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if let Err(error) = self.apply(consumer, assigned, partitions) {
            self.state().broken = Some(format!("partitions could not be taken over or handed back: {error}"));
            // Without an answer it could not even be closed. A second one is refused, which does no harm.
            consumer.unassign().ok();
        }
    }
}

/// A member of the replay's group.
pub(super) struct Member {
    consumer: BaseConsumer<ReplayContext>,
    topic: Arc<str>,
    group: String,
}

/// The group that replays of this service's dead letters share.
pub(super) fn group_of(kafka: &KafkaSettings) -> String {
    format!("{}-dead-letter-replay", kafka.group_id)
}

impl Member {
    /// Begins to join, in the background.
    pub(super) fn join(kafka: &KafkaSettings, topic: &str, state: State) -> Result<Self, RefusedByClient> {
        let refused = |error: KafkaError| RefusedByClient::new(&error, kafka);
        let group = group_of(kafka);
        let mut config = kafka_clients::reading(kafka, &group);
        let milliseconds = |duration: Duration| duration.as_millis().to_string();
        config
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", milliseconds(kafka.session_timeout))
            .set("heartbeat.interval.ms", milliseconds(kafka.heartbeat_interval))
            .set("max.poll.interval.ms", milliseconds(kafka.max_poll_interval));
        let topic: Arc<str> = topic.into();
        let context = ReplayContext {
            state: Arc::new(Mutex::new(state)),
            ears: Arc::default(),
            topic: Arc::clone(&topic),
        };
        let consumer: BaseConsumer<ReplayContext> = config.create_with_context(context).map_err(refused)?;
        consumer.subscribe(&[&topic]).map_err(refused)?;
        Ok(Self { consumer, topic, group })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.consumer.context().state()
    }

    /// The most telling thing that went wrong.
    pub(super) fn heard(&self) -> Option<String> {
        self.consumer.context().ears.heard()
    }

    /// One turn: reads what there is, takes in what ended, starts what there is room for.
    pub(super) fn turn(&self) -> Result<(), DeadLettersError> {
        for _ in 0..RECORDS_PER_TURN {
            match self.consumer.poll(ONE_WAIT) {
                Some(Ok(message)) => {
                    let record = Record::read(Arc::clone(&self.topic), &message);
                    self.state().take(record);
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => self.state().read_to_the_end(partition),
                Some(Err(error)) => self.failed(&error)?,
                None => break,
            }
        }
        let mut state = self.state();
        if let Some(cause) = state.broken.take() {
            return Err(DeadLettersError::Broken { cause });
        }
        state.go_on();
        Ok(())
    }

    fn failed(&self, error: &KafkaError) -> Result<(), DeadLettersError> {
        let forbidden =
            [RDKafkaErrorCode::TopicAuthorizationFailed, RDKafkaErrorCode::GroupAuthorizationFailed];
        let code = error.rdkafka_error_code();
        if let KafkaError::MessageConsumptionFatal(_) = error {
            return Err(DeadLettersError::Broken { cause: error.to_string() });
        }
        if code.is_some_and(|code| forbidden.contains(&code)) {
            let Self { group, topic, .. } = self;
            let cause = format!(
                "Kafka refuses access: have Read granted on group {group} and topic {topic} ({error})"
            );
            return Err(DeadLettersError::Broken { cause });
        }
        // It goes on by itself, or the silence tells.
        tracing::debug!("the replay's client: {error}");
        Ok(())
    }

    /// Gives every partition back, which lets calls on their way end, before the client is closed: one that is closed in the
    /// middle of a rebalance may hang.
    pub(super) fn leave(&self) {
        let deadline = Instant::now() + LONGEST_REVOCATION;
        loop {
            self.consumer.unsubscribe();
            // Records that still come are nobody's any more.
            drop(self.consumer.poll(ONE_WAIT));
            if self.state().owns_nothing() || Instant::now() >= deadline {
                return;
            }
        }
    }
}
