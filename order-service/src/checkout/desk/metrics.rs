//! # Desk metrics
//!
//! What an operator of a flash sale looks at: how many wait, for how long, how many go together, and what became of
//! them. All names begin with `order_service_desk_`.

use super::lanes::Lane;
use super::waiting::{Taken, Waiting};
use crate::checkout::complete_orders::Decided;
use crate::checkout::error::CheckoutError;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Every outcome, so that each is shown from the start and a rate knows what it began with.
const OUTCOMES: [&str; 8] =
    ["completed", "refused", "key_reused", "overloaded", "unavailable", "outcome_unknown", "failed", HUNG_UP];
const HUNG_UP: &str = "hung_up";

/// Clones count together.
#[derive(Clone, Debug)]
pub(super) struct DeskMetrics {
    orders: Family<OutcomeLabel, Counter>,
    waiting: [Gauge; 2],
    rivals: Gauge,
    repeats: Gauge,
    waiting_by_lane: Family<LaneLabel, Gauge>,
    queue_limit: Gauge,
    recovering: Gauge,
    queue_wait: Histogram,
    batch: Histogram,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LaneLabel {
    lane: &'static str,
}

impl DeskMetrics {
    pub(super) fn new(queue_orders: usize) -> Self {
        let (orders, waiting_by_lane) = (Family::default(), Family::<LaneLabel, Gauge>::default());
        for outcome in OUTCOMES {
            drop(orders.get_or_create(&OutcomeLabel { outcome }));
        }
        let lane = |lane| waiting_by_lane.get_or_create_owned(&LaneLabel { lane });
        let queue_limit = Gauge::default();
        queue_limit.set(count(queue_orders));
        Self {
            orders,
            waiting: [lane("fast"), lane("slow")],
            rivals: lane("same_key"),
            repeats: lane("repeat"),
            waiting_by_lane,
            queue_limit,
            recovering: Gauge::default(),
            // From a quarter of a millisecond to 8 s.
            queue_wait: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let outcomes =
            "Orders that buyers placed, by what they were answered; a repeat of a completed one is completed";
        registry.register("desk_orders", outcomes, self.orders.clone());
        let waiting = "Orders that wait for their transaction; slow: those that need a row which somebody else has locked; \
                       same_key: those whose key is at the desk with another request; repeat: those whose key is there with theirs";
        registry.register("desk_waiting_orders", waiting, self.waiting_by_lane.clone());
        let limit =
            "Orders that may wait in each lane, same_key and repeat included; the next is turned away";
        registry.register("desk_queue_limit_orders", limit, self.queue_limit.clone());
        let recovering = "Orders whose COMMIT was lost: what became of them is looked for";
        registry.register("desk_recovering_orders", recovering, self.recovering.clone());
        let wait = "From an order's arrival in a lane to the beginning of its transaction";
        registry.register_with_unit("desk_queue_wait", wait, Unit::Seconds, self.queue_wait.clone());
        registry.register("desk_batch_orders", "Orders of one transaction", self.batch.clone());
    }

    pub(super) fn show_waiting(&self, waiting: &Waiting) {
        for (gauge, lane) in self.waiting.iter().zip([Lane::Fast, Lane::Slow]) {
            gauge.set(count(waiting.waiting(lane)));
        }
        self.rivals.set(count(waiting.rivals()));
        self.repeats.set(count(waiting.repeats()));
    }

    pub(super) fn observe_batch(&self, taken: &Taken) {
        if taken.orders.is_empty() {
            return;
        }
        #[allow(clippy::cast_precision_loss, reason = "a batch is far smaller than 2^52")]
        self.batch.observe(taken.orders.len() as f64);
        for waited in &taken.waited {
            self.queue_wait.observe(waited.as_secs_f64());
        }
    }

    /// So many orders are recovered until this goes.
    pub(super) fn recovering(&self, orders: usize) -> Recovering<'_> {
        self.recovering.inc_by(count(orders));
        Recovering { gauge: &self.recovering, orders }
    }

    /// An order is placed: it counts as hung up until it is answered.
    pub(super) fn placed(&self) -> Placed<'_> {
        Placed { metrics: self, outcome: HUNG_UP }
    }
}

/// Counts one order when it goes, however it goes: a buyer who hangs up drops it in mid-wait.
pub(super) struct Placed<'m> {
    metrics: &'m DeskMetrics,
    outcome: &'static str,
}

impl Placed<'_> {
    pub(super) fn answered(mut self, answer: &Decided) {
        self.outcome = match answer {
            Ok(_) => "completed",
            Err(CheckoutError::Refused(_)) => "refused",
            Err(CheckoutError::KeyReused) => "key_reused",
            Err(CheckoutError::Overloaded) => "overloaded",
            Err(CheckoutError::Unavailable(_)) => "unavailable",
            Err(CheckoutError::OutcomeUnknown(_)) => "outcome_unknown",
            Err(CheckoutError::Failed(_)) => "failed",
        };
    }
}

impl Drop for Placed<'_> {
    fn drop(&mut self) {
        self.metrics.orders.get_or_create(&OutcomeLabel { outcome: self.outcome }).inc();
    }
}

pub(super) struct Recovering<'m> {
    gauge: &'m Gauge,
    orders: usize,
}

impl Drop for Recovering<'_> {
    fn drop(&mut self) {
        self.gauge.dec_by(count(self.orders));
    }
}

fn count(orders: usize) -> i64 {
    i64::try_from(orders).unwrap_or(i64::MAX)
}
