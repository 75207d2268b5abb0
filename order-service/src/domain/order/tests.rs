use super::*;
use crate::domain::stock::StockItem;
use proptest::prelude::*;

const BUYER: UserId = UserId(1);

fn money(minor_units: i64) -> Money {
    Money::from_minor_units(minor_units).unwrap()
}

fn shelf(rows: &[(i64, i64, i64)]) -> Shelf {
    Shelf::new(
        rows.iter().map(|&(id, price, on_hand)| (ProductId(id), StockItem { price: money(price), on_hand })),
    )
}

fn coupon(id: i64, discount: i64) -> Coupon {
    let discount = Discount::Fixed(money(discount));
    Coupon { id: CouponId(id), user_id: BUYER, discount, expires_at: None, used_by: None }
}

fn basket(items: &[(i64, u32)], coupon_id: Option<i64>) -> Basket {
    let items = items
        .iter()
        .map(|&(product_id, quantity)| OrderItem { product_id: ProductId(product_id), quantity })
        .collect();
    Basket { user_id: BUYER, items, coupon_id: coupon_id.map(CouponId) }
}

fn complete(counter: &mut Counter, basket: &Basket, id: i64) -> Result<CompletedOrder, OrderRefusal> {
    counter.complete(basket, OrderId(id), Uuid::nil(), DateTime::UNIX_EPOCH)
}

#[test]
fn an_order_takes_stock_and_coupon_and_settles_the_amounts() {
    let mut counter = Counter::new(shelf(&[(1, 500, 3), (2, 70, 9)]), [coupon(5, 300)]);
    let order = complete(&mut counter, &basket(&[(1, 2), (2, 1), (1, 1)], Some(5)), 15).unwrap();
    assert_eq!((order.total, order.discount, order.paid()), (money(1570), money(300), money(1270)));
    assert_eq!(order.lines.len(), 3);
    assert_eq!(counter.shelf.remaining().collect::<Vec<_>>(), [(ProductId(1), 0), (ProductId(2), 8)]);
    assert_eq!(counter.used_coupons().collect::<Vec<_>>(), [(CouponId(5), OrderId(15))]);
}

#[test]
fn two_lines_of_one_product_share_its_stock() {
    let mut counter = Counter::new(shelf(&[(1, 500, 3)]), []);
    let refused = complete(&mut counter, &basket(&[(1, 2), (1, 2)], None), 1).unwrap_err();
    let shortage = Shortage { product_id: ProductId(1), wanted: 4, left: 3 };
    assert_eq!(refused, OrderRefusal::OutOfStock(shortage));
}

#[test]
fn a_coupon_larger_than_the_order_makes_it_free_and_no_cheaper() {
    let mut counter = Counter::new(shelf(&[(1, 500, 3)]), [coupon(5, 900)]);
    let order = complete(&mut counter, &basket(&[(1, 1)], Some(5)), 1).unwrap();
    assert_eq!((order.discount, order.paid()), (money(500), Money::ZERO));
}

#[test]
fn a_refused_order_leaves_stock_and_coupon_untouched() {
    let mut counter = Counter::new(shelf(&[(1, 500, 3), (2, i64::MAX, 3)]), [coupon(5, 300)]);
    let refusals = [
        complete(&mut counter, &basket(&[(1, 1), (9, 1)], Some(5)), 1),
        complete(&mut counter, &basket(&[(1, 4)], Some(5)), 2),
        complete(&mut counter, &basket(&[(1, 1)], Some(6)), 3),
        complete(&mut counter, &basket(&[(1, 1), (2, 1)], Some(5)), 4),
    ];
    assert!(refusals.iter().all(Result::is_err), "{refusals:?}");
    assert_eq!(counter.shelf.remaining().count(), 0);
    assert_eq!(counter.used_coupons().count(), 0);
}

#[test]
fn a_coupon_is_used_once_within_one_transaction_too() {
    let mut counter = Counter::new(shelf(&[(1, 500, 3)]), [coupon(5, 300)]);
    assert!(complete(&mut counter, &basket(&[(1, 1)], Some(5)), 1).is_ok());
    let refused = complete(&mut counter, &basket(&[(1, 1)], Some(5)), 2).unwrap_err();
    assert_eq!(refused, OrderRefusal::Coupon { id: CouponId(5), refusal: CouponRefusal::Used });
}

fn any_basket() -> impl Strategy<Value = Basket> {
    let items = prop::collection::vec((1..=4_i64, 1..=5_u32), 1..=4);
    (items, prop::option::of(1..=3_i64)).prop_map(|(items, coupon_id)| basket(&items, coupon_id))
}

proptest! {
    /// The books balance over any sequence of orders: what was sold is what left the stock, stock is never
    /// negative, and a coupon is used at most once.
    #[test]
    fn what_was_sold_is_what_left_the_stock(
        stock in prop::collection::vec(0..=12_i64, 3),
        baskets in prop::collection::vec(any_basket(), 0..=12),
    ) {
        let rows: Vec<_> = (1..).zip(&stock).map(|(id, &on_hand)| (id, 10 * id, on_hand)).collect();
        let mut counter = Counter::new(shelf(&rows), [coupon(1, 5), coupon(2, 1000)]);
        let completed: Vec<_> =
            (1..).zip(&baskets).filter_map(|(id, basket)| complete(&mut counter, basket, id).ok()).collect();

        for (id, _, before) in rows {
            let sold: i64 = completed
                .iter()
                .flat_map(|order| &order.lines)
                .filter(|line| line.product_id == ProductId(id))
                .map(|line| i64::from(line.quantity))
                .sum();
            let left = counter.shelf.item(ProductId(id)).unwrap().on_hand;
            prop_assert!(left >= 0);
            prop_assert_eq!(sold, before - left);
        }
        let coupons = completed.iter().filter(|order| order.coupon_id.is_some()).count();
        prop_assert_eq!(counter.used_coupons().count(), coupons);
        for order in &completed {
            let sum: i64 = order.lines.iter().map(|line| line.line_amount.minor_units()).sum();
            prop_assert_eq!(sum, order.total.minor_units());
            prop_assert!(order.discount <= order.total);
        }
    }
}
