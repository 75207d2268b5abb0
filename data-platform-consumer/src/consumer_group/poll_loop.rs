//! # Poll loop
//!
//! The one thread that polls, from joining the group to leaving it. Calls to the data platform run elsewhere, so
//! one that takes longer than `max_poll_interval` costs no membership
//! (`calls_longer_than_the_poll_interval_keep_the_membership`). It sleeps in its mailbox: librdkafka puts a signal
//! there when it has something, and every call that ends reports there, so nothing waits for a tick, and
//! an idle consumer does next to nothing.
//!
//! Where it does wait, between two polls, it waits for a bounded time: when partitions are handed back, up to
//! `delivery.drain_timeout` for their calls and then for the answer to their commit; when they are taken
//! over, up to `kafka.position_timeout`; when a position is missing, two seconds a turn. Leaving may wait for a
//! coordinator that is away; who asked for the stop bounds that (`startup`).
//!
//! The first client is set up before the thread starts, as properties that librdkafka refuses are a fault in the
//! settings. A client that is beyond repair later (a fatal error, a rebalance that it refused, a partition
//! that it no longer reads, a topic that was deleted) is replaced by a new one after a wait that grows. So is one that has reached
//! no broker for longer than its session: librdkafka reconnects to a Kafka that was away by itself, but not if it has lost
//! all its brokers ([`crate::kafka_clients::reach`]; `a_member_whose_client_has_lost_all_its_brokers_gets_a_new_one`).

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::group::{Group, MOMENT, RECORDS_PER_TURN};
use super::rebalance::GroupContext;
use super::{GroupConsumer, RefusedByClient, Signal, offset_commits};

/// The client's signal could get lost; a poll at this interval finds what it was about. It is also how often
/// the client sees that we are alive.
const LONGEST_SLEEP: Duration = Duration::from_millis(250);
/// While something is expected at once.
const SHORT_SLEEP: Duration = Duration::from_millis(10);
/// How long a client has to call back for its partitions when it is closed, beyond what the callback itself takes.
const LONGEST_REVOCATION: Duration = Duration::from_secs(5);
/// The client says once a second how its membership stands.
const LONGEST_WAIT_TO_BE_STEADY: Duration = Duration::from_secs(2);
const FIRST_WAIT_FOR_A_NEW_CLIENT: Duration = Duration::from_millis(500);
const LONGEST_WAIT_FOR_A_NEW_CLIENT: Duration = Duration::from_secs(30);

enum Ending {
    Stopped,
    ClientIsBroken,
}

/// The loop with its first client.
pub(super) struct PollLoop {
    context: GroupContext,
    consumer: Arc<GroupConsumer>,
    wake: Sender<Signal>,
}

impl PollLoop {
    /// Sets the first client up, which begins to join the group.
    pub(super) fn set_up(group: Group, wake: Sender<Signal>) -> Result<Self, RefusedByClient> {
        let context = GroupContext::new(group);
        let consumer =
            join(&context, &wake).map_err(|error| RefusedByClient::new(&error, &context.group().kafka))?;
        Ok(Self { context, consumer, wake })
    }

    /// Runs until a stop was asked for and the group is left.
    pub(super) fn run(self) {
        let Self { context, consumer, wake } = self;
        let mut wait = FIRST_WAIT_FOR_A_NEW_CLIENT;
        let mut joined = Ok(consumer);
        loop {
            let started = Instant::now();
            match joined.map(|consumer| Member { consumer, context: context.clone() }.run()) {
                Ok(Ending::Stopped) => return,
                Ok(Ending::ClientIsBroken) => {}
                Err(error) => tracing::error!("cannot set up the Kafka client: {error}"),
            }
            // One that reached no broker was given its time, which paces the next ones.
            if started.elapsed() > LONGEST_WAIT_FOR_A_NEW_CLIENT || context.group().unreached_clients() > 0 {
                wait = FIRST_WAIT_FOR_A_NEW_CLIENT;
            }
            wait_for_next_client(&context, wait);
            wait = (wait * 2).min(LONGEST_WAIT_FOR_A_NEW_CLIENT);
            if context.group().is_stopping() {
                return;
            }
            joined = join(&context, &wake);
        }
    }
}

fn wait_for_next_client(context: &GroupContext, wait: Duration) {
    let mut group = context.group();
    group.forget_assignments();
    let rest = group.take_rest();
    let wait = rest.map_or(wait, |rest| rest.max(wait));
    // An outage may last for days, and an alarm tells of it.
    if group.unreached_clients() > 1 {
        tracing::debug!("a new Kafka client is set up in {wait:?}");
    } else {
        tracing::warn!("a new Kafka client is set up in {wait:?}");
    }
    let deadline = Instant::now() + wait;
    while Instant::now() < deadline && !group.is_stopping() {
        group.await_only_signals(deadline.saturating_duration_since(Instant::now()));
    }
    if rest.is_none() || group.has_room_to_come_back() {
        return;
    }
    tracing::warn!("it waits for calls to end first, as there is no room to work");
    while !group.has_room_to_come_back() && !group.is_stopping() {
        group.tell_of_the_rest(true);
        group.await_only_signals(LONGEST_SLEEP);
    }
}

fn join(context: &GroupContext, wake: &Sender<Signal>) -> KafkaResult<Arc<GroupConsumer>> {
    let (config, topic, group_id, is_one_of_many) = {
        let group = context.group();
        let is_one_of_many = group.unreached_clients() > 1;
        (group.config.clone(), group.kafka.topic.clone(), group.kafka.group_id.clone(), is_one_of_many)
    };
    let mut consumer: GroupConsumer = config.create_with_context(context.clone())?;
    let wake = wake.clone();
    consumer.set_nonempty_callback(move || {
        // The mailbox is gone only when the thread that polls is.
        wake.send(Signal::Readable).ok();
    });
    consumer.subscribe(&[&topic])?;
    if !is_one_of_many {
        tracing::info!(
            kafka.topic = topic,
            kafka.group = group_id,
            "joining group {group_id} to read {topic}"
        );
    }
    Ok(Arc::new(consumer))
}

struct Member {
    consumer: Arc<GroupConsumer>,
    context: GroupContext,
}

impl Member {
    fn run(self) -> Ending {
        loop {
            let records = self.context.group().records_to_read();
            let drained = self.poll(records);
            let mut group = self.context.group();
            if group.client_is_broken {
                group.await_commit();
                drop(group);
                self.close();
                return Ending::ClientIsBroken;
            }
            group.start_calls();
            group.steer_intake(&self.consumer);
            group.examine_positions_if_due(&self.consumer);
            group.commit_if_due(&self.consumer);
            group.oversee_if_due(&self.consumer);
            group.await_signals(match records {
                _ if drained => LONGEST_SLEEP,
                // There is enough at hand, and the next answer is a moment away.
                0 => MOMENT,
                _ => Duration::ZERO,
            });
            group.start_calls();
            if group.is_stopping() {
                break;
            }
        }
        self.leave()
    }

    /// Reads what the client has, up to so many. False if there may be more.
    fn poll(&self, records: usize) -> bool {
        for _ in 0..records {
            let events_before = self.context.events_served();
            match self.consumer.poll(Duration::ZERO) {
                Some(Ok(record)) => self.context.group().read(&record),
                Some(Err(error)) => self.failed(&error),
                None if self.context.events_served() == events_before => return true,
                None => {}
            }
        }
        false
    }

    /// The context has logged it; here is what follows from it.
    fn failed(&self, error: &KafkaError) {
        if let KafkaError::MessageConsumptionFatal(_) = error {
            tracing::error!("the Kafka client is beyond repair and is replaced: {error}");
            self.context.group().client_is_broken = true;
        } else if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) {
            self.context.group().a_position_is_missing();
        }
    }

    /// Lets calls on the wire end, commits, and leaves. It polls all the while, or the group would think it dead.
    fn leave(self) -> Ending {
        let partitions = self.context.group().close_all(&self.consumer);
        tracing::info!("stopping: calls on their way may end");
        loop {
            self.poll(RECORDS_PER_TURN);
            let mut group = self.context.group();
            group.start_calls();
            let deadline = group.drain_deadline(Instant::now());
            if !group.assignments.are_draining(&partitions, deadline) || Instant::now() >= deadline {
                group.await_commit();
                let committable = group.assignments.committable(&group.assignments.partitions());
                offset_commits::send_and_wait(
                    &self.consumer,
                    &group.kafka.topic,
                    &committable,
                    &group.health,
                );
                break;
            }
            group.await_only_signals(LONGEST_SLEEP);
        }
        if self.stays_a_member() {
            // Closed as it is, it leaves nothing: the partitions are its own until the session is over, and it is back before that.
            drop(self.consumer);
            tracing::info!(
                "stopped, and a member of the group until the session is over, by kafka.group_instance_id"
            );
        } else {
            self.close();
            tracing::info!("left the group");
        }
        Ending::Stopped
    }

    /// Whether the next start finds its membership as it is. A rebalance that is under way may end within a moment.
    fn stays_a_member(&self) -> bool {
        let deadline = Instant::now() + LONGEST_WAIT_TO_BE_STEADY;
        loop {
            self.poll(RECORDS_PER_TURN);
            let mut group = self.context.group();
            if group.stays_a_member() || !group.is_static() || Instant::now() >= deadline {
                return group.stays_a_member();
            }
            group.await_only_signals(SHORT_SLEEP);
        }
    }

    /// Gives every partition back, and then closes the client.
    ///
    /// Not by dropping it alone: librdkafka closes in the middle of a rebalance, too, and a callback that waits to be
    /// served then is answered twice, upon which it hangs, or aborts the process
    /// (`rd_kafka_cgrp_terminated: assert: !rd_kafka_assignment_in_progress`). Unsubscribing waits for the rebalance; as
    /// it is put off until the member joins anew, it is asked for again until it is done. A rebalance that waits for other
    /// members is not waited for to its end: then callbacks were served a moment ago, and the window is as short as that.
    ///
    /// And not before the client has stopped fetching all of them: one that is closed in the middle of that never tells the
    /// coordinator that it leaves, and is taken for a member until its session is over
    /// (`rd_kafka_cgrp_incr_unassign_done`: a full unassign, and no leave). Its statistics say when that is done.
    fn close(self) {
        let mut deadline = Instant::now() + LONGEST_REVOCATION;
        let mut handed_back_at = None;
        loop {
            self.consumer.unsubscribe();
            let drained = self.poll(RECORDS_PER_TURN);
            let mut group = self.context.group();
            if drained && group.assignments.partitions().is_empty() {
                let since = *handed_back_at.get_or_insert_with(|| {
                    let now = Instant::now();
                    // Calls on their way were waited for meanwhile.
                    deadline = now + LONGEST_REVOCATION;
                    now
                });
                if group.has_unassigned_since(since) {
                    break;
                }
            }
            if Instant::now() >= deadline {
                tracing::warn!(
                    "the Kafka client does not take its partitions back, and is closed all the same; the others may get them \
                     only when its session is over"
                );
                break;
            }
            group.await_only_signals(SHORT_SLEEP);
        }
        drop(self.consumer);
    }
}
