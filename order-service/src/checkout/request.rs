//! # Order request
//!
//! What a buyer asks for, under a key that makes the request repeatable.

use crate::domain::order::Basket;
use crate::storage::orders::RequestKey;
use sha2::{Digest, Sha256};
use shared_messages::headers::TraceContext;
use uuid::Uuid;

/// A request to complete an order.
#[derive(Clone, Debug)]
pub struct OrderRequest {
    /// What is asked for.
    pub basket: Basket,
    /// Under which key; unique for each user.
    pub key: String,
    /// The trace in which it was asked.
    pub trace: Option<TraceContext>,
}

impl OrderRequest {
    /// Names the request.
    pub fn request_key(&self) -> RequestKey {
        RequestKey { user_id: self.basket.user_id, key: self.key.clone() }
    }

    /// A key for a request that came without one: nobody else has it.
    pub fn made_key() -> String {
        Uuid::now_v7().to_string()
    }

    /// SHA-256 of what is asked for, so that another request under a used key is recognised. The text that is
    /// digested must stay as it is: stored orders carry it.
    pub fn fingerprint(&self) -> Vec<u8> {
        let Basket { user_id, items, coupon_id } = &self.basket;
        let coupon = coupon_id.map(|id| id.to_string()).unwrap_or_default();
        let items: Vec<String> =
            items.iter().map(|item| format!("{}x{}", item.quantity, item.product_id)).collect();
        let text = format!("order/1 user={user_id} coupon={coupon} {}", items.join(" "));
        Sha256::digest(text.as_bytes()).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{CouponId, ProductId, UserId};
    use crate::domain::order::OrderItem;

    fn request(items: &[(i64, u32)], coupon_id: Option<i64>) -> OrderRequest {
        let item = |&(product_id, quantity): &_| OrderItem { product_id: ProductId(product_id), quantity };
        OrderRequest {
            basket: Basket {
                user_id: UserId(1),
                items: items.iter().map(item).collect(),
                coupon_id: coupon_id.map(CouponId),
            },
            key: "k".to_owned(),
            trace: None,
        }
    }

    #[test]
    fn the_fingerprint_tells_requests_apart_and_is_stable() {
        let fingerprint = request(&[(1, 2), (3, 4)], None).fingerprint();
        let expected = [
            0x70, 0x0c, 0x29, 0x43, 0x37, 0x30, 0x4b, 0xfe, 0xe4, 0xa4, 0xe3, 0xde, 0x03, 0x5a, 0xcd, 0x36,
            0x50, 0x23, 0xb4, 0x9c, 0x4f, 0xef, 0x25, 0x9b, 0x30, 0x76, 0x14, 0x6a, 0xf4, 0xb2, 0x8b, 0x52,
        ];
        assert_eq!(fingerprint, expected);
        let others =
            [request(&[(1, 2)], None), request(&[(1, 2), (3, 4)], Some(1)), request(&[(1, 3), (3, 4)], None)];
        assert!(others.iter().all(|other| other.fingerprint() != fingerprint));
    }
}
