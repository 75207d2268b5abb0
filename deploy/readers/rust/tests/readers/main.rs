//! # The readers that other teams copy, tried
//!
//! Events as order-service publishes them, some of them twice; readers that are killed, stopped, and given what they
//! cannot read. What counts is what stands in the reader's database in the end.
#![expect(clippy::expect_used, reason = "a test program: a panic is a failed case")]

mod program;
mod real_kafka;
mod rust_reader;
mod scene;
mod spring_reader;

use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Trial};
use tokio::runtime::Runtime;

use crate::scene::{Scene, Stage};

/// Why a case could not be tried, if it could not.
type Outcome = Option<String>;
type Case = (&'static str, fn(Scene) -> Pin<Box<dyn Future<Output = Outcome>>>);

/// Every case, by the sentence that it proves.
const CASES: [Case; 4] = [
    ("the_rust_reader_counts_each_order_once", |scene| Box::pin(rust_reader::counts_once(scene))),
    ("the_rust_reader_killed_before_it_committed_its_position_counts_each_order_once", |scene| {
        Box::pin(rust_reader::killed(scene))
    }),
    ("the_rust_reader_stops_at_what_it_cannot_read_and_says_where", |scene| {
        Box::pin(rust_reader::unreadable(scene))
    }),
    ("the_spring_reader_counts_each_order_once_and_stops_at_what_it_cannot_read", |scene| {
        Box::pin(spring_reader::counts_once(scene))
    }),
];

fn main() -> ExitCode {
    engines::guard::enter_if_asked();
    let arguments = Arguments::from_args();
    if arguments.list {
        let names = CASES.map(|(name, _)| Trial::test(name, || Ok(())));
        return libtest_mimic::run(&arguments, names.into()).exit_code();
    }
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    let stage = Arc::new(runtime.block_on(Stage::build()));
    let trials = CASES.map(|(name, case)| {
        let (runtime, stage) = (Arc::clone(&runtime), Arc::clone(&stage));
        Trial::ignorable_test(name, move || {
            let untried = runtime.block_on(async { case(Scene::set(stage).await).await });
            Ok(untried.map_or(Completion::Completed, Completion::ignored_with))
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.into());
    // Here, and not by destructors: what exits by itself runs none.
    runtime.block_on(async {
        let stage = Arc::into_inner(stage).expect("every case has ended");
        tokio::task::spawn_blocking(move || drop(stage)).await.expect("nothing panics at the end");
        engines::guard::dismiss().await;
    });
    conclusion.exit_code()
}
