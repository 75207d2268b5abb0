//! # System tests
//!
//! Both services as processes of their own, on real servers, from the request to the record and the consumer's
//! line. Cases share the servers, never a database, topic or group; a case that hurts a server has one of
//! its own. Nothing sleeps and nothing is tried twice: a case waits for what must happen, up to a deadline.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program: a panic is a failed case, and its output is read by a person"
)]

mod cases;
mod heard;
mod requests;
mod scene;
mod servers;
mod topic_reader;

use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

use crate::cases::{broker_down, command, consumers, killed_order_service, refusals, repeats, wire_form};
use crate::scene::{Scene, Stage};

type Ending = Pin<Box<dyn Future<Output = ()>>>;
type Case = (&'static str, fn(Scene) -> Ending);

/// Every case, by the sentence that it proves.
const CASES: [Case; 12] = [
    ("an_order_arrives_in_its_exact_wire_form", |scene| Box::pin(wire_form::exact(scene))),
    ("a_consumer_shows_the_event_as_the_demonstration_does", |scene| Box::pin(wire_form::shown(scene))),
    ("a_refused_order_publishes_nothing_and_takes_nothing", |scene| Box::pin(refusals::take_nothing(scene))),
    ("a_repeated_request_key_buys_once", |scene| Box::pin(repeats::buy_once(scene))),
    ("an_order_committed_before_a_sigkill_is_published_after_it", |scene| {
        Box::pin(killed_order_service::before_sending(scene))
    }),
    ("an_order_that_could_not_be_sent_before_a_sigkill_is_published_after_it", |scene| {
        Box::pin(killed_order_service::while_the_broker_is_away(scene))
    }),
    ("orders_go_on_while_the_broker_is_down_and_arrive_when_it_is_back", |scene| {
        Box::pin(broker_down::orders_go_on(scene))
    }),
    ("two_consumers_share_the_partitions", |scene| Box::pin(consumers::share(scene))),
    ("the_other_consumer_finishes_the_share_of_a_killed_one", |scene| {
        Box::pin(consumers::one_is_killed(scene))
    }),
    ("the_command_ends_with_0_once_every_order_arrived", |scene| Box::pin(command::once(scene))),
    ("a_killed_service_is_started_again_on_its_port", |scene| Box::pin(command::comes_back(scene))),
    ("a_killed_command_leaves_no_process_and_no_folder", |scene| Box::pin(command::killed(scene))),
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
    println!("system tests on {}", stage.servers.describe());
    let trials = CASES.map(|(name, case)| {
        let (runtime, stage) = (Arc::clone(&runtime), Arc::clone(&stage));
        Trial::test(name, move || {
            runtime.block_on(async { case(Scene::set(stage).await).await });
            Ok(())
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.into());
    // Here, and not by destructors: what exits by itself runs none.
    runtime.block_on(async {
        Arc::into_inner(stage).expect("every case has ended").end().await;
        engines::guard::dismiss().await;
    });
    conclusion.exit_code()
}
