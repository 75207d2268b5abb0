//! P16: PostgreSQL crashes under load, twice, and is restarted in good order. Buyers repeat under their keys as they are told
//! to. What was acknowledged is there, nothing is bought twice, and nobody has to start the service again.

use super::verdict::Verdict;
use crate::cases;
use crate::rig::Rig;
use crate::running::Running;
use std::sync::Arc;
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinSet, yield_now};

cases!(acknowledged_orders_survive_ends_of_postgres_and_the_service_recovers);

const BUYERS: i64 = 8;
/// How the server ends. In good order it tells each client so, whatever his transaction is doing.
#[derive(Clone, Copy)]
enum End {
    Crash,
    Shutdown,
}

const ENDS: [End; 3] = [End::Crash, End::Shutdown, End::Crash];
/// So many orders are bought before the first end, between two, and after the last.
const BOUGHT_BETWEEN: i64 = 40;

/// What buyers have seen so far.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    acknowledged: i64,
    /// Answers other than 201.
    turned_away: i64,
}

async fn acknowledged_orders_survive_ends_of_postgres_and_the_service_recovers(_: Arc<Rig>) {
    let mut own = Rig::start().await;
    let shop = own.shop().await;
    shop.stock(&[(1500, 100_000), (70, 100_000)]).await;
    // Nobody is kept waiting for as long as the database is away.
    let service = Arc::new(Running::start_with(&shop, &[("ORDERS__ANSWER_TIMEOUT", "2s")]).await);
    let verdict = Arc::new(Mutex::new(Verdict::default()));
    let (seen, mut progress) = watch::channel(Seen::default());
    let (closing, closed) = watch::channel(false);
    let mut buyers = JoinSet::new();
    for user in 1..=BUYERS {
        let (service, verdict, seen) = (service.clone(), verdict.clone(), seen.clone());
        let closed = closed.clone();
        buyers.spawn(async move {
            let mut order = 0;
            while !*closed.borrow() {
                order += 1;
                buy(&service, &verdict, &seen, (user, order)).await;
            }
        });
    }
    for end in ENDS {
        bought_more(&mut progress).await;
        let before = progress.borrow().turned_away;
        match end {
            End::Crash => own.crash().await,
            End::Shutdown => own.shut_down().await,
        }
        progress.wait_for(|seen| seen.turned_away > before).await.unwrap();
        own.restart().await;
    }
    bought_more(&mut progress).await;
    closing.send_replace(true);
    buyers.join_all().await;

    let verdict = Arc::into_inner(verdict).unwrap().into_inner();
    let bought = progress.borrow().acknowledged;
    let orders = usize::try_from(bought).unwrap();
    let counts = verdict.kept_with(&shop, orders, 200_000 - bought).await;
    assert_eq!(counts.acknowledged, orders);
    Arc::into_inner(service).unwrap().stop().await;
    drop(shop);
    own.stop().await;
}

async fn bought_more(progress: &mut watch::Receiver<Seen>) {
    let enough = progress.borrow().acknowledged + BOUGHT_BETWEEN;
    progress.wait_for(|seen| seen.acknowledged >= enough).await.unwrap();
}

/// Until it is bought.
async fn buy(
    service: &Running,
    verdict: &Mutex<Verdict>,
    seen: &watch::Sender<Seen>,
    (user, order): (i64, i64),
) {
    let key = order.to_string();
    loop {
        let answer = service.orders_one(user, &key, 1 + order % 2).await;
        let (status, answer) = answer.expect("an answer");
        verdict.lock().await.answered_http(user, &key, Some((status, &answer)));
        if status == 201 {
            seen.send_modify(|seen| seen.acknowledged += 1);
            return;
        }
        assert_eq!(status, 503, "{answer}");
        seen.send_modify(|seen| seen.turned_away += 1);
        yield_now().await;
    }
}
