//! Products and coupons at their edges.

use crate::cases;
use crate::rig::Rig;
use crate::running::Running;
use futures_util::join;
use order_service::domain::discount::Discount;
use order_service::domain::ids::{ProductId, UserId};
use order_service::domain::money::Money;
use order_service::storage::stock::restock;
use order_service::storage::{coupons, products};
use serde_json::{Value, json};
use std::sync::Arc;

cases!(
    a_product_has_its_stock_row_or_is_not_there,
    a_restock_adds_and_never_wraps,
    a_change_that_is_not_answered_in_time_is_told_as_unknown_or_not_done,
    a_query_that_makes_no_sense_is_told_so_while_the_database_is_away,
    lists_come_in_pages,
);

async fn a_product_has_its_stock_row_or_is_not_there(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let price = Money::from_minor_units(10).unwrap();
    let product = products::create(&shop.database, "lamp".to_owned(), price, 3).await.unwrap();
    let mut session = shop.database.session().await.unwrap();
    assert_eq!(products::read(&mut session, product.id).await.unwrap(), Some(product));
    products::create(&shop.database, "lamp".to_owned(), price, -1).await.unwrap_err();
    assert_eq!(shop.number("SELECT count(*) FROM product").await, 1);
}

async fn a_restock_adds_and_never_wraps(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 5)]).await;
    let mut session = shop.database.session().await.unwrap();
    assert_eq!(restock(&mut session, ProductId(1), 7).await.unwrap(), Some(12));
    assert_eq!(restock(&mut session, ProductId(1), i64::MAX).await.unwrap(), None);
    assert_eq!(restock(&mut session, ProductId(9), 1).await.unwrap(), None);
    assert_eq!(shop.number("SELECT on_hand FROM stock").await, 12);
}

/// The server's own limit does not help when the server is frozen: here it is caught, and waits on.
async fn a_change_that_is_not_answered_in_time_is_told_as_unknown_or_not_done(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 5)]).await;
    let service = Running::start_with(&shop, &[("DATABASE__STATEMENT_TIMEOUT", "50ms")]).await;
    shop.execute(
        "CREATE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             PERFORM pg_advisory_xact_lock(1); RETURN NEW; \
         EXCEPTION WHEN query_canceled THEN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END $$; \
         CREATE TRIGGER stand_still BEFORE UPDATE ON stock FOR EACH ROW EXECUTE FUNCTION stand_still(); \
         CREATE TRIGGER stand_still BEFORE INSERT ON product FOR EACH ROW EXECUTE FUNCTION stand_still(); \
         CREATE TRIGGER stand_still BEFORE INSERT ON coupon FOR EACH ROW EXECUTE FUNCTION stand_still()",
    )
    .await;
    let frozen = shop.session().await;
    frozen.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
    let told = async |path: &str, body: Value| {
        let answer = service.post(path, &body).await;
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap()["type"].as_str().unwrap().to_owned())
    };
    let (restocked, issued, created) = join!(
        told("/products/1/restock", json!({"quantity": 1})),
        told("/coupons", json!({"userId": 1, "discountAmount": 5})),
        told("/products", json!({"name": "lamp", "price": 1, "stock": 1})),
    );
    let unknown = (503, "/problems/outcome-unknown".to_owned());
    assert_eq!((restocked, issued), (unknown.clone(), unknown));
    // It was not asked to commit, so nothing is done, and that is the truth.
    assert_eq!(created, (503, "/problems/unavailable".to_owned()));
    frozen.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
    shop.until_settled().await;
    assert_eq!(shop.number("SELECT count(*) FROM product").await, 1);
    service.stop().await;
}

async fn a_query_that_makes_no_sense_is_told_so_while_the_database_is_away(rig: Arc<Rig>) {
    let mut own = Rig::start().await;
    let shop = own.shop().await;
    let service = Running::start(&shop).await;
    own.crash().await;
    for path in ["/products?limit=0", "/users/1/coupons?limit=0"] {
        assert_eq!(service.read(path).await.status(), 422, "{path}");
    }
    own.restart().await;
    service.stop().await;
    drop(shop);
    own.stop().await;
    drop(rig);
}

async fn lists_come_in_pages(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(1, 1), (2, 2), (3, 3)]).await;
    let mut session = shop.database.session().await.unwrap();
    let ids = |products: Vec<products::Product>| products.iter().map(|p| p.id.0).collect::<Vec<_>>();
    assert_eq!(ids(products::list(&mut session, 0, 2).await.unwrap()), [1, 2]);
    assert_eq!(ids(products::list(&mut session, 2, 2).await.unwrap()), [3]);
    let discount = Discount::Fixed(Money::from_minor_units(5).unwrap());
    for user in [1, 2, 1] {
        coupons::issue(&mut session, UserId(user), discount, None).await.unwrap();
    }
    let of_user = coupons::by_user(&mut session, UserId(1), 1, 10).await.unwrap();
    assert_eq!(of_user.iter().map(|coupon| coupon.id.0).collect::<Vec<_>>(), [3]);
}
