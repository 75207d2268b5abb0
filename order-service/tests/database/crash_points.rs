//! # Crash points of the checkout and the relay
//!
//! Something fails at the worst moment, and then the ledger is asked whether the promise was kept: a buyer who was
//! told that he has bought has, once; one who was told that he has not has not; order and event are both there or
//! neither. Each module names its points in the design's numbering. Those of the relay, where the topic is the last station:
//!
//! | point | cases that the ledger judges |
//! |---|---|
//! | P3 | [`relay_instances`], [`before_commit`] |
//! | P6 | `relay`: a broker that is away, brokers that hang; [`large_backlog`] (memory) |
//! | P7 | [`lost_acks`]; `relay`: a relay that died between acknowledgement and delete |
//! | P9 | [`relay_instances`]: frozen; `relay_lease`: two relays at once |
//! | P10 | `quarantine` |
//! | P11 | `relay`: a row of a lower seq; `scan_floor`: writers that are open, prepared transactions |
//! | P12 | `scan_floor`: a held snapshot and writers of other databases; [`large_backlog`] (reads) |
//! | P13 | `broker_faults`; `relay`: leaderless partitions |
//! | P14 | `broker_faults`: fatal, full queue; `quarantine`: permission, topic |
//! | P17 | [`large_backlog`], [`relay_instances`]: a backlog whose lease moves |

pub(crate) mod at_commit;
pub(crate) mod before_commit;
pub(crate) mod hang_up;
pub(crate) mod large_backlog;
pub(crate) mod lost_acks;
pub(crate) mod postgres_crash;
pub(crate) mod process;
pub(crate) mod relay_instances;
pub(crate) mod same_key;
pub(crate) mod stuck;
pub(crate) mod verdict;

use crate::rig::Case;
use crate::running::Running;
use serde_json::Value;
use std::future::Future;

pub(crate) fn cases() -> Vec<Case> {
    let points = [
        before_commit::cases(),
        at_commit::cases(),
        hang_up::cases(),
        same_key::cases(),
        postgres_crash::cases(),
        stuck::cases(),
        relay_instances::cases(),
        large_backlog::cases(),
        lost_acks::cases(),
    ];
    points.into_iter().flatten().collect()
}

/// A transaction that writes order and event waits at its event while somebody holds this.
const HOLD_EVENTS: &str = "BEGIN; LOCK TABLE outbox IN SHARE ROW EXCLUSIVE MODE";
impl Running {
    /// Orders one piece of `product`; none when no answer came.
    pub(crate) fn orders_one(
        &self,
        user: i64,
        key: &str,
        product: i64,
    ) -> impl Future<Output = Option<(u16, Value)>> + Send + use<> {
        self.orders_one_with(user, key, product, None)
    }

    /// The same, with a coupon.
    fn orders_one_with(
        &self,
        user: i64,
        key: &str,
        product: i64,
        coupon: Option<i64>,
    ) -> impl Future<Output = Option<(u16, Value)>> + Send + use<> {
        let order = process::order_of_one(&self.client, self.address, (user, key), product, coupon);
        process::answer_to(order)
    }
}
