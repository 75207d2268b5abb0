//! Requests as buyers make them, and what they leave behind.

use crate::rig::Shop;
use order_service::checkout::request::OrderRequest;
use order_service::domain::ids::{CouponId, ProductId, UserId};
use order_service::domain::order::{Basket, OrderItem};

pub(crate) fn request(user: i64, key: &str, items: &[(i64, u32)], coupon: Option<i64>) -> OrderRequest {
    let item = |&(product_id, quantity): &_| OrderItem { product_id: ProductId(product_id), quantity };
    let (items, coupon_id) = (items.iter().map(item).collect(), coupon.map(CouponId));
    OrderRequest::new(Basket { user_id: UserId(user), items, coupon_id }, key.to_owned(), None)
}

/// Orders, lines and events.
pub(crate) async fn rows(shop: &Shop) -> (i64, i64, i64) {
    (
        shop.number("SELECT count(*) FROM orders").await,
        shop.number("SELECT count(*) FROM order_line").await,
        shop.number("SELECT count(*) FROM outbox").await,
    )
}
