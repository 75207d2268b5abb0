//! Products and coupons at their edges.

use crate::cases;
use crate::rig::Rig;
use order_service::domain::discount::Discount;
use order_service::domain::ids::{ProductId, UserId};
use order_service::domain::money::Money;
use order_service::storage::stock::restock;
use order_service::storage::{coupons, products};
use std::sync::Arc;

cases!(a_product_has_its_stock_row_or_is_not_there, a_restock_adds_and_never_wraps, lists_come_in_pages);

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
