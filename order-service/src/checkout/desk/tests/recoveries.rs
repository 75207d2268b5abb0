//! Batches whose COMMIT was lost; the test says when it is known what became of them.

use super::*;
use crate::checkout::limits::RECOVERIES;

/// What became of these orders is looked for.
struct Lost {
    orders: Arc<[OrderRequest]>,
    begun: oneshot::Receiver<()>,
    ends: oneshot::Sender<Recovered>,
}

impl Begun {
    /// Its COMMIT is lost.
    fn lose(self) -> Lost {
        self.lose_but(0, &CheckoutError::Overloaded)
    }

    /// So many were refused before, for this.
    fn lose_but(self, refused: usize, why: &CheckoutError) -> Lost {
        let ((begins, begun), (ends, ended)) = (oneshot::channel(), oneshot::channel::<Recovered>());
        let running = async move {
            begins.send(()).unwrap();
            ended.await.expect("a test that drops it wants the recovery to panic")
        };
        let (verdicts, orders) = self.orders.split_at(refused);
        let verdicts = verdicts.iter().map(|_| Verdict::Answer(Err(why.clone())));
        let verdicts = verdicts.chain(orders.iter().map(|_| Verdict::Uncertain)).collect();
        let orders: Arc<[OrderRequest]> = orders.into();
        let recovery = Some(Recovery { orders: orders.clone(), running: running.boxed() });
        let (held, free) = (Rows::default(), Rows::default());
        self.ends.send(Ended { verdicts, held, free, recovery }).unwrap();
        Lost { orders, begun, ends }
    }
}

impl Lost {
    async fn begun(&mut self) {
        tokio::time::timeout(PATIENCE, &mut self.begun).await.expect("it is looked for").unwrap();
    }

    fn bought(self) {
        let answers = self.orders.iter().map(|order| Ok(completed(order))).collect();
        self.ends.send(Recovered { answers, free: Rows::of(self.orders.iter()) }).unwrap();
    }
}

fn open_with(head_start: Duration) -> Counted {
    open_for(1, head_start)
}

fn open_for(workers: usize, head_start: Duration) -> Counted {
    let (sender, batches) = unbounded_channel();
    let limits = DeskLimits { workers, ..limits(100, 100, 100) };
    Counted { desk: Desk::open_with(Batches(sender), limits, PATIENCE, head_start), batches }
}

/// All tasks run on this one thread, and timers fire in the order of their times: a head start of nothing is over when a longer
/// time is, and whoever could go on has gone on.
async fn nothing_begins(counted: &mut Counted) {
    let begun = tokio::time::timeout(Duration::from_millis(2), counted.batches.recv()).await;
    assert!(begun.is_err(), "nothing begins");
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(counted.batches.try_recv().is_err(), "nothing begins");
}

#[tokio::test]
async fn a_worker_does_not_wait_for_a_lost_commit() {
    // With the head start of the real desk, too.
    for head_start in [Duration::ZERO, HEAD_START] {
        let mut counted = open_with(head_start);
        let (first, batch) = counted.busy().await;
        let lost = batch.lose();
        let other = counted.place(order(1, "k", &[1])).await;
        counted.begun().await.buy();
        other.await.unwrap().unwrap();

        // Its key is under way still.
        let repeat = counted.place(order(1000, "first", &[1])).await;
        let rival = counted.place(order(1000, "first", &[2])).await;
        nothing_begins(&mut counted).await;
        assert!(!first.is_finished() && !repeat.is_finished());
        lost.bought();
        let [first, repeat] = [first.await.unwrap().unwrap(), repeat.await.unwrap().unwrap()];
        assert_eq!((first.is_new, repeat.is_new), (true, false));
        assert_eq!(first.order, repeat.order);
        // Nobody else woke the worker.
        let next = counted.begun().await;
        assert_eq!(next.products(), [2]);
        next.refuse(&CheckoutError::KeyReused);
        assert_eq!(rival.await.unwrap(), Err(CheckoutError::KeyReused));
    }
}

#[tokio::test]
async fn a_recovery_that_ends_at_once_comes_before_those_who_came_later() {
    let mut counted = open_with(PATIENCE);
    let (first, batch) = counted.busy().await;
    let later = counted.place(order(1, "k", &[1])).await;
    let mut lost = batch.lose();
    lost.begun().await;
    nothing_begins(&mut counted).await;
    lost.bought();
    first.await.unwrap().unwrap();
    counted.begun().await.buy();
    later.await.unwrap().unwrap();
}

#[tokio::test]
async fn when_too_many_commits_are_lost_the_worker_waits() {
    let mut counted = open_with(Duration::ZERO);
    let (mut buyers, mut lost) = (Vec::new(), Vec::new());
    for user in 0..=3 {
        let buyer = counted.place(order(user, "k", &[1])).await;
        if user < 3 {
            let mut one = counted.begun().await.lose();
            one.begun().await;
            lost.push(one);
        }
        buyers.push(buyer);
    }
    assert_eq!(lost.len(), RECOVERIES + 1);
    nothing_begins(&mut counted).await;
    // The one that it waits for, and no other.
    lost.pop().unwrap().bought();
    counted.begun().await.buy();
    for buyer in [buyers.pop(), buyers.pop()].into_iter().flatten() {
        buyer.await.unwrap().unwrap();
    }
    // Who ended made a place.
    lost.pop().unwrap().bought();
    buyers.pop().unwrap().await.unwrap().unwrap();
    let again = counted.place(order(1, "again", &[1])).await;
    let one = counted.begun().await.lose();
    let next = counted.place(order(2, "again", &[1])).await;
    counted.begun().await.buy();
    next.await.unwrap().unwrap();
    for (lost, buyer) in [(one, again), (lost.pop().unwrap(), buyers.pop().unwrap())] {
        lost.bought();
        buyer.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_recovery_that_panics_answers_its_callers_and_leaves_the_desk_working() {
    // In a task of its own, and in the worker.
    let mut counted = open_with(Duration::ZERO);
    let (mut buyers, mut lost) = (Vec::new(), Vec::new());
    for user in 0..=RECOVERIES {
        buyers.push(counted.place(order(i64::try_from(user).unwrap(), "k", &[1])).await);
        let mut one = counted.begun().await.lose();
        one.begun().await;
        lost.push(one);
    }
    for one in lost {
        drop(one.ends);
    }
    for buyer in buyers {
        // Not only because he has waited for too long.
        let panicked = CheckoutError::OutcomeUnknown("the checkout panicked".to_owned());
        assert_eq!(buyer.await.unwrap(), Err(panicked));
    }
    let next = counted.place(order(1000, "k", &[1])).await;
    counted.begun().await.buy();
    next.await.unwrap().unwrap();
}

/// It could not look into its lane before the recovery has ended.
#[tokio::test]
async fn what_comes_into_the_lane_of_a_worker_that_waits_for_a_recovery_is_another_worker_s() {
    let mut counted = open_for(2, PATIENCE);
    let (first, batch) = counted.busy().await;
    let second = counted.place(order(1001, "k", &[1])).await;
    let other_worker_s = counted.begun().await;
    let mut buyers = vec![counted.place(order(1, "k", &[1])).await, counted.place(order(2, "k", &[1])).await];
    batch.buy();
    let both = counted.begun().await;
    assert_eq!(both.users(), [1, 2]);
    let rival = counted.place(order(1, "k", &[2])).await;
    other_worker_s.buy();
    for buyer in [first, second] {
        buyer.await.unwrap().unwrap();
    }
    nothing_begins(&mut counted).await;
    // The first is refused, so its rival's turn has come; the COMMIT of the second is lost.
    let lost = both.lose_but(1, &CheckoutError::KeyReused);
    let next = counted.begun().await;
    assert_eq!(next.products(), [2]);
    next.buy();
    lost.bought();
    let second = buyers.pop().unwrap();
    assert_eq!(buyers.pop().unwrap().await.unwrap(), Err(CheckoutError::KeyReused));
    for buyer in [second, rival] {
        buyer.await.unwrap().unwrap();
    }
}

/// Meanwhile their rows looked as if somebody else held them: that was the lost transaction.
#[tokio::test]
async fn a_recovery_frees_the_rows_that_it_could_lock() {
    let mut counted = open_with(Duration::ZERO);
    let (first, batch) = counted.busy().await;
    let lost = batch.lose();
    let held = counted.place(order(1, "k", &[1])).await;
    counted.begun().await.held(1);
    let slow = counted.begun().await;
    assert_eq!((slow.lane, slow.users()), (Lane::Slow, vec![1]));
    let waits = counted.place(order(2, "k", &[1])).await;
    nothing_begins(&mut counted).await;
    lost.bought();
    first.await.unwrap().unwrap();
    let fast = counted.begun().await;
    assert_eq!((fast.lane, fast.users()), (Lane::Fast, vec![2]));
    for batch in [fast, slow] {
        batch.buy();
    }
    for buyer in [held, waits] {
        buyer.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_desk_that_closes_waits_for_its_recoveries_and_serves_whoever_waited_for_their_keys() {
    let mut counted = open_with(Duration::ZERO);
    let (first, batch) = counted.busy().await;
    let mut lost = batch.lose();
    lost.begun().await;
    let rival = counted.place(order(1000, "first", &[2])).await;
    let desk = counted.desk.clone();
    let closing = tokio::spawn(async move { desk.close().await });
    while !counted.desk.counter.book.closed.is_cancelled() {
        tokio::task::yield_now().await;
    }
    nothing_begins(&mut counted).await;
    assert!(!closing.is_finished() && !first.is_finished());
    lost.bought();
    first.await.unwrap().unwrap();
    let next = counted.begun().await;
    assert_eq!(next.products(), [2]);
    next.refuse(&CheckoutError::KeyReused);
    assert_eq!(rival.await.unwrap(), Err(CheckoutError::KeyReused));
    tokio::time::timeout(PATIENCE, closing).await.expect("the workers end").unwrap();
}
