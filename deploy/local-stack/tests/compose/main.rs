//! # The compose file, under fire
//!
//! The file that users run, with a project name and ports of its own: brought up once, then every part of it is killed
//! and started again while buyers go on buying, and the ledger judges what became of their orders. Cases share the
//! stack and all that was ever bought on it, and run one after the other.
//!
//! It needs a Docker engine with compose; `SYSTEM_TESTS` decides what happens without one.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program: a panic is a failed case, and its output is read by a person"
)]

mod buyers;
mod cases;
mod compose;
mod deliveries;
mod evidence;
mod kafka;
mod latencies;
mod records;
mod stack;
mod wanted;

use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Completion, Trial};
use tokio::runtime::Runtime;

use crate::cases::{file, kills, stops};
use crate::stack::Stack;
use crate::wanted::Wanted;

type Ending<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;
type Case = (&'static str, for<'a> fn(&'a mut Stack) -> Ending<'a>);

/// Every case, by the sentence that it proves.
const CASES: [Case; 4] = [
    ("the_file_has_no_warning_and_publishes_on_this_machine_only", |stack| {
        Box::pin(async { file::is_clean(stack) })
    }),
    ("no_container_runs_as_root", |stack| Box::pin(async { file::nobody_is_root(stack) })),
    ("every_part_is_killed_in_turn_and_the_ledger_balances", |stack| Box::pin(kills::every_part(stack))),
    ("each_service_stops_with_exit_code_0_and_loses_nothing", |stack| Box::pin(stops::in_good_order(stack))),
];

fn main() -> ExitCode {
    engines::guard::enter_if_asked();
    let mut arguments = Arguments::from_args();
    // One stack, hurt by one case at a time.
    arguments.test_threads = Some(1);
    if arguments.list {
        let names = CASES.map(|(name, _)| Trial::test(name, || Ok(())));
        return libtest_mimic::run(&arguments, names.into()).exit_code();
    }
    match Wanted::from_environment() {
        Wanted::Run => run(&arguments),
        Wanted::Ignore(reason) => {
            println!("compose tests: NOT RUN, {reason}");
            let ignored = CASES.map(|(name, _)| {
                let reason = reason.clone();
                Trial::ignorable_test(name, move || Ok(Completion::ignored_with(reason)))
            });
            libtest_mimic::run(&arguments, ignored.into()).exit_code()
        }
        Wanted::Fail(reason) => {
            eprintln!("compose tests: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> ExitCode {
    let is_chosen = |(name, _): &Case| !arguments.is_filtered_out(&Trial::test(*name, || Ok(())));
    if !CASES.iter().any(is_chosen) {
        // A stack that no case will use is not brought up.
        return libtest_mimic::run(arguments, Vec::new()).exit_code();
    }
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    let stack = Stack::up(&runtime);
    println!("compose tests on {}", stack.describe());
    let stack = Arc::new(Mutex::new(stack));
    let trials = CASES.map(|(name, case)| {
        let (runtime, stack) = (Arc::clone(&runtime), Arc::clone(&stack));
        Trial::test(name, move || {
            let mut stack = stack.lock().unwrap_or_else(PoisonError::into_inner);
            runtime.block_on(case(&mut stack));
            Ok(())
        })
    });
    let conclusion = libtest_mimic::run(arguments, trials.into());
    if conclusion.has_failed() {
        stack.lock().unwrap_or_else(PoisonError::into_inner).show_logs();
    }
    // Here, and not by destructors: what exits by itself runs none.
    runtime.block_on(async {
        let stack = Arc::into_inner(stack).expect("every case has ended");
        stack.into_inner().unwrap_or_else(PoisonError::into_inner).down();
        engines::guard::dismiss().await;
    });
    conclusion.exit_code()
}
