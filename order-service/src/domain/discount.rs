//! # Discount
//!
//! What a coupon takes off an order: a fixed amount, or a percentage of the total with or without a cap.
//! Never more than the total. A percentage is rounded down to whole minor units, in favour of the shop: 10 % of
//! 1,999 is 199.

use super::money::Money;

/// A whole percentage, from 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

impl Percent {
    /// `None` when it is not from 1 to 100.
    pub fn new(percent: i32) -> Option<Self> {
        u8::try_from(percent).ok().filter(|percent| (1..=100).contains(percent)).map(Self)
    }

    /// The number, from 1 to 100.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// What is taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discount {
    /// This amount.
    Fixed(Money),
    /// This share of the total.
    Percentage {
        /// The share.
        percent: Percent,
        /// At most this amount.
        cap: Option<Money>,
    },
}

impl Discount {
    /// What is taken off an order of this total; at most the total.
    #[must_use]
    pub fn off(self, total: Money) -> Money {
        match self {
            Self::Fixed(amount) => amount.min(total),
            Self::Percentage { percent, cap } => {
                let share = total.share(percent);
                cap.map_or(share, |cap| share.min(cap))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn money(minor_units: i64) -> Money {
        Money::from_minor_units(minor_units).unwrap()
    }

    fn percentage(percent: i32, cap: Option<i64>) -> Discount {
        Discount::Percentage { percent: Percent::new(percent).unwrap(), cap: cap.map(money) }
    }

    #[test]
    fn a_percentage_is_rounded_down_and_capped() {
        for (total, percent, cap, off) in [
            (1999, 10, None, 199),
            (9, 10, None, 0),
            (1, 99, None, 0),
            (1, 100, None, 1),
            (3000, 50, Some(1000), 1000),
            (1000, 50, Some(1000), 500),
            (i64::MAX, 100, None, i64::MAX),
            (i64::MAX, 99, None, 9_131_138_316_486_228_048),
        ] {
            assert_eq!(percentage(percent, cap).off(money(total)), money(off), "{percent} % of {total}");
        }
    }

    #[test]
    fn a_percentage_is_from_1_to_100() {
        let known = (-1..=300).filter_map(Percent::new).map(Percent::get);
        assert!(known.eq(1..=100));
    }

    fn amount() -> impl Strategy<Value = i64> {
        prop_oneof![0..=10_000_i64, 0..=i64::MAX, i64::MAX - 1_000..=i64::MAX]
    }

    fn discount() -> impl Strategy<Value = Discount> {
        prop_oneof![
            amount().prop_map(|fixed| Discount::Fixed(money(fixed))),
            (1..=100, prop::option::of(amount())).prop_map(|(percent, cap)| percentage(percent, cap)),
        ]
    }

    proptest! {
        #[test]
        fn a_discount_agrees_with_wider_numbers(total in amount(), discount in discount()) {
            let wide = |money: Money| i128::from(money.minor_units());
            let offered = match discount {
                Discount::Fixed(fixed) => wide(fixed),
                Discount::Percentage { percent, cap } => {
                    let share = i128::from(total) * i128::from(percent.get()) / 100;
                    cap.map_or(share, |cap| share.min(wide(cap)))
                }
            };
            prop_assert_eq!(wide(discount.off(money(total))), offered.min(i128::from(total)));
        }

        #[test]
        fn a_discount_is_never_more_than_the_total_or_the_cap(total in amount(), discount in discount()) {
            let off = discount.off(money(total));
            prop_assert!(off <= money(total));
            if let Discount::Fixed(most) | Discount::Percentage { cap: Some(most), .. } = discount {
                prop_assert!(off <= most);
            }
        }

        #[test]
        fn a_larger_order_gets_no_smaller_discount(a in amount(), b in amount(), discount in discount()) {
            prop_assert!(discount.off(money(a.min(b))) <= discount.off(money(a.max(b))));
        }
    }
}
