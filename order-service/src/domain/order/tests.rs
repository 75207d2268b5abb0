use super::*;
use crate::domain::stock::StockItem;

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
