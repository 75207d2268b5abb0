//! Orders of one transaction, in any number, kind and order of arrival, against a model that is too simple to be
//! wrong: it decides each order on copies of plain maps, with wide numbers, and keeps the copies only if it sold.

use super::*;
use crate::domain::discount::Percent;
use crate::domain::stock::StockItem;
use proptest::prelude::*;

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

/// What an order came to: the total, and what was taken off.
type Sold = (i128, i128);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Model {
    stock: BTreeMap<i64, (i128, i128)>,
    coupons: BTreeMap<i64, Coupon>,
}

/// Which of the rules refuses first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Product,
    Stock,
    Coupon,
    Amount,
}

impl Model {
    fn decide(&mut self, basket: &Basket, id: i64) -> Result<Sold, Rule> {
        let mut after = self.clone();
        let lines = basket.items.iter().map(|item| (item.product_id.0, i128::from(item.quantity)));
        let most = i128::from(i64::MAX);
        let mut total = 0;
        for (product, quantity) in lines.clone() {
            let (price, _) = self.stock.get(&product).ok_or(Rule::Product)?;
            if price * quantity > most {
                return Err(Rule::Amount);
            }
            total += price * quantity;
        }
        for (product, quantity) in lines {
            after.stock.get_mut(&product).ok_or(Rule::Product)?.1 -= quantity;
        }
        if after.stock.values().any(|(_, left)| *left < 0) {
            return Err(Rule::Stock);
        }
        let mut off = 0;
        if let Some(coupon_id) = basket.coupon_id {
            let coupon = after.coupons.get_mut(&coupon_id.0).ok_or(Rule::Coupon)?;
            let over = coupon.expires_at.is_some_and(|at| at <= NOW);
            if coupon.user_id != basket.user_id || coupon.used_by.is_some() || over {
                return Err(Rule::Coupon);
            }
            coupon.used_by = Some(OrderId(id));
            off = offered(coupon.discount, total).min(total);
        }
        if total > most {
            return Err(Rule::Amount);
        }
        *self = after;
        Ok((total, off))
    }
}

fn offered(discount: Discount, total: i128) -> i128 {
    let wide = |money: Money| i128::from(money.minor_units());
    match discount {
        Discount::Fixed(amount) => wide(amount),
        Discount::Percentage { percent, cap } => {
            let share = total * i128::from(percent.get()) / 100;
            cap.map_or(share, |cap| share.min(wide(cap)))
        }
    }
}

fn rule(refusal: &OrderRefusal) -> Rule {
    match refusal {
        OrderRefusal::UnknownProduct(_) => Rule::Product,
        OrderRefusal::OutOfStock(_) => Rule::Stock,
        OrderRefusal::Coupon { .. } => Rule::Coupon,
        OrderRefusal::Amount(_) => Rule::Amount,
    }
}

fn counter(model: &Model) -> Counter {
    let row = |(id, (price, on_hand)): (&i64, &(i128, i128))| {
        let price = Money::from_minor_units(i64::try_from(*price).unwrap()).unwrap();
        (ProductId(*id), StockItem { price, on_hand: i64::try_from(*on_hand).unwrap() })
    };
    Counter::new(Shelf::new(model.stock.iter().map(row)), model.coupons.values().copied())
}

/// Stock and coupons as the counter has them now.
fn seen(counter: &Counter, model: &Model) -> Model {
    let stock = |id: &i64| {
        let item = counter.shelf.item(ProductId(*id)).unwrap();
        (*id, (i128::from(item.price.minor_units()), i128::from(item.on_hand)))
    };
    let coupons = counter.coupons.iter().map(|(id, coupon)| (id.0, *coupon)).collect();
    Model { stock: model.stock.keys().map(stock).collect(), coupons }
}

fn price() -> impl Strategy<Value = i64> {
    prop_oneof![4 => 0..=5_000_i64, 1 => i64::MAX / 3..=i64::MAX]
}

fn discount() -> impl Strategy<Value = Discount> {
    let amount = || (1..=6_000_i64).prop_map(|amount| Money::from_minor_units(amount).unwrap());
    prop_oneof![
        amount().prop_map(Discount::Fixed),
        (1..=100, prop::option::of(amount()))
            .prop_map(|(percent, cap)| Discount::Percentage { percent: Percent::new(percent).unwrap(), cap }),
    ]
}

fn any_coupon() -> impl Strategy<Value = Coupon> {
    let expires_at = prop_oneof![
        4 => Just(None),
        1 => (-1..=1_i64).prop_map(|second| DateTime::from_timestamp(second, 0)),
    ];
    let used_by = prop_oneof![9 => Just(None), 1 => Just(Some(OrderId(-1)))];
    (1..=2_i64, discount(), expires_at, used_by).prop_map(|(user, discount, expires_at, used_by)| Coupon {
        id: CouponId(0),
        user_id: UserId(user),
        discount,
        expires_at,
        used_by,
    })
}

/// Products 1 to 3 and coupons 1 to 4.
fn any_model() -> impl Strategy<Value = Model> {
    let stock = prop::collection::vec((price(), 0..=15_i64), 3);
    let coupons = prop::collection::vec(any_coupon(), 4);
    (stock, coupons).prop_map(|(stock, coupons)| Model {
        stock: (1..)
            .zip(stock)
            .map(|(id, (price, on_hand))| (id, (i128::from(price), i128::from(on_hand))))
            .collect(),
        coupons: (1..).zip(coupons).map(|(id, coupon)| (id, Coupon { id: CouponId(id), ..coupon })).collect(),
    })
}

/// Mostly of what there is; sometimes product 4 or coupon 5, which nobody has.
fn any_basket() -> impl Strategy<Value = Basket> {
    let product = prop_oneof![12 => 1..=3_i64, 1 => Just(4_i64)];
    let item = (product, 1..=4_u32)
        .prop_map(|(product, quantity)| OrderItem { product_id: ProductId(product), quantity });
    (1..=2_i64, prop::collection::vec(item, 1..=3), prop::option::of(1..=5_i64)).prop_map(
        |(user, items, coupon)| Basket { user_id: UserId(user), items, coupon_id: coupon.map(CouponId) },
    )
}

/// A batch, and the same in another order of arrival.
fn any_batch() -> impl Strategy<Value = (Vec<Basket>, Vec<Basket>)> {
    prop::collection::vec(any_basket(), 0..=16)
        .prop_flat_map(|batch| (Just(batch.clone()), Just(batch).prop_shuffle()))
}

fn check(mut model: Model, batch: &[Basket]) -> Result<(), TestCaseError> {
    let begin = model.clone();
    let mut counter = counter(&model);
    let mut completed = Vec::new();
    for (id, basket) in (1..).zip(batch) {
        let before = seen(&counter, &model);
        let decided = counter.complete(basket, OrderId(id), Uuid::nil(), NOW);
        let came_to = decided
            .as_ref()
            .map_err(rule)
            .map(|order| (i128::from(order.total.minor_units()), i128::from(order.discount.minor_units())));
        prop_assert_eq!(came_to, model.decide(basket, id));
        prop_assert_eq!(&seen(&counter, &model), &model);
        if let Ok(order) = decided {
            completed.push(order);
        } else {
            prop_assert_eq!(seen(&counter, &model), before);
        }
    }
    books_balance(&begin, &counter, &completed)
}

/// Without the model: only what went in and what came out.
fn books_balance(
    begin: &Model,
    counter: &Counter,
    completed: &[CompletedOrder],
) -> Result<(), TestCaseError> {
    let written: BTreeMap<_, _> = counter.shelf.remaining().collect();
    for (id, (_, before)) in &begin.stock {
        let lines = completed.iter().flat_map(|order| &order.lines);
        let sold: i128 =
            lines.filter(|line| line.product_id.0 == *id).map(|line| i128::from(line.quantity)).sum();
        let left = written.get(&ProductId(*id)).map_or(*before, |left| i128::from(*left));
        prop_assert!(left >= 0);
        prop_assert_eq!(sold, before - left);
    }
    let used: Vec<_> = counter.used_coupons().collect();
    let mut carried: Vec<_> =
        completed.iter().filter_map(|order| order.coupon_id.map(|coupon| (coupon, order.id))).collect();
    carried.sort_unstable();
    prop_assert_eq!(used, carried, "each coupon by one order, and by the one that carries it");
    for order in completed {
        let lines: i128 = order.lines.iter().map(|line| i128::from(line.line_amount.minor_units())).sum();
        prop_assert_eq!(lines, i128::from(order.total.minor_units()));
        prop_assert!(order.discount <= order.total);
        prop_assert_eq!(order.paid().plus(order.discount), Ok(order.total));
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_batch_in_any_order_of_arrival_is_decided_as_the_model_does(
        model in any_model(),
        (batch, shuffled) in any_batch(),
    ) {
        check(model.clone(), &batch)?;
        check(model, &shuffled)?;
    }
}
