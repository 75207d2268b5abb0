//! Coupons of both forms, as they are issued, kept, used and shown.

use crate::cases;
use crate::rig::Rig;
use crate::running::Running;
use serde_json::{Value, json};
use std::sync::Arc;

cases!(
    a_coupon_by_percentage_is_rounded_down_capped_and_shown,
    a_row_has_exactly_one_form_of_discount,
    what_an_older_program_inserts_is_a_fixed_coupon,
);

async fn a_coupon_by_percentage_is_rounded_down_capped_and_shown(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let service = Running::start(&shop).await;
    service.created("/products", &json!({"name": "lamp", "price": 1999, "stock": 9})).await;
    let capped = json!({"userId": 1, "discountPercent": 10, "maxDiscountAmount": 300});
    let coupon = service.created("/coupons", &capped).await;
    let expected = json!({
        "couponId": 1, "userId": 1, "discountPercent": 10, "maxDiscountAmount": 300, "status": "USABLE"
    });
    assert_eq!(coupon, expected);
    service.created("/coupons", &capped).await;
    let all = service.created("/coupons", &json!({"userId": 1, "discountPercent": 100})).await;
    assert_eq!(all.get("maxDiscountAmount"), None);

    // coupon, pieces, what is taken off, what is paid
    for (coupon, quantity, off, paid) in [(1, 1, 199, 1800), (2, 2, 300, 3698), (3, 1, 1999, 0)] {
        let items = json!([{"productId": 1, "quantity": quantity}]);
        let order =
            service.created("/orders", &json!({"userId": 1, "items": items, "couponId": coupon})).await;
        assert_eq!((&order["discountAmount"], &order["paidAmount"]), (&json!(off), &json!(paid)));
    }
    let listed: Value = service.read("/users/1/coupons").await.json().await.unwrap();
    let first = &listed["items"][0];
    assert_eq!((&first["discountPercent"], &first["status"]), (&json!(10), &json!("USED")));
    assert_eq!(first.get("discountAmount"), None);
    service.stop().await;
}

async fn a_row_has_exactly_one_form_of_discount(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let session = shop.session().await;
    for refused in [
        "NULL, NULL, NULL",
        "NULL, NULL, 5",
        "5, 5, NULL",
        "5, NULL, 5",
        "0, NULL, NULL",
        "NULL, 0, NULL",
        "NULL, 101, NULL",
        "NULL, 5, 0",
    ] {
        let columns = "user_id, discount_amount, discount_percent, max_discount_amount";
        let insert = format!("INSERT INTO coupon ({columns}) VALUES (1, {refused})");
        let error = session.batch_execute(&insert).await.expect_err(refused);
        assert_eq!(error.code(), Some(&tokio_postgres::error::SqlState::CHECK_VIOLATION), "{refused}");
    }
}

async fn what_an_older_program_inserts_is_a_fixed_coupon(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let service = Running::start(&shop).await;
    shop.execute("INSERT INTO coupon (user_id, discount_amount) VALUES (1, 500)").await;
    let listed: Value = service.read("/users/1/coupons").await.json().await.unwrap();
    let expected = json!([{"couponId": 1, "userId": 1, "discountAmount": 500, "status": "USABLE"}]);
    assert_eq!(listed["items"], expected);
    service.stop().await;
}
