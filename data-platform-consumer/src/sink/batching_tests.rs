use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// Takes a batch when it is allowed to, and shows each one before it waits for that.
struct Scripted {
    shown: mpsc::UnboundedSender<Vec<String>>,
    allowed: Arc<Semaphore>,
    panics: AtomicUsize,
}

impl TakesBatches for Scripted {
    type Item = String;

    fn key(item: &String) -> &str {
        item
    }

    async fn take(&self, batch: &[String]) -> Result<(), NotTaken> {
        self.shown.send(batch.to_vec()).unwrap();
        self.allowed.acquire().await.unwrap().forget();
        let has = |word: &str| batch.iter().any(|item| item.contains(word));
        assert!(
            !has("panic") || self.panics.fetch_add(1, Ordering::SeqCst) > 0,
            "a platform that panics, as this test wants"
        );
        if has("bad") {
            Err(NotTaken::OneOfThem(DeliveryFailure::rejected("one is bad")))
        } else if has("poison") {
            Err(NotTaken::OneOfThem(DeliveryFailure::unavailable("it fails")))
        } else if has("away") {
            Err(NotTaken::Whatever(DeliveryFailure::unavailable("it is away")))
        } else {
            Ok(())
        }
    }
}

struct Rig {
    batches: Arc<Batches<Scripted>>,
    shown: mpsc::UnboundedReceiver<Vec<String>>,
    allowed: Arc<Semaphore>,
}

impl Rig {
    fn new(events: usize, batches: usize) -> Self {
        let (sender, shown) = mpsc::unbounded_channel();
        let allowed = Arc::new(Semaphore::new(0));
        let platform = Scripted { shown: sender, allowed: Arc::clone(&allowed), panics: AtomicUsize::new(0) };
        Self { batches: Arc::new(Batches::new(platform, BatchLimits { events, batches })), shown, allowed }
    }

    /// Each is queued when this returns: a test's runtime has one thread, and a call queues in its first poll.
    async fn call(&self, items: &[&str]) -> Vec<JoinHandle<Outcome>> {
        let call = |item: &&str| {
            let (batches, item) = (Arc::clone(&self.batches), (*item).to_owned());
            tokio::spawn(async move { batches.deliver(item).await })
        };
        let calls = items.iter().map(call).collect();
        tokio::task::yield_now().await;
        calls
    }

    async fn shown(&mut self) -> Vec<String> {
        timeout(PATIENCE, self.shown.recv()).await.expect("a batch in time").unwrap()
    }

    /// Lets everything through from now on.
    fn allow_all(&self) {
        self.allowed.add_permits(1_000);
    }
}

async fn outcomes(calls: Vec<JoinHandle<Outcome>>) -> Vec<Result<(), FailureKind>> {
    let mut outcomes = Vec::new();
    for call in calls {
        let outcome = timeout(PATIENCE, call).await.expect("an answer in time").unwrap();
        outcomes.push(outcome.map_err(|failure| failure.kind()));
    }
    outcomes
}

#[tokio::test]
async fn who_comes_alone_goes_alone_and_whatever_waits_is_the_next_batch() {
    let mut rig = Rig::new(3, 1);
    let mut calls = rig.call(&["a"]).await;
    assert_eq!(rig.shown().await, ["a"]);
    calls.extend(rig.call(&["b", "c", "d", "e"]).await);
    rig.allow_all();
    assert_eq!(rig.shown().await, ["b", "c", "d"]);
    assert_eq!(rig.shown().await, ["e"]);
    assert_eq!(outcomes(calls).await, [Ok(()); 5]);
}

#[tokio::test]
async fn no_more_batches_run_at_a_time_than_may() {
    let mut rig = Rig::new(1, 2);
    let calls = rig.call(&["a", "b", "c"]).await;
    assert_eq!((rig.shown().await, rig.shown().await), (vec!["a".to_owned()], vec!["b".to_owned()]));
    tokio::task::yield_now().await;
    assert!(rig.shown.try_recv().is_err(), "a third one has started");
    rig.allow_all();
    assert_eq!(outcomes(calls).await, [Ok(()); 3]);
}

#[tokio::test]
async fn the_one_at_fault_is_found_and_its_neighbours_are_taken() {
    for at_fault in 0..7 {
        let rig = Rig::new(100, 1);
        rig.allow_all();
        let items: Vec<String> =
            (0..7).map(|n| if n == at_fault { format!("bad {n}") } else { n.to_string() }).collect();
        let calls = rig.call(&items.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let found = outcomes(calls).await;
        let expected = (0..7).map(|n| if n == at_fault { Err(FailureKind::Rejected) } else { Ok(()) });
        assert_eq!(found, expected.collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_failed_in_company_goes_alone_the_next_time() {
    let mut rig = Rig::new(10, 1);
    rig.allow_all();
    let failed = outcomes(rig.call(&["a", "poison", "b"]).await).await;
    assert_eq!(failed, [Err(FailureKind::Unavailable); 3]);
    assert_eq!(rig.shown().await, ["a", "poison", "b"]);

    let again = outcomes(rig.call(&["a", "new", "poison", "b"]).await).await;
    assert_eq!(again, [Ok(()), Ok(()), Err(FailureKind::Unavailable), Ok(())]);
    for expected in ["a", "new", "poison", "b"] {
        assert_eq!(rig.shown().await, [expected]);
    }
    outcomes(rig.call(&["a", "b"]).await).await;
    assert_eq!(rig.shown().await, ["a", "b"], "who was taken is trusted again");
}

#[tokio::test]
async fn a_platform_that_is_away_is_asked_once_for_a_batch() {
    let mut rig = Rig::new(10, 1);
    rig.allow_all();
    let failed = outcomes(rig.call(&["a", "away", "b", "c"]).await).await;
    assert_eq!(failed, [Err(FailureKind::Unavailable); 4]);
    assert_eq!(rig.shown().await.len(), 4);
    // And while the one at fault is looked for: what is left of the search is not asked for.
    let failed = outcomes(rig.call(&["d", "away too", "e", "bad"]).await).await;
    assert_eq!(failed, [Err(FailureKind::Unavailable); 4]);
    let calls: Vec<_> = std::iter::from_fn(|| rig.shown.try_recv().ok()).collect();
    assert_eq!(calls, [vec!["d", "away too", "e", "bad"], vec!["d", "away too"]]);
}

#[tokio::test]
async fn a_panic_answers_its_callers_and_the_next_batch_runs() {
    let mut rig = Rig::new(10, 1);
    let calls = rig.call(&["a", "panic"]).await;
    assert_eq!(rig.shown().await.len(), 2);
    let next = rig.call(&["b"]).await;
    rig.allow_all();
    assert_eq!(outcomes(calls).await, [Err(FailureKind::Unavailable); 2]);
    assert_eq!(outcomes(next).await, [Ok(())]);
}

#[tokio::test]
async fn who_stopped_waiting_is_left_out() {
    let mut rig = Rig::new(10, 1);
    let first = rig.call(&["a"]).await;
    rig.shown().await;
    let (gone, stays) = (rig.call(&["gone"]).await, rig.call(&["stays"]).await);
    gone[0].abort();
    assert!(gone.into_iter().next().unwrap().await.unwrap_err().is_cancelled());
    rig.allow_all();
    assert_eq!(rig.shown().await, ["stays"]);
    assert_eq!(outcomes(first).await, [Ok(())]);
    assert_eq!(outcomes(stays).await, [Ok(())]);
}
