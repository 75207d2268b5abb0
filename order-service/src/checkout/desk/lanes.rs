//! # Lanes
//!
//! Orders wait in the fast lane; those that need a row which somebody else holds locked (an operator in the middle of a
//! correction, say) wait in the slow one, so that one locked product does not stop the shop.

use crate::checkout::request::OrderRequest;
use crate::domain::ids::{CouponId, ProductId};
use std::collections::{BTreeSet, VecDeque};

/// Where an order waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Everybody.
    Fast,
    /// Who needs a row that is held.
    Slow,
}

impl Lane {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Fast => Self::Slow,
            Self::Slow => Self::Fast,
        }
    }
}

/// Rows that orders lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Of stock.
    pub(crate) products: BTreeSet<ProductId>,
    /// Of coupons.
    pub(crate) coupons: BTreeSet<CouponId>,
}

impl Rows {
    /// What these orders need.
    pub(crate) fn of<'r>(requests: impl IntoIterator<Item = &'r OrderRequest>) -> Self {
        let mut rows = Self::default();
        for request in requests {
            rows.products.extend(request.basket.items.iter().map(|item| item.product_id));
            rows.coupons.extend(request.basket.coupon_id);
        }
        rows
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.products.is_empty() && self.coupons.is_empty()
    }

    /// Leaves only those that are among `others`, too.
    pub(crate) fn retain(&mut self, others: &Self) {
        self.products.retain(|id| others.products.contains(id));
        self.coupons.retain(|id| others.coupons.contains(id));
    }

    /// Adds `others`.
    pub(crate) fn extend(&mut self, others: &Self) {
        self.products.extend(&others.products);
        self.coupons.extend(&others.coupons);
    }

    /// Whether an order needs one of them.
    pub(crate) fn touch(&self, request: &OrderRequest) -> bool {
        request.basket.items.iter().any(|item| self.products.contains(&item.product_id))
            || request.basket.coupon_id.is_some_and(|id| self.coupons.contains(&id))
    }
}

/// Both lanes, and what is held.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    fast: VecDeque<OrderRequest>,
    slow: VecDeque<OrderRequest>,
    held: Rows,
}

impl Lanes {
    pub(super) fn lane_of(&self, request: &OrderRequest) -> Lane {
        if !self.held.is_empty() && self.held.touch(request) { Lane::Slow } else { Lane::Fast }
    }

    pub(super) fn push(&mut self, lane: Lane, request: OrderRequest) {
        self.queue_mut(lane).push_back(request);
    }

    pub(super) fn next(&self, lane: Lane) -> Option<&OrderRequest> {
        self.queue(lane).front()
    }

    pub(super) fn pop(&mut self, lane: Lane) -> Option<OrderRequest> {
        self.queue_mut(lane).pop_front()
    }

    pub(super) fn waiting(&self, lane: Lane) -> usize {
        self.queue(lane).len()
    }

    pub(super) fn hold(&mut self, rows: &Rows) {
        self.held.extend(rows);
    }

    /// Those of these orders' rows that are held.
    pub(super) fn held_of(&self, requests: &[OrderRequest]) -> Rows {
        if self.held.is_empty() {
            return Rows::default();
        }
        let mut rows = Rows::of(requests);
        rows.retain(&self.held);
        rows
    }

    /// Orders that need no held row any more go on in the fast lane, before those who came later.
    pub(super) fn release(&mut self, rows: &Rows) {
        if self.held.is_empty() {
            return;
        }
        self.held.products.retain(|id| !rows.products.contains(id));
        self.held.coupons.retain(|id| !rows.coupons.contains(id));
        let (still, mut freed): (VecDeque<_>, VecDeque<_>) =
            self.slow.drain(..).partition(|request| self.held.touch(request));
        self.slow = still;
        freed.append(&mut self.fast);
        self.fast = freed;
    }

    fn queue(&self, lane: Lane) -> &VecDeque<OrderRequest> {
        match lane {
            Lane::Fast => &self.fast,
            Lane::Slow => &self.slow,
        }
    }

    fn queue_mut(&mut self, lane: Lane) -> &mut VecDeque<OrderRequest> {
        match lane {
            Lane::Fast => &mut self.fast,
            Lane::Slow => &mut self.slow,
        }
    }
}
