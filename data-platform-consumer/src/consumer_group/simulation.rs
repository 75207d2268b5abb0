//! # Simulation
//!
//! Tracker, queues, retries, breaker, blame and ceiling as the poll thread uses them ([`Assignments`]), in histories that
//! a seed decides: members that come, go, freeze and crash, partitions that move in every way there is, a platform and a
//! dead-letter topic with good and bad days, commits that fail. Time is data, so a history of a minute takes milliseconds.
//! What must hold at every step stands in [`ledger`]; and once the faults stop, everything finishes within a bounded time.
//!
//! The coordinator, the client and the broker are models. What librdkafka does is for `tests/group`.
//!
//! `SIMULATION_SEEDS=100000` runs more histories, `SIMULATION_SEED=7` one of them; a failure says which, and shows the
//! last that happened in it. Seeds that once found something are kept in [`FOUND_SOMETHING`].

mod chance;
mod coordinator;
mod dead_letter_topic;
mod ledger;
mod member;
mod platform;
mod topic;
mod world;

use std::any::Any;
use std::num::NonZero;
use std::panic::{self, AssertUnwindSafe};
use std::thread;

use world::World;

const SEEDS: u64 = 2_000;
/// Where the ordinary ones begin: beyond those that are kept, which would else be lived through twice.
const FIRST_SEED: u64 = 1_000;
/// Kept, with what each has found.
const FOUND_SOMETHING: [(u64, &str); 6] = [
    (2, "the last call from before an outage doubled its wait"),
    (85, "a record taken meanwhile lifted a Retry-After"),
    (1, "an outage gave up a record"),
    (15, "a dead letter waited behind another one"),
    (137, "two records that always fail kept the breaker from closing, so that they were never given up"),
    (795, "what had overtaken a record that waited was repeated after it was handed back"),
];

fn live_through(world: &mut World) -> Result<(), String> {
    panic::catch_unwind(AssertUnwindSafe(|| world.run())).map_err(|cause| in_words(cause.as_ref()))
}

fn in_words(cause: &(dyn Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().cloned();
    text.or_else(|| cause.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}

/// How many events there were, or what is wrong and what came before it.
fn check(seed: u64) -> Result<u64, String> {
    let mut world = World::new(seed, false);
    if live_through(&mut world).is_ok() {
        return Ok(world.events_so_far);
    }
    let mut again = World::new(seed, true);
    let cause = live_through(&mut again).expect_err("the same seed is the same history");
    let before = FOUND_SOMETHING.iter().find(|(kept, _)| *kept == seed);
    let before = before.map_or(String::new(), |(_, what)| format!(" (it has found before: {what})"));
    Err(format!("seed {seed}, alone with SIMULATION_SEED={seed}{before}: {cause}\n{}", again.history()))
}

/// Every so-manieth of the seeds, up to the first that finds something.
fn check_stripe(seeds: &[u64], stripe: usize, stripes: usize) -> Result<u64, (u64, String)> {
    let seeds = seeds.iter().skip(stripe).step_by(stripes);
    seeds.map(|seed| check(*seed).map_err(|what| (*seed, what))).sum()
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|number| number.parse().unwrap())
}

#[test]
fn every_history_keeps_the_promises_and_finishes_when_the_faults_stop() {
    let alone = from_environment("SIMULATION_SEED").map(|seed| vec![seed]);
    let seeds: Vec<u64> = alone.unwrap_or_else(|| {
        let number = from_environment("SIMULATION_SEEDS").unwrap_or(SEEDS);
        FOUND_SOMETHING.into_iter().map(|(seed, _)| seed).chain(FIRST_SEED..FIRST_SEED + number).collect()
    });
    let stripes = thread::available_parallelism().map_or(1, NonZero::get);
    let results: Vec<_> = thread::scope(|scope| {
        let seeds = &seeds;
        let running = (0..stripes).map(|stripe| scope.spawn(move || check_stripe(seeds, stripe, stripes)));
        let running: Vec<_> = running.collect();
        running.into_iter().map(|stripe| stripe.join().unwrap()).collect()
    });
    let first = results.iter().filter_map(|result| result.as_ref().err()).min();
    assert!(first.is_none(), "{}", first.map_or("", |(_, what)| what));
    let events: u64 = results.into_iter().flatten().sum();
    println!("{} histories of {events} events", seeds.len());
}
