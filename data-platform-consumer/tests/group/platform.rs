//! A data platform that a test watches and controls.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use data_platform_consumer::delivery::Event;
use data_platform_consumer::sink::{Delivery, DeliveryFailure, Sink};
use tokio::sync::watch;

use crate::broker::DEADLINE;

/// One call of the sink, noted when it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) member: &'static str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) order_id: i64,
}

/// What the platform does with a call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Take,
    Fail,
    Reject,
    /// Wants no calls for so long.
    Throttle(Duration),
    TakeAfter(Duration),
    /// Takes it once [`Platform::open_gate`] was called.
    TakeAtTheGate,
}

type Manners = Box<dyn Fn(&Receipt) -> Answer + Send + Sync>;

#[derive(Default)]
struct Log {
    calls: Vec<Receipt>,
    taken: Vec<Receipt>,
}

pub(crate) struct Platform {
    log: Mutex<Log>,
    changed: Condvar,
    manners: Mutex<Manners>,
    gate: watch::Sender<bool>,
}

impl Platform {
    pub(crate) fn with(manners: impl Fn(&Receipt) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            log: Mutex::default(),
            changed: Condvar::new(),
            manners: Mutex::new(Box::new(manners)),
            gate: watch::channel(false).0,
        })
    }

    pub(crate) fn taking_everything() -> Arc<Self> {
        Self::with(|_| Answer::Take)
    }

    pub(crate) fn change_to(&self, manners: impl Fn(&Receipt) -> Answer + Send + Sync + 'static) {
        *self.manners.lock().unwrap() = Box::new(manners);
    }

    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// What a member of this name hands its events to.
    pub(crate) fn sink_of(self: &Arc<Self>, member: &'static str) -> Arc<dyn Sink> {
        Arc::new(PlatformSink { platform: Arc::clone(self), member })
    }

    /// Waits until the calls that began are as wanted.
    pub(crate) fn await_calls(&self, what: &str, wanted: impl Fn(&[Receipt]) -> bool) -> Vec<Receipt> {
        self.wait(what, |log| &log.calls, wanted)
    }

    /// Waits until what was taken is as wanted.
    pub(crate) fn await_taken(&self, what: &str, wanted: impl Fn(&[Receipt]) -> bool) -> Vec<Receipt> {
        self.wait(what, |log| &log.taken, wanted)
    }

    pub(crate) fn taken(&self) -> Vec<Receipt> {
        self.log.lock().unwrap().taken.clone()
    }

    fn wait(
        &self,
        what: &str,
        list: impl Fn(&Log) -> &Vec<Receipt>,
        wanted: impl Fn(&[Receipt]) -> bool,
    ) -> Vec<Receipt> {
        let deadline = Instant::now() + DEADLINE;
        let mut log = self.log.lock().unwrap();
        while !wanted(list(&log)) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what}: {:?}", list(&log));
            log = self.changed.wait_timeout(log, left).unwrap().0;
        }
        list(&log).clone()
    }

    fn note(&self, change: impl FnOnce(&mut Log)) {
        change(&mut self.log.lock().unwrap());
        self.changed.notify_all();
    }
}

struct PlatformSink {
    platform: Arc<Platform>,
    member: &'static str,
}

impl Sink for PlatformSink {
    fn deliver<'a>(&'a self, event: &'a Event) -> Delivery<'a> {
        Box::pin(async move {
            let receipt = Receipt {
                member: self.member,
                partition: event.position().partition,
                offset: event.position().offset,
                order_id: event.message.order_id,
            };
            self.platform.note(|log| log.calls.push(receipt.clone()));
            let answer = (self.platform.manners.lock().unwrap())(&receipt);
            match answer {
                Answer::Take => {}
                Answer::Fail => return Err(DeliveryFailure::unavailable("503, as the test wants")),
                Answer::Reject => return Err(DeliveryFailure::rejected("422, as the test wants")),
                Answer::Throttle(time) => {
                    return Err(DeliveryFailure::throttled("429, as the test wants", Some(time)));
                }
                Answer::TakeAfter(time) => tokio::time::sleep(time).await,
                Answer::TakeAtTheGate => {
                    self.platform.gate.subscribe().wait_for(|open| *open).await.unwrap();
                }
            }
            self.platform.note(|log| log.taken.push(receipt));
            Ok(())
        })
    }
}

/// The orders in the order in which each was seen first.
pub(crate) fn first_seen(receipts: &[Receipt]) -> Vec<i64> {
    let mut seen = Vec::new();
    for receipt in receipts {
        if !seen.contains(&receipt.order_id) {
            seen.push(receipt.order_id);
        }
    }
    seen
}

/// How often each order was taken.
pub(crate) fn times_taken(receipts: &[Receipt]) -> HashMap<i64, usize> {
    receipts.iter().fold(HashMap::new(), |mut times, receipt| {
        *times.entry(receipt.order_id).or_default() += 1;
        times
    })
}
