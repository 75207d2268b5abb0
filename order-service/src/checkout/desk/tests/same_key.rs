//! Requests under one key that are at the desk at the same time.

use super::*;

#[tokio::test]
async fn a_repeat_joins_the_one_that_waits_or_runs() {
    let mut counted = open(100, 100, 100, PATIENCE);
    let (first, batch) = counted.busy().await;
    let joins_running = counted.place(order(1000, "first", &[1])).await;
    let waits = counted.place(order(1, "k", &[1])).await;
    let joins_waiting = counted.place(order(1, "k", &[1])).await;
    // The repeat still waits when the first to ask has gone.
    waits.abort();
    batch.buy();
    let [first, joined] = [first.await.unwrap().unwrap(), joins_running.await.unwrap().unwrap()];
    assert_eq!(first.order, joined.order);
    assert_eq!((first.is_new, joined.is_new), (true, false), "it is completed once");
    let next = counted.begun().await;
    assert_eq!(next.users(), [1]);
    next.buy();
    let joined = joins_waiting.await.unwrap().unwrap();
    assert_eq!(
        (joined.order.user_id, joined.is_new),
        (UserId(1), true),
        "nobody before him is there to hear it"
    );
}

/// What becomes of it is the database's to say: the one before it may be refused, or be the one that came too late.
#[tokio::test]
async fn another_request_under_a_key_that_waits_or_runs_is_a_batch_later() {
    let mut counted = open(100, 100, 100, PATIENCE);
    let (first, batch) = counted.busy().await;
    let rival = counted.place(order(1000, "first", &[2])).await;
    let repeats_rival = counted.place(order(1000, "first", &[2])).await;
    let third = counted.place(order(1000, "first", &[3])).await;
    let other = counted.place(order(1, "k", &[1])).await;
    batch.refuse(&CheckoutError::KeyReused);
    assert_eq!(first.await.unwrap(), Err(CheckoutError::KeyReused));
    let next = counted.begun().await;
    assert_eq!(next.products(), [1, 2], "the third waits for the second");
    next.buy();
    for answer in [rival, repeats_rival, other] {
        answer.await.unwrap().unwrap();
    }
    let next = counted.begun().await;
    assert_eq!(next.products(), [3]);
    next.refuse(&CheckoutError::KeyReused);
    assert_eq!(third.await.unwrap(), Err(CheckoutError::KeyReused));
}

#[tokio::test]
async fn a_rival_that_gave_up_is_not_bought_for_and_one_takes_the_place_of_an_order_that_gave_up() {
    let mut counted = open(100, 100, 100, PATIENCE);
    let (first, batch) = counted.busy().await;
    let rival = counted.place(order(1000, "first", &[2])).await;
    let gone = counted.place(order(1, "k", &[1])).await;
    let in_its_place = counted.place(order(1, "k", &[3])).await;
    for hangs_up in [rival, gone] {
        hangs_up.abort();
        assert!(hangs_up.await.unwrap_err().is_cancelled());
    }
    batch.buy();
    let next = counted.begun().await;
    assert_eq!(next.products(), [3]);
    next.buy();
    for answer in [first, in_its_place] {
        answer.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_rival_that_ran_out_of_time_is_not_bought_for() {
    let mut counted = open(100, 100, 100, SHORT);
    let (_first, batch) = counted.busy().await;
    let rival = counted.place(order(1000, "first", &[2])).await;
    let error = rival.await.unwrap().unwrap_err();
    assert!(matches!(error, CheckoutError::Unavailable(_)), "{error:?}");
    batch.buy();
    let later = counted.place(order(1, "k", &[3])).await;
    assert_eq!(counted.begun().await.products(), [3]);
    drop(later);
}

#[tokio::test]
async fn no_more_rivals_wait_than_orders_may() {
    let mut counted = open(2, 100, 100, PATIENCE);
    let (_first, batch) = counted.busy().await;
    let waits = [2, 3].map(|product| order(1000, "first", &[product]));
    let mut answers = Vec::new();
    for order in waits {
        answers.push(counted.place(order).await);
    }
    assert_eq!(counted.desk.waiting(), 2, "they are shown");
    let refused = counted.desk.place(order(1000, "first", &[4])).await;
    assert_eq!(refused, Err(CheckoutError::Overloaded));
    // Under another key there is no more room, but in its lane.
    answers.push(counted.place(order(1, "k", &[1])).await);
    assert_eq!(counted.desk.place(order(1, "k", &[2])).await, Err(CheckoutError::Overloaded));
    batch.buy();
    for products in [vec![1, 2], vec![3]] {
        let next = counted.begun().await;
        assert_eq!(next.products(), products);
        next.buy();
    }
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
}

/// A key may be answered late: until then those who left would keep others out.
#[tokio::test]
async fn a_rival_that_hung_up_makes_room_at_once() {
    let mut counted = open(2, 100, 100, PATIENCE);
    let (_first, batch) = counted.busy().await;
    let stays = counted.place(order(1000, "first", &[2])).await;
    let gone = counted.place(order(1000, "first", &[3])).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert_eq!(counted.desk.waiting(), 1);
    let in_its_place = counted.place(order(1000, "first", &[4])).await;
    batch.buy();
    for (answer, product) in [(stays, 2), (in_its_place, 4)] {
        let next = counted.begun().await;
        assert_eq!(next.products(), [product]);
        next.buy();
        answer.await.unwrap().unwrap();
    }
    assert_eq!(counted.desk.waiting(), 0);
}

/// As an answer may be late, and every 503 asks for a repeat.
#[tokio::test]
async fn no_more_repeats_wait_than_orders_may_and_one_that_hung_up_makes_room_at_once() {
    let mut counted = open(2, 100, 100, PATIENCE);
    let (first, batch) = counted.busy().await;
    let stays = counted.place(order(1000, "first", &[1])).await;
    let gone = counted.place(order(1000, "first", &[1])).await;
    assert_eq!(counted.desk.place(order(1000, "first", &[1])).await, Err(CheckoutError::Overloaded));
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    let in_its_place = counted.place(order(1000, "first", &[1])).await;
    batch.buy();
    for answer in [first, stays, in_its_place] {
        answer.await.unwrap().unwrap();
    }
    // Nobody is counted any more.
    let (first, batch) = counted.busy().await;
    let repeats =
        [counted.place(order(1000, "first", &[1])).await, counted.place(order(1000, "first", &[1])).await];
    batch.buy();
    for answer in [first].into_iter().chain(repeats) {
        answer.await.unwrap().unwrap();
    }
}
