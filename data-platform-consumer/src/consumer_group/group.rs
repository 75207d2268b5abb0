//! # Group
//!
//! Everything that one member knows: its assignments, its mailbox, and whether it is stopping. Only the poll
//! thread touches it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::message::{BorrowedMessage, Message};

use super::assignment::Window;
use super::assignments::{Assignments, DeliveryRules};
use super::examination::Examination;
use super::offset_commits::OffsetCommits;
use super::oversight::Overseer;
use super::{GroupConsumer, Signal, client};
use crate::delivery::Record;
use crate::delivery::call::{Call, Calls};
use crate::delivery::dead_letters::DeadLetters;
use crate::health::Health;
use crate::kafka_clients::reach::Reach;
use crate::settings::{DeliverySettings, KafkaSettings};

/// How many records to read before looking into the mailbox again: a call that has ended waits for so long to be
/// followed by the next.
pub(super) const RECORDS_PER_TURN: usize = 64;
/// A platform of which nothing is heard for so long takes fewer than 2,000 records a second.
pub(super) const MOMENT: Duration = Duration::from_micros(500);
const LONGEST_WAIT_FOR_SIGNALS: Duration = Duration::from_secs(1);

pub(crate) struct Group {
    pub(crate) kafka: KafkaSettings,
    pub(crate) config: rdkafka::ClientConfig,
    pub(crate) assignments: Assignments<Arc<Record>>,
    pub(crate) health: Health,
    pub(crate) client_is_broken: bool,
    /// When the client last said that it is taking no partitions back.
    unassigns_nothing_at: Option<Instant>,
    /// Whether it said last that no rebalance is under way.
    is_steady: bool,
    pub(super) in_flight_limit: usize,
    last_report: Option<Instant>,
    /// Calls that had ended when records were read last.
    ended_before: u64,
    pub(super) overseer: Overseer,
    /// Whether the present client reaches any broker.
    reach: Reach,
    /// Clients in a row that were replaced as they reached none.
    unreached_clients: u32,
    /// Whether the present client ever had partitions of the topic.
    client_knew_the_topic: bool,
    pub(super) topic: Arc<str>,
    drain_timeout: Duration,
    signals: Receiver<Signal>,
    pub(super) calls: Calls,
    /// Empty but while calls are started.
    to_start: Vec<Call>,
    /// What this client was told to pause. It stays so over revocation and assignment.
    pub(super) paused: BTreeSet<i32>,
    pub(super) dead_letters: DeadLetters,
    commits: OffsetCommits,
    /// Set by the stop signal: until when calls on the wire may end.
    stop_by: Option<Instant>,
    pub(super) examination: Option<Examination>,
}

impl Group {
    pub(crate) fn new(
        kafka: KafkaSettings,
        delivery: &DeliverySettings,
        signals: Receiver<Signal>,
        calls: Calls,
        dead_letters: DeadLetters,
        health: Health,
    ) -> Self {
        let rules = DeliveryRules {
            in_flight_limit: delivery.in_flight_limit,
            window: Window { records: delivery.window, bytes: delivery.window_bytes },
            retry: delivery.retry,
            breaker: delivery.breaker,
            blame: delivery.give_up,
            ceiling: delivery.dead_letter_ceiling,
        };
        let topic: Arc<str> = kafka.topic.as_str().into();
        Self {
            config: client::config(&kafka, delivery),
            assignments: Assignments::new(rules),
            client_is_broken: false,
            unassigns_nothing_at: None,
            is_steady: false,
            in_flight_limit: delivery.in_flight_limit,
            last_report: None,
            ended_before: 0,
            overseer: Overseer::new(delivery.stall_timeout, Instant::now()),
            reach: Reach::of_a_session(kafka.session_timeout),
            unreached_clients: 0,
            client_knew_the_topic: false,
            drain_timeout: delivery.drain_timeout,
            commits: OffsetCommits::new(topic.clone(), kafka.commit_interval, Instant::now()),
            topic,
            stop_by: None,
            examination: None,
            kafka,
            signals,
            calls,
            to_start: Vec::new(),
            paused: BTreeSet::new(),
            dead_letters,
            health,
        }
    }

    /// Waits for a signal, for something to be due, or for `longest`; then takes every signal there is. For whoever sees
    /// to what is due afterwards.
    pub(crate) fn await_signals(&mut self, longest: Duration) {
        let now = Instant::now();
        let due = self.assignments.next_due(now);
        self.await_only_signals(due.map_or(longest, |at| at.saturating_duration_since(now).min(longest)));
    }

    /// Waits for a signal, or for `longest`; then takes every signal there is.
    pub(crate) fn await_only_signals(&mut self, longest: Duration) {
        match self.signals.recv_timeout(longest) {
            Ok(signal) => self.apply(signal),
            Err(RecvTimeoutError::Timeout) => return,
            // The poll thread itself holds a sender: this cannot be while it runs.
            Err(RecvTimeoutError::Disconnected) => self.begin_to_stop(),
        }
        while let Ok(signal) = self.signals.try_recv() {
            self.apply(signal);
        }
    }

    fn apply(&mut self, signal: Signal) {
        match signal {
            Signal::Readable => {}
            Signal::Stop => self.begin_to_stop(),
            Signal::Reported(reports) => {
                let now = Instant::now();
                self.last_report = Some(now);
                self.reported(reports, now);
            }
            Signal::Parked(report) => self.parked(report),
            Signal::DeadLettersSeen { assignment, partition, seen } => {
                self.dead_letters_seen(assignment, partition, &seen);
            }
            Signal::EndSeen(end) => self.end_seen(end),
            Signal::Committed(commits, result) => {
                self.commits.answered(&commits, &result, &mut self.assignments, &self.health);
            }
        }
    }

    /// How many records to read in this turn. Twice as many as may be on their way are enough at hand for a platform that is
    /// just answering: with more, intake outruns it until the window is full, and each pause throws away what was fetched,
    /// which is fetched again only after up to a second. Where few keys leave little to start, as much is read as has ended.
    ///
    /// From a platform that is silent for a moment nothing is held back; then the window is the bound. What the group says
    /// comes behind the records that were fetched before it, so holding back is only for who is through with them in a
    /// few seconds.
    pub(super) fn records_to_read(&mut self) -> usize {
        let ended = self.assignments.ended();
        let ended_since = ended - std::mem::replace(&mut self.ended_before, ended);
        let now = Instant::now();
        if self.last_report.is_none_or(|last| now.saturating_duration_since(last) >= MOMENT) {
            return RECORDS_PER_TURN;
        }
        let enough = self.in_flight_limit.saturating_mul(2);
        let wanted = enough.saturating_sub(self.assignments.ready());
        if self.assignments.one_has_enough(4 * MOMENT, now) {
            return wanted.min(usize::try_from(ended_since).unwrap_or(usize::MAX));
        }
        wanted.min(RECORDS_PER_TURN)
    }

    /// Starts whatever there is room for.
    pub(crate) fn start_calls(&mut self) {
        let now = Instant::now();
        let mut calls = std::mem::take(&mut self.to_start);
        while let Some(call) = self.assignments.start_next(now) {
            calls.push(call);
        }
        self.calls.start(&mut calls);
        self.to_start = calls;
        self.park_what_is_at_fault(now);
    }

    /// Takes a record in. Whether it can be understood is found out by its call.
    pub(crate) fn read(&mut self, record: &BorrowedMessage<'_>) {
        let (partition, offset) = (record.partition(), record.offset());
        if !self.assignments.takes_in(partition) {
            // Fetched before the partition was paused or handed back. It is not lost: nothing of it is committed.
            return;
        }
        let copy = Record::read(self.topic.clone(), record);
        let bytes = copy.bytes();
        if !self.assignments.take_in(partition, offset, record.key(), (Arc::new(copy), bytes)) {
            tracing::debug!(kafka.partition = partition, kafka.offset = offset, "read twice, taken once");
        }
    }

    pub(super) fn stop_partition(&mut self, consumer: &GroupConsumer, partition: i32) {
        self.assignments.stop(partition);
        self.set_paused(consumer, &[partition], true);
    }

    /// Pauses what is full and resumes what has room again.
    pub(crate) fn steer_intake(&mut self, consumer: &GroupConsumer) {
        let changes = self.assignments.intake_changes();
        self.set_paused(consumer, &changes.pause, true);
        self.set_paused(consumer, &changes.resume, false);
    }

    fn set_paused(&mut self, consumer: &GroupConsumer, partitions: &[i32], paused: bool) {
        if partitions.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(&self.topic, *partition);
        }
        let result = if paused { consumer.pause(&list) } else { consumer.resume(&list) };
        match result {
            Ok(()) => {
                tracing::debug!(?partitions, paused, "intake steered");
                if paused {
                    self.paused.extend(partitions);
                } else {
                    self.paused.retain(|partition| !partitions.contains(partition));
                }
            }
            Err(error) => {
                tracing::error!(?partitions, "cannot pause or resume, so the client is replaced: {error}");
                self.client_is_broken = true;
            }
        }
    }

    pub(crate) fn commit_if_due(&mut self, consumer: &Arc<GroupConsumer>) {
        self.commits.send_if_due(consumer, &self.calls, &mut self.assignments);
    }

    /// Waits for the commit under way, and for a look-up, which hold on to the client.
    pub(crate) fn await_commit(&mut self) {
        while self.commits.is_under_way() || self.overseer.is_looking_up() {
            self.await_only_signals(LONGEST_WAIT_FOR_SIGNALS);
        }
    }

    /// The same, but not for longer than until then: its answer must not come behind that of a later one.
    pub(super) fn await_commit_until(&mut self, deadline: Instant) {
        while self.commits.is_under_way() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.await_only_signals(left);
        }
    }

    /// The client was given partitions of the topic.
    pub(crate) fn topic_is_known(&mut self) {
        self.client_knew_the_topic = true;
    }

    /// A client that knew a topic takes one of that name, created anew, for the old one with an outdated leader, and
    /// never reads it; a new client does.
    pub(crate) fn topic_is_missing(&mut self) {
        self.health.topic_missing();
        if self.client_knew_the_topic && !self.client_is_broken {
            tracing::warn!(kafka.topic = %self.topic, "the topic {} is gone, so the client that read it is replaced", self.topic);
            self.client_is_broken = true;
        }
    }

    fn begin_to_stop(&mut self) {
        if self.stop_by.is_none() {
            self.stop_by = Some(Instant::now() + self.drain_timeout);
        }
    }

    /// What its statistics say, too. One that has reached no broker for long may never do so again by itself (see
    /// [`crate::kafka_clients::reach`]).
    pub(crate) fn client_reaches(&mut self, a_broker: bool, now: Instant) {
        self.reach.looked(a_broker, now);
        if a_broker {
            self.unreached_clients = 0;
        } else if self.reach.is_lost(now) && !self.client_is_broken {
            let patience = self.reach.patience();
            if self.unreached_clients == 0 {
                tracing::warn!(
                    "the Kafka client has reached no broker for {patience:?}, so it is replaced, and again each so long until one \
                     is reached"
                );
            }
            self.unreached_clients = self.unreached_clients.saturating_add(1);
            self.client_is_broken = true;
        }
    }

    /// Whether the last client was replaced for that, and how many before it.
    pub(super) fn unreached_clients(&self) -> u32 {
        self.unreached_clients
    }

    /// Its statistics came at this time, with librdkafka's name for the state of its membership.
    pub(crate) fn client_said(&mut self, join_state: &str, now: Instant) {
        // `wait-unassign-call`, `wait-unassign-to-complete`, `wait-incr-unassign-to-complete`.
        self.unassigns_nothing_at = (!join_state.contains("unassign")).then_some(now);
        self.is_steady = join_state == "steady";
    }

    /// Whether a stop keeps the membership for the next start: by setting, and not in the middle of a rebalance, in which the
    /// client may hang when it is closed.
    pub(crate) fn stays_a_member(&self) -> bool {
        self.is_static() && self.is_steady
    }

    /// Whether its membership has a name of its own.
    pub(crate) fn is_static(&self) -> bool {
        !self.kafka.group_instance_id.is_empty()
    }

    pub(crate) fn has_unassigned_since(&self, since: Instant) -> bool {
        self.unassigns_nothing_at.is_some_and(|said_at| said_at > since)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop_by.is_some()
    }

    /// Until when calls may end: a stop that was asked for earlier does not wait twice.
    pub(crate) fn drain_deadline(&self, now: Instant) -> Instant {
        self.stop_by.unwrap_or(now + self.drain_timeout)
    }

    /// Waits for the calls of these partitions, while those of all others go on.
    pub(crate) fn await_calls(&mut self, partitions: &[i32], deadline: Instant) {
        self.start_calls();
        while self.assignments.are_draining(partitions, deadline) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::warn!(?partitions, "calls are still on their way; the next owner repeats them");
                return;
            }
            self.await_signals(left);
            self.start_calls();
        }
    }

    /// Stops taking in, for a stop. The thread goes on polling, so the member stays one until it leaves.
    pub(crate) fn close_all(&mut self, consumer: &GroupConsumer) -> Vec<i32> {
        let partitions = self.assignments.partitions();
        self.set_paused(consumer, &partitions, true);
        for partition in &partitions {
            self.assignments.close(*partition);
        }
        partitions
    }

    /// Nothing is ours any more: the client that it was assigned to is gone.
    pub(crate) fn forget_assignments(&mut self) {
        for partition in self.assignments.partitions() {
            self.assignments.revoke(partition);
            self.health.partition_gone(partition);
        }
        self.client_is_broken = false;
        (self.unassigns_nothing_at, self.is_steady) = (None, false);
        self.client_knew_the_topic = false;
        self.reach.begin();
        self.paused.clear();
        self.overseer.forget_all();
        self.tell_of_the_rest(false);
        self.health.delivery.nothing_owned();
        self.examination = None;
        self.health.client_replaced();
    }
}
