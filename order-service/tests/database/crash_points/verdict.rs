//! # The verdict
//!
//! What buyers were told, and what the database holds. No relay runs in these cases: an order names its event, and
//! the outbox is what a relay would publish, so it stands for the topic and for the data platform.

use crate::rig::Shop;
use ledger::{Counts, Ledger};
use order_service::checkout::error::CheckoutError;
use order_service::checkout::request::OrderRequest;
use order_service::domain::order::CompletedOrder;

const UNCLEAR: [&str; 2] = ["/problems/outcome-unknown", "/problems/idempotency-key-reused"];

/// What was told to buyers.
#[derive(Default)]
pub(crate) struct Verdict {
    ledger: Ledger,
}

/// Request keys are unique for each user only.
fn name(user: i64, key: &str) -> String {
    format!("{user}/{key}")
}

impl Verdict {
    pub(crate) fn answered(
        &mut self,
        request: &OrderRequest,
        answer: &Result<CompletedOrder, CheckoutError>,
    ) {
        let name = name(request.basket.user_id.0, &request.key().key);
        self.ledger.requested(&name);
        match answer {
            Ok(order) => self.ledger.acknowledged(&name, &order.id.to_string()),
            // The key has bought something, though not this.
            Err(CheckoutError::OutcomeUnknown(_) | CheckoutError::KeyReused) => {}
            Err(CheckoutError::Refused(_)) => self.ledger.refused(&name),
            Err(CheckoutError::Overloaded | CheckoutError::Unavailable(_) | CheckoutError::Failed(_)) => {
                self.ledger.turned_away(&name);
            }
        }
    }

    /// An answer over HTTP, its status and body, or none. A problem is *not bought*, unless its type says that the
    /// outcome is unknown, or that the key has bought something else. One that names the key to repeat speaks of this
    /// attempt alone.
    pub(crate) fn answered_http(&mut self, user: i64, key: &str, answer: Option<(u16, &serde_json::Value)>) {
        let name = name(user, key);
        self.ledger.requested(&name);
        match answer {
            Some((201, order)) => self.ledger.acknowledged(&name, &order["orderId"].to_string()),
            Some((_, problem)) if UNCLEAR.iter().any(|unclear| problem["type"] == *unclear) => {}
            Some((_, problem)) if problem["idempotencyKey"] == key => self.ledger.turned_away(&name),
            Some(_) => self.ledger.refused(&name),
            None => {}
        }
    }

    /// Asserts that the promise was kept.
    pub(crate) async fn kept(mut self, shop: &Shop) -> Counts {
        let session = shop.session().await;
        let orders = "SELECT id::text, user_id, request_key, event_id::text FROM orders ORDER BY id";
        for row in session.query(orders, &[]).await.unwrap() {
            let (id, event): (String, String) = (row.get(0), row.get(3));
            self.ledger.order(&id, &name(row.get(1), row.get(2)));
            self.ledger.committed(&id, &event);
        }
        let events = "SELECT seq, key, event_id::text FROM outbox ORDER BY seq";
        for row in session.query(events, &[]).await.unwrap() {
            let event: String = row.get(2);
            self.ledger.recorded(0, row.get(0), row.get(1), &event);
            self.ledger.received(&event);
        }
        let sold = "SELECT count(*) FROM order_line WHERE order_id NOT IN (SELECT id FROM orders)";
        assert_eq!(shop.number(sold).await, 0, "lines without an order");
        let balance = self.ledger.balance();
        assert!(balance.is_balanced(), "{balance}");
        balance.counts()
    }

    /// Asserts that the promise was kept, by `orders` orders of one piece each that have left `stock`.
    pub(crate) async fn kept_with(self, shop: &Shop, orders: usize, stock: i64) -> Counts {
        let counts = self.kept(shop).await;
        assert_eq!(counts.orders, orders, "{counts:?}");
        assert_eq!(shop.number("SELECT sum(on_hand)::bigint FROM stock").await, stock);
        counts
    }
}
