//! # Order
//!
//! Decides one order against the rows that its transaction has locked: stock check, coupon use, amounts.
//! Either all of it is applied to the [`Counter`], or nothing. Orders of one transaction are decided one
//! after the other against the same counter, so a later one sees what an earlier one took.

use super::coupon::{Coupon, CouponRefusal};
use super::discount::Discount;
use super::ids::{CouponId, OrderId, ProductId, UserId};
use super::money::{Money, MoneyError};
use super::stock::{Shelf, Shortage};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use thiserror::Error;
use uuid::Uuid;

/// A quantity of one product that a buyer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OrderItem {
    /// What.
    pub product_id: ProductId,
    /// How many pieces, at least one.
    pub quantity: u32,
}

/// What a buyer asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Basket {
    /// The buyer.
    pub user_id: UserId,
    /// What is bought, in the buyer's order; a product may stand in it twice.
    pub items: Vec<OrderItem>,
    /// The coupon to use, if any.
    pub coupon_id: Option<CouponId>,
}

/// A line of a completed order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderLine {
    /// What was sold.
    pub product_id: ProductId,
    /// How many pieces.
    pub quantity: u32,
    /// The price of one piece when it was sold.
    pub unit_price: Money,
    /// `unit_price` times `quantity`.
    pub line_amount: Money,
}

/// An order that is complete: paid amounts are settled, stock and coupon are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedOrder {
    /// Its id.
    pub id: OrderId,
    /// The buyer.
    pub user_id: UserId,
    /// Its lines, in the buyer's order.
    pub lines: Vec<OrderLine>,
    /// The coupon that was used.
    pub coupon_id: Option<CouponId>,
    /// The sum of the lines.
    pub total: Money,
    /// What the coupon took off; at most the total.
    pub discount: Money,
    /// When it was completed, whole microseconds.
    pub completed_at: DateTime<Utc>,
    /// The id of its event.
    pub event_id: Uuid,
}

impl CompletedOrder {
    /// What the buyer pays.
    pub fn paid(&self) -> Money {
        self.total.less(self.discount)
    }
}

/// Why an order is not completed. It leaves no trace and may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OrderRefusal {
    /// A product that does not exist.
    #[error("there is no product {0}")]
    UnknownProduct(ProductId),
    /// Less on hand than wanted.
    #[error("product {} is out of stock: {} wanted, {} left", .0.product_id, .0.wanted, .0.left)]
    OutOfStock(Shortage),
    /// The coupon cannot be used.
    #[error("coupon {id} cannot be used: {refusal:?}")]
    Coupon {
        /// Which.
        id: CouponId,
        /// Why.
        refusal: CouponRefusal,
    },
    /// The order's total is not an amount.
    #[error("the order's total: {0}")]
    Amount(#[from] MoneyError),
}

/// The rows that one transaction has locked, and what its orders have taken from them.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    /// The stock rows.
    pub shelf: Shelf,
    coupons: BTreeMap<CouponId, Coupon>,
    used: BTreeMap<CouponId, OrderId>,
}

impl Counter {
    /// The rows as they were when they were locked.
    pub fn new(shelf: Shelf, coupons: impl IntoIterator<Item = Coupon>) -> Self {
        let coupons = coupons.into_iter().map(|coupon| (coupon.id, coupon)).collect();
        Self { shelf, coupons, used: BTreeMap::new() }
    }

    /// The coupons that were used here, and by which order.
    pub fn used_coupons(&self) -> impl Iterator<Item = (CouponId, OrderId)> {
        self.used.iter().map(|(coupon_id, order_id)| (*coupon_id, *order_id))
    }

    /// Completes the order `id` of `basket`, or leaves everything as it was.
    ///
    /// # Errors
    /// The first [`OrderRefusal`]: products, then stock, then coupon, then amounts.
    pub fn complete(
        &mut self,
        basket: &Basket,
        id: OrderId,
        event_id: Uuid,
        now: DateTime<Utc>,
    ) -> Result<CompletedOrder, OrderRefusal> {
        let lines = self.lines(basket)?;
        let wanted = wanted(&basket.items);
        self.shelf.check(&wanted).map_err(OrderRefusal::OutOfStock)?;
        let offered = self.offered_discount(basket, now)?;
        let total = lines.iter().try_fold(Money::ZERO, |sum, line| sum.plus(line.line_amount))?;

        self.shelf.take(&wanted).map_err(OrderRefusal::OutOfStock)?;
        if let Some(coupon) = basket.coupon_id.and_then(|coupon_id| self.coupons.get_mut(&coupon_id)) {
            coupon.used_by = Some(id);
            self.used.insert(coupon.id, id);
        }
        Ok(CompletedOrder {
            id,
            user_id: basket.user_id,
            lines,
            coupon_id: basket.coupon_id,
            total,
            discount: offered.map_or(Money::ZERO, |discount| discount.off(total)),
            completed_at: now,
            event_id,
        })
    }

    fn lines(&self, basket: &Basket) -> Result<Vec<OrderLine>, OrderRefusal> {
        let line = |item: &OrderItem| {
            let OrderItem { product_id, quantity } = *item;
            let stock = self.shelf.item(product_id).ok_or(OrderRefusal::UnknownProduct(product_id))?;
            let line_amount = stock.price.times(quantity)?;
            Ok(OrderLine { product_id, quantity, unit_price: stock.price, line_amount })
        };
        basket.items.iter().map(line).collect()
    }

    fn offered_discount(
        &self,
        basket: &Basket,
        now: DateTime<Utc>,
    ) -> Result<Option<Discount>, OrderRefusal> {
        let Some(id) = basket.coupon_id else { return Ok(None) };
        let coupon =
            self.coupons.get(&id).ok_or(OrderRefusal::Coupon { id, refusal: CouponRefusal::Unknown })?;
        coupon.check(basket.user_id, now).map_err(|refusal| OrderRefusal::Coupon { id, refusal })?;
        Ok(Some(coupon.discount))
    }
}

fn wanted(items: &[OrderItem]) -> BTreeMap<ProductId, i64> {
    let mut wanted = BTreeMap::new();
    for item in items {
        *wanted.entry(item.product_id).or_insert(0) += i64::from(item.quantity);
    }
    wanted
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
