//! # The engines, tried
//!
//! Real servers, really killed. A case that needs the internet is reported as ignored where there is none.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test program: a panic is a failed case, and its output is how it speaks to the one that started it"
)]

mod broker;
mod commands;
mod endings;
mod fetched;
mod proxy;
mod server;
mod victim;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::runtime::Runtime;

/// What a case ends with.
type Outcome = Result<(), Failed>;

fn main() -> ExitCode {
    engines::guard::enter_if_asked();
    victim::enter_if_asked();
    commands::enter_if_asked();
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    let case = |name: &str, run: fn() -> std::pin::Pin<Box<dyn Future<Output = Outcome>>>| {
        let runtime = Arc::clone(&runtime);
        Trial::test(name, move || runtime.block_on(run()))
    };
    let cases = vec![
        case("a_server_serves_and_goes_with_its_folder", || Box::pin(server::serves_and_goes())),
        case("a_crashed_server_comes_back_with_what_was_committed", || Box::pin(server::comes_back())),
        case("a_copy_of_a_template_has_its_tables", || Box::pin(server::copies())),
        case("a_commit_that_is_cut_is_applied_only_if_it_was_answered", || Box::pin(proxy::cuts())),
        case("a_silent_connection_tells_neither_end_anything", || Box::pin(proxy::falls_silent())),
        case("a_proxy_that_refuses_lets_nobody_in", || Box::pin(proxy::refuses())),
        case("a_half_open_connection_keeps_its_locks_until_it_is_cut", || Box::pin(proxy::is_half_open())),
        case("who_waits_for_an_answer_too_early_is_stuck_and_who_does_not_is_served", || {
            Box::pin(proxy::counts_round_trips())
        }),
        Trial::test("a_named_folder_without_programs_is_an_error_that_says_so", || {
            server::named_folder();
            Ok(())
        }),
        Trial::test("a_killed_parent_leaves_no_process_and_no_folder", endings::killed),
        Trial::test("a_parent_killed_while_the_cluster_is_made_leaves_nothing", endings::killed_early),
        Trial::test("frozen_processes_end_too", endings::frozen),
        Trial::test("the_guard_is_deaf_to_signals", endings::deaf),
        Trial::test("a_command_runs_when_its_parent_was_killed", commands::killed),
        Trial::test("a_good_end_waits_for_the_commands_that_are_left", commands::good_end),
        case("a_broker_process_serves_goes_down_and_comes_up", || Box::pin(broker::down_and_up())),
        Trial::ignorable_test("a_fetched_build_works_without_an_installed_one", || {
            fetched::works().map(|reason| reason.map_or(Completion::Completed, Completion::ignored_with))
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), cases).exit_code()
}
