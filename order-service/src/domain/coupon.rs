//! # Coupon
//!
//! A discount off one order of one user, used once; it may expire.

use super::discount::Discount;
use super::ids::{CouponId, OrderId, UserId};
use chrono::{DateTime, Utc};

/// A coupon's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coupon {
    /// Its id.
    pub id: CouponId,
    /// The only user who may use it.
    pub user_id: UserId,
    /// What it takes off.
    pub discount: Discount,
    /// From this moment on it is worth nothing.
    pub expires_at: Option<DateTime<Utc>>,
    /// The order that used it.
    pub used_by: Option<OrderId>,
}

/// Why a coupon cannot be used for an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CouponRefusal {
    /// There is no such coupon.
    Unknown,
    /// It belongs to another user.
    NotYours,
    /// An order has used it.
    Used,
    /// Its time is over.
    Expired {
        /// Since then.
        at: DateTime<Utc>,
    },
}

impl Coupon {
    /// Whether `user_id` may use it `now`.
    ///
    /// # Errors
    /// Why not. Whose it is comes first: another user learns nothing else about it.
    pub fn check(&self, user_id: UserId, now: DateTime<Utc>) -> Result<(), CouponRefusal> {
        if self.user_id != user_id {
            return Err(CouponRefusal::NotYours);
        }
        if self.used_by.is_some() {
            return Err(CouponRefusal::Used);
        }
        match self.expires_at {
            Some(at) if at <= now => Err(CouponRefusal::Expired { at }),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Money;
    use chrono::TimeDelta;

    fn coupon(now: DateTime<Utc>) -> Coupon {
        Coupon {
            id: CouponId(1),
            user_id: UserId(7),
            discount: Discount::Fixed(Money::ZERO),
            expires_at: Some(now + TimeDelta::seconds(1)),
            used_by: None,
        }
    }

    #[test]
    fn a_coupon_expires_at_its_moment_and_not_before() {
        let now = Utc::now();
        let coupon = coupon(now);
        assert_eq!(coupon.check(UserId(7), now), Ok(()));
        let at = now + TimeDelta::seconds(1);
        assert_eq!(coupon.check(UserId(7), at), Err(CouponRefusal::Expired { at }));
    }

    #[test]
    fn another_user_learns_only_that_it_is_not_his() {
        let now = Utc::now();
        let used = Coupon { used_by: Some(OrderId(3)), ..coupon(now) };
        assert_eq!(used.check(UserId(8), now), Err(CouponRefusal::NotYours));
        assert_eq!(used.check(UserId(7), now), Err(CouponRefusal::Used));
    }
}
