//! # Health of delivery
//!
//! What an operator must know of the data platform and of records at fault: alarms, readiness and counters. A platform that
//! is away is an alarm and leaves the member ready, as no other replica would do better. A partition that stopped at the
//! ceiling of dead letters makes it unready: nothing but an operator gets it going again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use service_chassis::alarms::Alarms;
use service_chassis::management::Readiness;
use service_chassis::visible::visible;

use crate::consumer_group::{Reported, Standstill};
use crate::delivery::breaker::BreakerState;
use crate::delivery::fault::Fault;
use crate::sink::FailureKind;

/// The component that readiness tells of.
pub const DELIVERY: &str = "delivery";
/// Most records fail, so the data platform is asked only now and then.
pub const PLATFORM_UNAVAILABLE: &str = "platform-unavailable";
/// The data platform takes nothing from this service.
pub const SINK_MISCONFIGURED: &str = "sink-misconfigured";
/// A record at fault cannot be written to the dead letters, so its partition's position stands.
pub const DEAD_LETTERS_UNWRITABLE: &str = "dead-letters-unwritable";
/// Too many records of a partition are at fault, so it stopped.
pub const DEAD_LETTER_CEILING: &str = "dead-letter-ceiling";

/// A partition has work and does not move, so this member leaves the group.
pub const STALLED: &str = "stalled";
/// A partition cannot be read: it has no leader, its broker is out of reach, or no client can fetch what it holds.
pub const PARTITION_UNREADABLE: &str = "partition-unreadable";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CauseLabels {
    cause: &'static str,
}

/// A clone is another handle on the same.
#[derive(Clone)]
pub(crate) struct DeliveryHealth {
    topic: Arc<str>,
    readiness: Readiness,
    alarms: Alarms,
    calls: Family<OutcomeLabels, Counter>,
    at_fault: Family<CauseLabels, Counter>,
    parked: Counter,
    breaker_is_open: Gauge,
    stopped: Arc<Mutex<Stopped>>,
}

/// What makes the member unready.
#[derive(Default)]
struct Stopped {
    at_ceiling: BTreeSet<i32>,
    unreadable: BTreeSet<i32>,
    stalled: bool,
}

impl DeliveryHealth {
    pub(super) fn new(topic: Arc<str>, readiness: Readiness, alarms: Alarms) -> Self {
        readiness.set_ready(DELIVERY);
        Self {
            topic,
            readiness,
            alarms,
            calls: Family::default(),
            at_fault: Family::default(),
            parked: Counter::default(),
            breaker_is_open: Gauge::default(),
            stopped: Arc::default(),
        }
    }

    pub(super) fn register_metrics(&self, registry: &mut Registry) {
        let help = "Calls for a record that have ended, by what became of it";
        registry.register("calls", help, self.calls.clone());
        let help = "Records found to be at fault themselves, by the cause";
        registry.register("records_at_fault", help, self.at_fault.clone());
        let help = "Dead letters that were acknowledged";
        registry.register("dead_letters_parked", help, self.parked.clone());
        let help = "Whether most records fail (1), so that intake pauses, or not (0)";
        registry.register("breaker_open", help, self.breaker_is_open.clone());
    }

    /// So many calls in a row were taken.
    pub(crate) fn delivered(&self, calls: u64, breaker: BreakerState) {
        self.calls.get_or_create(&OutcomeLabels { outcome: "delivered" }).inc_by(calls);
        self.alarms.clear(SINK_MISCONFIGURED, "");
        self.tell_breaker(breaker, None);
    }

    /// What became of a call that was not taken, and what the breaker makes of it.
    pub(crate) fn not_delivered(&self, reported: &Reported, breaker: BreakerState) {
        let outcome = match reported {
            Reported::Delivered => "delivered",
            Reported::Failed { .. } => "failed",
            Reported::AtFault { cause, .. } => {
                self.at_fault.get_or_create(&CauseLabels { cause: cause.as_str() }).inc();
                "at_fault"
            }
            Reported::LeftToTheNextOwner => "left_to_the_next_owner",
            Reported::Late => "late",
        };
        self.calls.get_or_create(&OutcomeLabels { outcome }).inc();
        self.tell_misconfigured(reported);
        let failed =
            if let Reported::Failed { not_delivered, .. } = reported { Some(not_delivered) } else { None };
        self.tell_breaker(breaker, failed.map(|not_delivered| &not_delivered.fault));
    }

    fn tell_misconfigured(&self, reported: &Reported) {
        match reported {
            Reported::Failed { not_delivered, .. } => {
                if let Fault::Platform(failure) = &not_delivered.fault
                    && failure.kind() == FailureKind::Misconfigured
                {
                    let detail = format!(
                        "the data platform takes nothing from this service: {failure}; correct the settings `[sink]` or \
                         what is granted there; it is tried until it is taken, and nothing is lost"
                    );
                    self.alarms.raise(SINK_MISCONFIGURED, "", detail);
                }
            }
            Reported::Delivered => self.alarms.clear(SINK_MISCONFIGURED, ""),
            // One that the sink did not even ask about says nothing of the platform.
            Reported::AtFault { not_delivered, .. } if is_rejected(&not_delivered.fault) => {
                self.alarms.clear(SINK_MISCONFIGURED, "");
            }
            Reported::AtFault { .. } | Reported::LeftToTheNextOwner | Reported::Late => {}
        }
    }

    fn tell_breaker(&self, breaker: BreakerState, failure: Option<&Fault>) {
        let is_open = breaker == BreakerState::Open;
        if is_open && let Some(fault) = failure {
            let detail = format!(
                "most records fail, so intake pauses, and the data platform is asked now and then whether it is back: {fault}"
            );
            self.alarms.raise(PLATFORM_UNAVAILABLE, "", detail);
        } else if !is_open && self.breaker_is_open.get() == 1 {
            self.alarms.clear(PLATFORM_UNAVAILABLE, "");
        }
        self.breaker_is_open.set(i64::from(is_open));
    }

    /// What the platform does is seen by those who own something.
    pub(crate) fn nothing_owned(&self) {
        self.alarms.clear(PLATFORM_UNAVAILABLE, "");
        self.alarms.clear(SINK_MISCONFIGURED, "");
        self.breaker_is_open.set(0);
    }

    /// What stands there can be read at least; a write that fails raises its alarm again.
    pub(crate) fn dead_letters_readable(&self, partition: i32) {
        self.alarms.clear(DEAD_LETTERS_UNWRITABLE, &self.subject(partition));
    }

    pub(crate) fn parked(&self, partition: i32) {
        self.parked.inc();
        self.alarms.clear(DEAD_LETTERS_UNWRITABLE, &self.subject(partition));
    }

    pub(crate) fn dead_letters_unwritable(&self, partition: i32, cause: &str) {
        let detail =
            format!("a record at fault cannot be parked, so its position stands until it is: {cause}");
        self.alarms.raise(DEAD_LETTERS_UNWRITABLE, &self.subject(partition), detail);
    }

    pub(crate) fn ceiling_reached(&self, partition: i32) {
        let subject = self.subject(partition);
        let detail = format!(
            "{subject} stopped: too many of its records became dead letters (`delivery.dead_letter_ceiling`); find out why \
             (`data-platform-consumer dead-letters list`), and let it go on (`data-platform-consumer dead-letters resume`)"
        );
        self.alarms.raise(DEAD_LETTER_CEILING, &subject, detail);
        self.lock().at_ceiling.insert(partition);
        self.tell_readiness();
    }

    pub(crate) fn ceiling_lifted(&self, partition: i32) {
        self.alarms.clear(DEAD_LETTER_CEILING, &self.subject(partition));
        self.lock().at_ceiling.remove(&partition);
        self.tell_readiness();
    }

    /// The partition's alarms are its next owner's.
    pub(super) fn partition_gone(&self, partition: i32) {
        let subject = self.subject(partition);
        self.alarms.clear(DEAD_LETTERS_UNWRITABLE, &subject);
        if self.lock().unreadable.remove(&partition) {
            self.alarms.clear(PARTITION_UNREADABLE, &subject);
        }
        self.ceiling_lifted(partition);
    }

    /// These partitions do not move, and others could do better: this member leaves the group for a while.
    pub(crate) fn stalled(
        &self,
        standing: &[(i32, Standstill)],
        patience: Duration,
        fetch_error: Option<&str>,
    ) {
        self.alarms.raise(STALLED, "", stalled_in_words(&self.topic, standing, patience, fetch_error));
        self.lock().stalled = true;
        self.tell_readiness();
    }

    /// Of these partitions some cannot be read, by nobody as far as is known: all that this member could do is wait.
    pub(crate) fn unreadable(
        &self,
        standing: &[(i32, Standstill)],
        patience: Duration,
        fetch_error: Option<&str>,
    ) {
        let mut unreadable = BTreeSet::new();
        for (partition, standstill) in standing {
            let subject = self.subject(*partition);
            let why = match standstill {
                Standstill::NoLeader => {
                    "it has no leader: see which brokers are down, and whether it has replicas on others"
                        .to_owned()
                }
                Standstill::BrokerAway(broker) => format!(
                    "broker {broker}, which serves it, cannot be reached from here, and no other member has read it \
                     meanwhile: see whether it runs, and whether its advertised address is one for this host"
                ),
                Standstill::NotFetched => format!(
                    "its leader is in reach, and nothing of it is fetched, by a new client neither, and no other member has read it \
                     meanwhile{}",
                    said(fetch_error)
                ),
                Standstill::CallsDoNotEnd => continue,
            };
            let detail = format!(
                "{subject} was not read for {patience:?} (`delivery.stall_timeout`), and what it holds is not known: {why}; \
                 the others are read meanwhile, and it is, as soon as it can be"
            );
            self.alarms.raise(PARTITION_UNREADABLE, &subject, detail);
            unreadable.insert(*partition);
        }
        let before = std::mem::replace(&mut self.lock().unreadable, unreadable.clone());
        if before != unreadable {
            for partition in before.difference(&unreadable) {
                self.alarms.clear(PARTITION_UNREADABLE, &self.subject(*partition));
            }
            self.tell_readiness();
        }
    }

    /// Something moves, or there is nothing to do.
    pub(crate) fn moving(&self) {
        if std::mem::take(&mut self.lock().stalled) {
            self.alarms.clear(STALLED, "");
            self.tell_readiness();
        }
    }

    fn tell_readiness(&self) {
        let Stopped { at_ceiling, unreadable, stalled } = &*self.lock();
        if *stalled {
            self.readiness.set_unready_quietly(DELIVERY, "it has stalled");
        } else if !unreadable.is_empty() {
            let reason = format!("partitions {unreadable:?} cannot be read");
            self.readiness.set_unready_quietly(DELIVERY, reason);
        } else if at_ceiling.is_empty() {
            self.readiness.set_ready(DELIVERY);
        } else {
            let reason = format!("partitions {at_ceiling:?} stopped at the ceiling of dead letters");
            self.readiness.set_unready_quietly(DELIVERY, reason);
        }
    }

    fn subject(&self, partition: i32) -> String {
        format!("{}[{partition}]", self.topic)
    }

    fn lock(&self) -> MutexGuard<'_, Stopped> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The client's own words.
fn said(fetch_error: Option<&str>) -> String {
    fetch_error.map_or_else(String::new, |reason| format!("; the client said last: {}", visible(reason)))
}

fn stalled_in_words(
    topic: &str,
    standing: &[(i32, Standstill)],
    patience: Duration,
    fetch_error: Option<&str>,
) -> String {
    let mut causes: BTreeMap<Standstill, Vec<i32>> = BTreeMap::new();
    for (partition, standstill) in standing {
        causes.entry(*standstill).or_default().push(*partition);
    }
    let found = causes.iter().map(|(standstill, partitions)| {
        let why = match standstill {
            Standstill::CallsDoNotEnd => {
                "calls to the data platform (or writes to the dead letters) do not end: see what holds them, and restart this \
                 member if they never end; until most of them have, it does not come back"
                    .to_owned()
            }
            Standstill::NotFetched => format!(
                "there are records to fetch, or may be, and the client fetches none from a broker that it reaches: it is replaced{}",
                said(fetch_error)
            ),
            Standstill::BrokerAway(broker) => format!(
                "broker {broker}, which serves them, cannot be reached from here, so they are not read: see whether it runs, and \
                 whether its advertised address is one for this host"
            ),
            Standstill::NoLeader => {
                "they have no leader, so nobody can read them: see which brokers are down".to_owned()
            }
        };
        format!("partitions {partitions:?} of {topic}: {why}")
    });
    let found: Vec<String> = found.collect();
    format!(
        "nothing has moved for {patience:?} (`delivery.stall_timeout`), so this member leaves the group, and another may take over; \
         it joins again later. {}",
        found.join(". ")
    )
}

fn is_rejected(fault: &Fault) -> bool {
    matches!(fault, Fault::Platform(failure) if failure.kind() == FailureKind::Rejected)
}
