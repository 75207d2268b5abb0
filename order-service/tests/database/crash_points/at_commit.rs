//! P2 and P5: the connection breaks when COMMIT passes. The order is bought once; its buyer is told the truth, or that
//! the outcome is unknown, and then a repeat under the same key tells him.

use super::process::order_of_one;
use super::verdict::Verdict;
use crate::cases;
use crate::metrics::{page, value};
use crate::rig::{Rig, Shop, settings_with};
use crate::running::Running;
use engines::tcp_proxy::{Break, Commit, TcpProxy};
use serde_json::{Value, json};
use std::sync::Arc;

cases!(
    a_commit_that_never_arrived_buys_once,
    a_commit_whose_answer_is_lost_buys_once,
    a_commit_that_never_arrived_at_a_database_that_crashed_buys_once,
    a_commit_whose_answer_a_crash_of_the_database_took_buys_once,
    a_lost_commit_that_cannot_be_looked_for_is_503_unknown_until_a_repeat_tells,
    a_buyer_of_a_service_that_fell_silent_before_commit_holds_up_nobody,
);

struct Stage {
    shop: Shop,
    proxy: TcpProxy,
    /// Reaches the database through the proxy.
    service: Running,
    verdict: Verdict,
}

impl Stage {
    async fn set(rig: &Rig, more: &[(&str, &str)]) -> Self {
        let shop = rig.shop().await;
        shop.stock(&[(1500, 5)]).await;
        let proxy = TcpProxy::start(rig.address()).await.unwrap();
        let url = proxy.url(&shop.own.url());
        let service = Running::start_with(&shop, &[&[("DATABASE__URL", url.as_str())], more].concat()).await;
        Self { shop, proxy, service, verdict: Verdict::default() }
    }

    /// The first answer, and what it says of the order: 201, or unknown with the key to repeat.
    fn answered(&mut self, (status, answer): &(u16, Value)) {
        self.verdict.answered_http(1, "k", Some((*status, answer)));
        if *status != 201 {
            assert_eq!((*status, &answer["type"]), (503, &json!("/problems/outcome-unknown")), "{answer}");
            assert_eq!(answer["idempotencyKey"], "k");
        }
    }

    /// The repeat buys, or is told what was bought; it was one order.
    async fn repeated(mut self, first: (u16, Value)) {
        let (status, order) = self.service.orders_one(1, "k", 1).await.unwrap();
        assert_eq!(status, 201, "{order}");
        if first.0 == 201 {
            assert_eq!(first.1, order);
        }
        self.verdict.answered_http(1, "k", Some((status, &order)));
        self.verdict.kept_with(&self.shop, 1, 4).await;
        self.service.stop().await;
    }
}

async fn cut_at(rig: &Rig, commit: Commit) {
    let mut stage = Stage::set(rig, &[]).await;
    stage.proxy.arm(commit, Break::Cut);
    let first = stage.service.orders_one(1, "k", 1).await.unwrap();
    stage.proxy.struck().await;
    stage.answered(&first);
    // The same orders go again on another connection, so the true answer comes at once.
    assert_eq!(first.0, 201, "{first:?}");
    stage.repeated(first).await;
}

async fn a_commit_that_never_arrived_buys_once(rig: Arc<Rig>) {
    cut_at(&rig, Commit::NotSent).await;
}

async fn a_commit_whose_answer_is_lost_buys_once(rig: Arc<Rig>) {
    cut_at(&rig, Commit::Answered).await;
}

/// Between COMMIT and the loss of the connection the database crashes, and comes back.
async fn crash_at(commit: Commit) {
    let mut own = Rig::start().await;
    let mut stage = Stage::set(&own, &[]).await;
    stage.proxy.arm(commit, Break::Silence);
    let buying = tokio::spawn(stage.service.orders_one(1, "k", 1));
    stage.proxy.struck().await;
    own.crash().await;
    own.restart().await;
    stage.proxy.cut();
    let first = buying.await.unwrap().unwrap();
    stage.answered(&first);
    assert_eq!(first.0, 201, "{first:?}");
    stage.repeated(first).await;
    own.stop().await;
}

async fn a_commit_that_never_arrived_at_a_database_that_crashed_buys_once(_: Arc<Rig>) {
    crash_at(Commit::NotSent).await;
}

async fn a_commit_whose_answer_a_crash_of_the_database_took_buys_once(_: Arc<Rig>) {
    crash_at(Commit::Answered).await;
}

/// There is no way to the database until the buyer has his answer, and a while longer.
async fn a_lost_commit_that_cannot_be_looked_for_is_503_unknown_until_a_repeat_tells(rig: Arc<Rig>) {
    for commit in [Commit::NotSent, Commit::Answered] {
        let mut stage = Stage::set(&rig, &[("ORDERS__ANSWER_TIMEOUT", "1s")]).await;
        // A session is there before the way is closed.
        assert_eq!(stage.service.read("/products/1").await.status(), 200);
        stage.proxy.arm(commit, Break::Cut);
        stage.proxy.refuse(true);
        let order = order_of_one(&stage.service.client, stage.service.address, (1, "k"), 1, None);
        let response = order.send().await.unwrap();
        stage.proxy.struck().await;
        assert_eq!(response.headers()["retry-after"], "1", "{commit:?}");
        let status = response.status().as_u16();
        let problem: Value = response.json().await.unwrap();
        assert_eq!((status, &problem["type"]), (503, &json!("/problems/outcome-unknown")), "{problem}");
        assert_eq!(problem["idempotencyKey"], "k");
        stage.verdict.answered_http(1, "k", Some((status, &problem)));

        // He repeats it as he is told to. First he meets the search for the lost one, and when that has been given up a
        // database that is away: his repeat does nothing then, but what the lost one did nobody knows.
        let not_now = until_answered(&mut stage, "/problems/unavailable").await;
        assert!(not_now["detail"].as_str().unwrap().contains("not known here"), "{not_now}");
        stage.proxy.refuse(false);
        let order = until_answered(&mut stage, "COMPLETED").await;
        assert_eq!(stage.shop.number("SELECT id FROM orders").await, order["orderId"]);
        stage.verdict.kept_with(&stage.shop, 1, 4).await;
        stage.service.stop().await;
    }
}

/// Repeats the request until its answer is of this type, or the order. All before it tell to repeat it under its key.
async fn until_answered(stage: &mut Stage, wanted: &str) -> Value {
    loop {
        let (status, answer) = stage.service.orders_one(1, "k", 1).await.unwrap();
        stage.verdict.answered_http(1, "k", Some((status, &answer)));
        if status != 201 {
            assert_eq!((status, &answer["idempotencyKey"]), (503, &json!("k")), "{answer}");
        }
        if answer["type"] == wanted || answer["status"] == wanted {
            return answer;
        }
    }
}

/// As long as the database lets it, which is two seconds by default.
async fn a_buyer_of_a_service_that_fell_silent_before_commit_holds_up_nobody(rig: Arc<Rig>) {
    let default = settings_with(&[]).database.idle_in_transaction_timeout;
    let default = format!("{}ms", default.as_millis());
    let mut stage = Stage::set(&rig, &[("DATABASE__IDLE_IN_TRANSACTION_TIMEOUT", &default)]).await;
    let other = Running::start_with(&stage.shop, &[("DATABASE__LOCK_TIMEOUT", "5s")]).await;
    stage.proxy.arm(Commit::NotSent, Break::Silence);
    let buying = tokio::spawn(stage.service.orders_one(1, "k", 1));
    stage.proxy.struck().await;

    // It waits for the stock row until the server gives up the silent transaction.
    let (status, order) = other.orders_one(2, "k", 1).await.unwrap();
    assert_eq!(status, 201, "{order}");
    let rolled_back = r#"order_service_transaction_duration_seconds_count{outcome="rolled_back"}"#;
    assert!(value(&page(&other).await, rolled_back) < 1.0, "it got the row without a time-out");
    stage.verdict.answered_http(2, "k", Some((status, &order)));
    assert!(!buying.is_finished(), "nobody has told the first one anything");
    assert_eq!(stage.shop.number("SELECT count(*) FROM orders WHERE user_id = 1").await, 0);

    stage.proxy.cut();
    let first = buying.await.unwrap().unwrap();
    stage.answered(&first);
    let (status, order) = stage.service.orders_one(1, "k", 1).await.unwrap();
    stage.verdict.answered_http(1, "k", Some((status, &order)));
    stage.verdict.kept_with(&stage.shop, 2, 3).await;
    other.stop().await;
    stage.service.stop().await;
}
