//! # Order request
//!
//! What a buyer asks for, under a key that makes the request repeatable.

use crate::domain::order::Basket;
use crate::storage::orders::RequestKey;
use sha2::{Digest, Sha256};
use shared_messages::headers::TraceContext;
use std::sync::Arc;
use uuid::Uuid;

/// A request to complete an order. Its key and its fingerprint are made once, where it comes from.
#[derive(Clone, Debug)]
pub struct OrderRequest {
    /// What is asked for.
    pub basket: Basket,
    /// The trace in which it was asked.
    pub trace: Option<TraceContext>,
    key: Arc<RequestKey>,
    fingerprint: Fingerprint,
}

/// SHA-256 of what is asked for, so that another request under a used key is recognised.
pub type Fingerprint = [u8; 32];

impl OrderRequest {
    /// A request under this key, which is unique for each user.
    pub fn new(basket: Basket, key: String, trace: Option<TraceContext>) -> Self {
        let fingerprint = fingerprint(&basket);
        let key = Arc::new(RequestKey { user_id: basket.user_id, key });
        Self { basket, trace, key, fingerprint }
    }

    /// A key for a request that came without one: nobody else has it.
    pub fn made_key() -> String {
        Uuid::now_v7().to_string()
    }

    /// Names the request.
    pub fn key(&self) -> &Arc<RequestKey> {
        &self.key
    }

    /// Tells what it asks for from what others ask for.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

/// The text that is digested must stay as it is: stored orders carry it.
fn fingerprint(basket: &Basket) -> Fingerprint {
    let Basket { user_id, items, coupon_id } = basket;
    let coupon = coupon_id.map(|id| id.to_string()).unwrap_or_default();
    let items: Vec<String> =
        items.iter().map(|item| format!("{}x{}", item.quantity, item.product_id)).collect();
    let text = format!("order/1 user={user_id} coupon={coupon} {}", items.join(" "));
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{CouponId, ProductId, UserId};
    use crate::domain::order::OrderItem;

    fn request(items: &[(i64, u32)], coupon_id: Option<i64>) -> OrderRequest {
        let item = |&(product_id, quantity): &_| OrderItem { product_id: ProductId(product_id), quantity };
        let (items, coupon_id) = (items.iter().map(item).collect(), coupon_id.map(CouponId));
        OrderRequest::new(Basket { user_id: UserId(1), items, coupon_id }, "k".to_owned(), None)
    }

    #[test]
    fn the_fingerprint_tells_requests_apart_and_is_stable() {
        let first = request(&[(1, 2), (3, 4)], None);
        let expected = [
            0x70, 0x0c, 0x29, 0x43, 0x37, 0x30, 0x4b, 0xfe, 0xe4, 0xa4, 0xe3, 0xde, 0x03, 0x5a, 0xcd, 0x36,
            0x50, 0x23, 0xb4, 0x9c, 0x4f, 0xef, 0x25, 0x9b, 0x30, 0x76, 0x14, 0x6a, 0xf4, 0xb2, 0x8b, 0x52,
        ];
        assert_eq!(first.fingerprint(), &expected);
        let others =
            [request(&[(1, 2)], None), request(&[(1, 2), (3, 4)], Some(1)), request(&[(1, 3), (3, 4)], None)];
        assert!(others.iter().all(|other| other.fingerprint() != first.fingerprint()));
    }
}
