//! A group of consumers.

use std::collections::BTreeSet;

use local_stack::service_log::LogLine;

use crate::heard::delivered;
use crate::scene::{Consumer, OrderService, Scene};

const ORDERS: usize = 24;
const HALF: &str = "owning 3 partitions";

/// Two consumers that own half of the partitions each.
async fn pair(scene: &Scene, settings: &[(&'static str, &str)]) -> (Consumer, Consumer) {
    let (one, other) = (scene.consumer("consumer-1", settings), scene.consumer("consumer-2", settings));
    tokio::join!(one.heard.says(HALF), other.heard.says(HALF));
    (one, other)
}

async fn buy(service: &OrderService) -> BTreeSet<i64> {
    let product = service.api.product(100).await;
    service.api.buy_often(product, ORDERS).await.into_iter().collect()
}

/// Each works on a part, together they do all of it, and nothing twice.
pub(crate) async fn share(scene: Scene) {
    let service = scene.order_service(&[]).await;
    let (one, other) = pair(&scene, &[]).await;
    let orders = buy(&service).await;
    scene.everybody.until("every order was delivered", |lines| delivered(lines).len() >= ORDERS).await;
    let mut both: Vec<i64> = one.heard.delivered();
    assert!(!both.is_empty() && both.len() < ORDERS, "{both:?}");
    both.extend(other.heard.delivered());
    both.sort_unstable();
    assert_eq!(both, Vec::from_iter(orders));

    let (one, other) = tokio::join!(one.process.stop(), other.process.stop());
    assert!(one.success() && other.success(), "SIGTERM ends them with 0: {one}, {other}");
}

/// Whoever takes over would else wait for the end of a session. How far the client is with its partitions when it is closed is
/// a matter of chance, so it is done some times.
pub(crate) async fn one_stops_and_is_no_member(scene: Scene) {
    for round in 0..8 {
        let consumer = scene.consumer("consumer", &[]);
        consumer.heard.says("owning 6 partitions").await;
        assert!(consumer.process.stop().await.success());
        let (status, said) = scene.positions_command(&["show"]).await;
        assert!(status.success() && said.contains("no members now"), "round {round}: {said}");
    }
}

/// By its name it is the same member: the other one keeps what it has, and nothing is handed over.
pub(crate) async fn one_with_a_name_is_restarted(scene: Scene) {
    let service = scene.order_service(&[]).await;
    let named = |name| [("KAFKA__GROUP_INSTANCE_ID", name), ("KAFKA__SESSION_TIMEOUT", "30s")];
    let other = scene.consumer("consumer-2", &named("two"));
    let one = scene.consumer("consumer-1", &named("one"));
    tokio::join!(one.heard.says(HALF), other.heard.says(HALF));
    one.heard
        .until("it is settled", |lines| lines.iter().any(|line| line.message.contains("kafka is ready")))
        .await;
    let before = other.heard.messages().len();
    assert!(one.process.stop().await.success());
    assert!(one.heard.messages().iter().any(|line| line.contains("a member of the group until")));
    let again = scene.consumer("consumer-1 again", &named("one"));
    again.heard.says(HALF).await;
    let orders = buy(&service).await;
    scene.everybody.until("every order was delivered", |lines| delivered(lines).len() >= ORDERS).await;
    let mut both: Vec<i64> = again.heard.delivered();
    assert!(!both.is_empty() && both.len() < ORDERS, "{both:?}");
    both.extend(other.heard.delivered());
    both.sort_unstable();
    assert_eq!(both, Vec::from_iter(orders), "once each");
    let since = other.heard.messages().split_off(before);
    assert!(!since.iter().any(|line| line.contains("handed back") || line.contains("owning")), "{since:#?}");
}

/// The platform takes so long that the killed consumer has finished nothing: all of its share is the other's now.
pub(crate) async fn one_is_killed(scene: Scene) {
    let service = scene.order_service(&[]).await;
    let (killed, other) = pair(&scene, &[("SINK__LOG__WAIT", "30s")]).await;
    let orders = buy(&service).await;
    killed.heard.until("it works", |lines| !delivered(lines).is_empty()).await;
    killed.process.process().kill();
    killed.process.exited().await;
    assert!(!killed.heard.delivered().is_empty());

    other
        .heard
        .until("the other has delivered every order", |lines| {
            let delivered: BTreeSet<i64> = delivered(lines).into_iter().collect();
            delivered == orders
        })
        .await;
}

/// It wakes with calls on the wire for partitions that are the other's by now: the other's positions stand, and it works on as a member.
pub(crate) async fn one_is_frozen_for_longer_than_its_session(scene: Scene) {
    let service = scene.order_service(&[]).await;
    let (frozen, other) = pair(&scene, &[("SINK__LOG__WAIT", "1s")]).await;
    let orders = buy(&service).await;
    frozen.heard.until("it works", |lines| !delivered(lines).is_empty()).await;
    frozen.process.process().freeze();
    other
        .heard
        .until("the other has delivered every order", |lines| {
            let delivered: BTreeSet<i64> = delivered(lines).into_iter().collect();
            delivered == orders
        })
        .await;
    let all = i64::try_from(ORDERS).expect("few");
    scene.so_many_are_committed(all).await;

    frozen.process.process().thaw();
    frozen.heard.until("it owns half of them again", |lines| owned_half(lines) == 2).await;
    assert_eq!(scene.committed_records(), all, "what it had finished before is behind the other's position");
    let more = buy(&service).await;
    scene
        .everybody
        .until("what came later is delivered", |lines| {
            let delivered: BTreeSet<i64> = delivered(lines).into_iter().collect();
            delivered.is_superset(&more)
        })
        .await;
    scene.so_many_are_committed(2 * all).await;
    let mut later: Vec<i64> = [&frozen, &other]
        .iter()
        .flat_map(|one| one.heard.delivered())
        .filter(|it| more.contains(it))
        .collect();
    later.sort_unstable();
    assert_eq!(later, Vec::from_iter(more), "once each");
    assert!(frozen.process.stop().await.success(), "SIGTERM ends it with 0");
}

fn owned_half(lines: &[LogLine]) -> usize {
    lines.iter().filter(|line| line.message.contains(HALF)).count()
}
