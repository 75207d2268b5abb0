//! # The data platform of a run
//!
//! Lives in the consumer's process, and counts. What it is to do is said before it starts; when its goal is reached, it says how
//! long that took.
//!
//! **Short calls have a clock of their own**: the runtime's timers count in whole milliseconds, so that a call of 5 ms would
//! take 5 to 7. A thread sleeps until the oldest call has had its time, and answers it. How long calls really took is
//! measured by that thread when it answers: it is the platform's time, with nothing of the consumer's in it.

use super::member::{Began, Found};
use data_platform_consumer::delivery::Event;
use data_platform_consumer::sink::{Delivery, DeliveryFailure, Sink};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// From here on the runtime's timers are good enough.
const LONG: Duration = Duration::from_secs(1);

/// What the platform is to do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Manners {
    /// How long a call takes.
    pub(crate) takes: Duration,
    /// Calls for this order take so long instead, and do not count.
    pub(crate) slow: Option<(i64, Duration)>,
    /// Calls for this order fail.
    pub(crate) refuses: Option<i64>,
    /// For so long after the first call it takes nothing.
    pub(crate) away: Duration,
    /// When it has seen enough.
    pub(crate) goal: Goal,
    /// Other processes whose processor time is told.
    pub(crate) beside: Vec<i32>,
}

/// When the platform has seen enough.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Goal {
    /// So many records were taken.
    Taken(u64),
    /// So many calls are under way.
    UnderWay(u64),
}

impl Default for Goal {
    fn default() -> Self {
        Self::Taken(u64::MAX)
    }
}

/// The sink.
pub(crate) struct Platform {
    manners: Manners,
    began: OnceLock<Began>,
    back: OnceLock<Instant>,
    called: AtomicU64,
    taken: AtomicU64,
    clock: Option<Clock>,
    tell: Box<dyn Fn(Found) + Send + Sync>,
}

impl Platform {
    /// `tell` hears what was found once the goal is reached.
    pub(crate) fn new(manners: Manners, tell: impl Fn(Found) + Send + Sync + 'static) -> Self {
        let is_short = !manners.takes.is_zero() && manners.takes < LONG;
        let clock = is_short.then(|| Clock::start(manners.takes));
        let (began, back, called, taken) = Default::default();
        Self { manners, began, back, called, taken, clock, tell: Box::new(tell) }
    }

    async fn call(&self, order: i64) -> Result<(), DeliveryFailure> {
        let began = self.began.get_or_init(|| Began::now(&self.manners.beside));
        let Manners { takes, slow, refuses, away, goal, .. } = &self.manners;
        if !away.is_zero() {
            if began.at.elapsed() < *away {
                return Err(DeliveryFailure::unavailable("away, as the benchmark wants"));
            }
            self.back.get_or_init(Instant::now);
        }
        if *refuses == Some(order) {
            return Err(DeliveryFailure::unavailable("503, as the benchmark wants"));
        }
        if let Some((_, longer)) = slow.filter(|(slow, _)| *slow == order) {
            tokio::time::sleep(longer).await;
            return Ok(());
        }
        if let Goal::UnderWay(calls) = goal
            && self.called.fetch_add(1, Ordering::Relaxed) + 1 == *calls
        {
            self.found(began);
        }
        match &self.clock {
            Some(clock) => clock.wait().await,
            None if takes.is_zero() => {}
            None => tokio::time::sleep(*takes).await,
        }
        let taken = self.taken.fetch_add(1, Ordering::Relaxed) + 1;
        if let Goal::Taken(records) = goal
            && taken == *records
        {
            self.found(began);
        }
        Ok(())
    }

    fn found(&self, began: &Began) {
        let call = self.clock.as_ref().and_then(Clock::mean).unwrap_or(self.manners.takes);
        let until_asked = self.back.get().map_or(Duration::ZERO, |back| *back - began.at);
        (self.tell)(Found {
            call_seconds: call.as_secs_f64(),
            seconds_until_asked: until_asked.as_secs_f64(),
            ..began.until_now()
        });
    }
}

impl Sink for Platform {
    fn deliver<'a>(&'a self, event: &'a Event) -> Delivery<'a> {
        Box::pin(self.call(event.message.order_id))
    }
}

/// Answers each call when its time has come. All calls take the same time, so they end in the order in which they began.
struct Clock {
    calls: Sender<(Instant, oneshot::Sender<()>)>,
    took: Arc<Took>,
}

#[derive(Default)]
struct Took {
    calls: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Clock {
    fn start(takes: Duration) -> Self {
        let (calls, called) = mpsc::channel();
        let took = Arc::new(Took::default());
        let noted = Arc::clone(&took);
        thread::spawn(move || answer(&called, takes, &noted));
        Self { calls, took }
    }

    async fn wait(&self) {
        let (tell, told) = oneshot::channel();
        // The thread ends with this value only.
        self.calls.send((Instant::now(), tell)).ok();
        told.await.ok();
    }

    fn mean(&self) -> Option<Duration> {
        let nanoseconds = self.took.nanoseconds.load(Ordering::Relaxed);
        nanoseconds.checked_div(self.took.calls.load(Ordering::Relaxed)).map(Duration::from_nanos)
    }
}

fn answer(calls: &Receiver<(Instant, oneshot::Sender<()>)>, takes: Duration, took: &Took) {
    for (began, tell) in calls {
        thread::sleep(takes.saturating_sub(began.elapsed()));
        let nanoseconds = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        took.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        took.calls.fetch_add(1, Ordering::Relaxed);
        // A call that was given up needs no answer.
        tell.send(()).ok();
    }
}
