//! # Held rows
//!
//! Tells a row that somebody holds from one that is only busy: a product that everybody buys is locked whenever it is looked
//! at, by our own lanes and those of other replicas, each for a moment. So a row is held while *the same* holder has it at
//! every look (`a_product_that_changes_hands_is_busy_and_not_held`).

use crate::checkout::desk::Rows;
use crate::domain::ids::{CouponId, ProductId};
use crate::storage::database::Database;
use crate::storage::held_rows::{HeldRow, HeldThing, look};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tracing::warn;

/// Between looks at a row that may be held.
const PROBE_INTERVAL: Duration = Duration::from_millis(10);

/// What was held by the same holders at every look so far.
#[derive(Debug)]
struct Held(BTreeSet<HeldRow>);

impl Held {
    fn seen_again(&mut self, seen: &BTreeSet<HeldRow>) {
        self.0.retain(|row| seen.contains(row));
    }

    fn rows(&self) -> Rows {
        let mut rows = Rows::default();
        for row in &self.0 {
            match row.thing {
                HeldThing::Stock(id) | HeldThing::Product(id) => {
                    rows.products.insert(ProductId(id));
                }
                HeldThing::Coupon(id) => {
                    rows.coupons.insert(CouponId(id));
                }
            }
        }
        rows
    }
}

/// Which of these rows one holder each has for so long.
pub(super) async fn held_throughout(database: &Database, rows: &Rows, time: Duration) -> Rows {
    if rows.is_empty() {
        return Rows::default();
    }
    let until = Instant::now() + time;
    let mut held = Held(held_now(database, rows).await);
    while !held.0.is_empty() && Instant::now() < until {
        sleep(PROBE_INTERVAL).await;
        held.seen_again(&held_now(database, &held.rows()).await);
    }
    held.rows()
}

/// Without an answer it is none: the next transaction will tell.
async fn held_now(database: &Database, rows: &Rows) -> BTreeSet<HeldRow> {
    let product_ids: Vec<i64> = rows.products.iter().map(|id| id.0).collect();
    let coupon_ids: Vec<i64> = rows.coupons.iter().map(|id| id.0).collect();
    let looking = async { look(&*database.session().await?, &product_ids, &coupon_ids).await };
    match database.within_limit(looking).await {
        Ok(held) => held.into_iter().collect(),
        Err(error) => {
            warn!("held rows cannot be told: {error}");
            BTreeSet::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(rows: &[(HeldThing, &str)]) -> BTreeSet<HeldRow> {
        rows.iter().map(|(thing, holder)| HeldRow { thing: *thing, holder: (*holder).to_owned() }).collect()
    }

    #[test]
    fn a_product_that_changes_hands_is_busy_and_not_held() {
        let (hot, kept, coupon) = (HeldThing::Stock(1), HeldThing::Stock(2), HeldThing::Coupon(1));
        let mut held = Held(seen(&[(hot, "700"), (kept, "600"), (coupon, "600")]));
        held.seen_again(&seen(&[(hot, "701"), (kept, "600"), (coupon, "600")]));
        // Back in the same hands is not the same hold.
        held.seen_again(&seen(&[(hot, "700"), (kept, "600")]));
        let expected = Rows { products: BTreeSet::from([ProductId(2)]), ..Rows::default() };
        assert_eq!(held.rows(), expected);
    }

    #[test]
    fn a_product_whose_own_row_is_held_is_held_whoever_has_its_stock() {
        let mut held = Held(seen(&[(HeldThing::Stock(1), "700"), (HeldThing::Product(1), "600")]));
        held.seen_again(&seen(&[(HeldThing::Stock(1), "701"), (HeldThing::Product(1), "600")]));
        assert_eq!(held.rows().products, BTreeSet::from([ProductId(1)]));
    }
}
