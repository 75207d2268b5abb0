//! # Money
//!
//! An amount in minor units (cents, pence, won). Never a float, never negative, and never wrapped around:
//! what does not fit is an error of the order that asked for it.

use super::discount::Percent;
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;
use utoipa::ToSchema;

/// An amount of minor units, from 0 to `i64::MAX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "i64", into = "i64")]
#[schema(value_type = i64, minimum = 0)]
pub struct Money(i64);

/// Why a number is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MoneyError {
    /// Amounts say how much, never whose.
    #[error("an amount must not be negative")]
    Negative,
    /// More than `i64::MAX` minor units.
    #[error("the amount is larger than {max}", max = i64::MAX)]
    Overflow,
}

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// # Errors
    /// [`MoneyError::Negative`].
    pub fn from_minor_units(minor_units: i64) -> Result<Self, MoneyError> {
        if minor_units < 0 { Err(MoneyError::Negative) } else { Ok(Self(minor_units)) }
    }

    /// The number of minor units.
    pub fn minor_units(self) -> i64 {
        self.0
    }

    /// # Errors
    /// [`MoneyError::Overflow`].
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        self.0.checked_add(other.0).map(Self).ok_or(MoneyError::Overflow)
    }

    /// The price of `quantity` pieces.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`].
    pub fn times(self, quantity: u32) -> Result<Self, MoneyError> {
        self.0.checked_mul(i64::from(quantity)).map(Self).ok_or(MoneyError::Overflow)
    }

    /// `percent` of it, rounded down to whole minor units. Exact and never too large: hundreds and the rest are
    /// multiplied apart.
    #[must_use]
    pub fn share(self, percent: Percent) -> Self {
        let percent = i64::from(percent.get());
        Self(self.0 / 100 * percent + self.0 % 100 * percent / 100)
    }

    /// What is left after `discount`; never less than nothing.
    #[must_use]
    pub fn less(self, discount: Self) -> Self {
        Self((self.0 - discount.0).max(0))
    }
}

impl TryFrom<i64> for Money {
    type Error = MoneyError;

    fn try_from(minor_units: i64) -> Result<Self, MoneyError> {
        Self::from_minor_units(minor_units)
    }
}

impl From<Money> for i64 {
    fn from(money: Money) -> Self {
        money.0
    }
}

impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_does_not_fit_is_an_error_and_never_wraps() {
        let most = Money(i64::MAX);
        assert_eq!(most.plus(Money(1)), Err(MoneyError::Overflow));
        assert_eq!(most.times(2), Err(MoneyError::Overflow));
        assert_eq!(Money::from_minor_units(-1), Err(MoneyError::Negative));
    }

    proptest! {
        #[test]
        fn a_discount_never_makes_an_amount_negative(total in 0..=i64::MAX, discount in 0..=i64::MAX) {
            let paid = Money(total).less(Money(discount));
            prop_assert!(paid <= Money(total));
            prop_assert!(paid >= Money::ZERO);
        }

        #[test]
        fn arithmetic_agrees_with_wider_numbers(a in 0..=i64::MAX, b in 0..=i64::MAX, quantity: u32) {
            let sum = i128::from(a) + i128::from(b);
            let product = i128::from(a) * i128::from(quantity);
            prop_assert_eq!(Money(a).plus(Money(b)).ok().map(|m| i128::from(m.0)), fits(sum));
            prop_assert_eq!(Money(a).times(quantity).ok().map(|m| i128::from(m.0)), fits(product));
        }
    }

    fn fits(amount: i128) -> Option<i128> {
        (amount <= i128::from(i64::MAX)).then_some(amount)
    }
}
