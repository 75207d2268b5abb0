//! SIGKILL, one part after the other, while buyers buy.

use std::collections::HashSet;
use std::sync::PoisonError;

use ledger::Balance;

use crate::buyers::{Buyers, Products};
use crate::compose::docker;
use crate::stack::{BROKERS, CONSUMER, ORDER_SERVICE, POSTGRES, Stack};

/// More rounds over all parts: `KILL_TEST_ROUNDS=10 cargo test --workspace --test compose killed`.
const ROUNDS: &str = "KILL_TEST_ROUNDS";
/// Orders that are bought between two faults, and during one that buyers do not notice.
const SOME: usize = 100;
/// Attempts that fail before a part comes back without which nobody can buy.
const FAILURES: usize = 20;
/// What a round may publish twice: what order-service had in flight, or had not deleted yet, when it, its database or a
/// broker was killed, at forty orders a second.
const REPEATED_RECORDS_A_ROUND: usize = 50;
/// What a round may deliver twice: for each of two consumers, its calls in flight (100) and what it had not committed yet; for
/// each of three brokers, what could not be committed while the group's coordinator was away.
const REPEATED_DELIVERIES_A_ROUND: usize = 2 * 150 + 3 * 100;

pub(crate) async fn every_part(stack: &Stack) {
    let rounds = match std::env::var(ROUNDS) {
        Ok(rounds) => {
            rounds.parse().unwrap_or_else(|_| panic!("{ROUNDS} is a number of rounds, not {rounds}"))
        }
        Err(_) => 1,
    };
    stack.latencies.phase("everything is up");
    let buyers = Buyers::start(stack).await;
    let products = buyers.products;
    buyers.bought(SOME).await;
    for _ in 0..rounds {
        round(stack, &buyers).await;
    }
    stack.latencies.phase("everything is up again");
    buyers.bought(SOME).await;
    buyers.stop().await;

    let balance = settled(stack).await;
    println!("\n{}\n\n{balance}\n", stack.latencies.table(&stack.deliveries.all()));
    assert!(balance.is_balanced(), "{balance}");
    let counts = balance.counts();
    assert_eq!(counts.unclear, 0, "every buyer has a clear answer");
    assert!(counts.repeated_records <= rounds * REPEATED_RECORDS_A_ROUND, "{balance}");
    assert!(counts.repeated_receipts <= rounds * REPEATED_DELIVERIES_A_ROUND, "{balance}");
    stock_fits(stack, products).await;
}

/// Every part once.
async fn round(stack: &Stack, buyers: &Buyers) {
    for broker in BROKERS {
        away(stack, broker);
        buyers.bought(SOME).await;
        // Two brokers are enough: what is ordered now arrives now.
        stack.deliveries.await_all(&stack.latencies.events_of_this_phase()).await;
        back(stack, broker);
        stack.evidence.replicas_are_in_sync().await;
    }
    for part in [POSTGRES, ORDER_SERVICE] {
        away(stack, part);
        buyers.unclear(FAILURES).await;
        back(stack, part);
        buyers.bought(SOME).await;
    }
    let consumers = stack.compose.containers(CONSUMER);
    for (place, container) in consumers.iter().enumerate() {
        stack.latencies.phase(&format!("consumer {} is away", place + 1));
        docker(&["kill", "--signal", "KILL", container]);
        buyers.bought(SOME).await;
        // The others take its share over.
        stack.deliveries.await_all(&stack.latencies.events_of_this_phase()).await;
        back(stack, CONSUMER);
        buyers.bought(SOME).await;
    }
}

fn away(stack: &Stack, part: &str) {
    stack.latencies.phase(&format!("{part} is away"));
    stack.kill(part);
}

fn back(stack: &Stack, part: &str) {
    stack.latencies.phase(&format!("{part} comes back"));
    stack.start(part);
}

/// The verdict, once nothing is on its way any more.
pub(crate) async fn settled(stack: &Stack) -> Balance {
    stack.evidence.outbox_is_empty().await;
    let events: HashSet<String> = stack.evidence.events().await;
    stack.deliveries.await_all(&events).await;
    let mut ledger = stack.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone();
    stack.evidence.tell_orders(&mut ledger).await;
    stack.evidence.tell_records(&mut ledger).await;
    for delivery in stack.deliveries.all() {
        ledger.received(&delivery.event);
    }
    ledger.balance()
}

/// What was sold is what is gone.
pub(crate) async fn stock_fits(stack: &Stack, products: Products) {
    for (product, stock) in products.stocks() {
        let (sold, left) = stack.evidence.sold_and_left(product).await;
        assert_eq!(sold + left, stock, "product {product}: {sold} sold, {left} left");
    }
}
