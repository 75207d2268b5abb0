//! Requests that are no orders share a part of the pool, and the desk has the rest.

use crate::cases;
use crate::metrics::{page, value};
use crate::rig::{Rig, settings_but};
use crate::running::Running;
use futures_util::future::join_all;
use order_service::storage::database::Database;
use order_service::storage::error::DatabaseError;
use serde_json::json;
use std::sync::Arc;

cases!(
    readers_that_take_all_they_can_have_do_not_hold_up_an_order,
    who_finds_no_place_in_his_share_is_told_after_the_acquire_timeout,
);

const USED: &str = r#"db_client_connection_count{db_client_connection_state="used"}"#;
const PENDING: &str = "db_client_connection_pending_requests";
/// More than the pool has.
const CROWD: u32 = 8;

/// Returns when so many sessions are used or waited for.
pub(crate) async fn until_asked_for(service: &Running, sessions: f64) {
    loop {
        let page = page(service).await;
        if value(&page, USED) + value(&page, PENDING) >= sessions {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// They hold their sessions for as long as an operator holds a row that they want.
async fn readers_that_take_all_they_can_have_do_not_hold_up_an_order(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(1500, 5), (70, 5)]).await;
    let service =
        Running::start_with(&shop, &[("DATABASE__POOL_SIZE", "5"), ("ORDERS__ANSWER_TIMEOUT", "10s")]).await;
    let operator = shop.session().await;
    operator.batch_execute("BEGIN; SELECT * FROM stock WHERE product_id = 2 FOR UPDATE").await.unwrap();
    let url = format!("http://{}/products/2/restock", service.address);
    let restock = || service.client.post(&url).json(&json!({"quantity": 1})).send();
    let crowd: Vec<_> = (0..CROWD).map(|_| tokio::spawn(restock())).collect();
    until_asked_for(&service, CROWD.into()).await;
    let (status, order) = service.orders_one(1, "k", 1).await.unwrap();
    assert_eq!(status, 201, "{order}");
    assert!(crowd.iter().all(|request| !request.is_finished()), "they still hold what they have");
    operator.batch_execute("ROLLBACK").await.unwrap();
    for answer in join_all(crowd).await {
        assert_eq!(answer.unwrap().unwrap().status(), 200);
    }
    assert_eq!(value(&page(&service).await, PENDING).to_string(), "0");
    service.stop().await;
}

async fn who_finds_no_place_in_his_share_is_told_after_the_acquire_timeout(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let changes = [("DATABASE__POOL_SIZE", "4"), ("DATABASE__ACQUIRE_TIMEOUT", "2s")];
    let all = Database::new(&settings_but(&shop.own.url(), &changes).database).unwrap();
    let some = all.leaving(3);
    let place = some.session().await.unwrap();
    let told = some.clone().session().await.err().unwrap();
    assert!(matches!(&told, DatabaseError::Unavailable(cause) if cause.contains("all 1")), "{told}");
    drop(all.session().await.unwrap());
    drop(place);
    drop(some.session().await.unwrap());
}
