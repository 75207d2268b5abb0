//! # Churn
//!
//! Six consumers of one group on a real Kafka are stopped (SIGTERM), killed (SIGKILL) and frozen (SIGSTOP, SIGCONT) at random,
//! each on its own, while events come at a steady pace and the data platform takes 50 ms for each. Then they are left in
//! peace, and the ledger judges: nothing lost, nothing unexpected, the first deliveries of each key in order. Beyond that, no
//! partition stood still for long, and no more was repeated than the faults explain.
//!
//!     CHURN_MINUTES=10 CHURN_SEED=7 cargo test --workspace --test churn
//!
//! The seed decides what befalls whom and after how long; it is printed, and so is every fault. It runs when `CHURN_MINUTES` says
//! for how long, as it takes that long. It needs a Docker engine; `SYSTEM_TESTS` decides what happens without one, as for the
//! compose tests.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program: a panic is a failed case, and its output is read by a person"
)]

mod chance;
mod events;
mod faults;
mod judgement;
mod judgement_case;
mod load;
mod member;
mod receipts;
#[path = "../compose/wanted.rs"]
mod wanted;

use std::process::ExitCode;
use std::time::Duration;

use engines::kafka::KafkaContainer;
use libtest_mimic::{Arguments, Completion, Trial};
use local_stack::kafka_topic;
use local_stack::multi_call;
use tokio::runtime::Runtime;

use crate::chance::Chance;
use crate::faults::Faults;
use crate::judgement::Judgement;
use crate::load::Load;
use crate::member::Member;
use crate::receipts::Receipts;
use crate::wanted::Wanted;

const NAME: &str =
    "consumers_that_come_and_go_lose_nothing_keep_every_key_in_order_and_leave_no_partition_behind";
const OF_THE_JUDGEMENT: &str = "only_what_befell_whoever_delivered_first_or_woke_explains_a_repeat";
const MINUTES: &str = "CHURN_MINUTES";
const SEED: &str = "CHURN_SEED";
const MEMBERS: u32 = 6;
/// Two for each member.
const PARTITIONS: i32 = 12;
/// How long everything may take to arrive once nobody is hurt any more. Long, because a loaded machine is no failure.
const DEADLINE: Duration = Duration::from_mins(3);

fn main() -> ExitCode {
    engines::guard::enter_if_asked();
    if let Some(service) = multi_call::service_asked_for() {
        return service.run();
    }
    let arguments = Arguments::from_args();
    let not_asked_for = from_environment::<f64>(MINUTES).is_none();
    let trial = match Wanted::from_environment() {
        _ if not_asked_for => {
            let reason = format!("it takes as long as {MINUTES} says, and nothing is said");
            println!("churn: NOT RUN, {reason}");
            Trial::ignorable_test(NAME, move || Ok(Completion::ignored_with(reason)))
        }
        Wanted::Run => Trial::test(NAME, || {
            let runtime = Runtime::new().expect("a runtime");
            runtime.block_on(churn());
            Ok(())
        }),
        Wanted::Ignore(reason) => {
            println!("churn: NOT RUN, {reason}");
            Trial::ignorable_test(NAME, move || Ok(Completion::ignored_with(reason)))
        }
        Wanted::Fail(reason) => {
            eprintln!("churn: {reason}");
            return ExitCode::FAILURE;
        }
    };
    let of_the_judgement = Trial::test(OF_THE_JUDGEMENT, || {
        judgement_case::only_what_befell_whoever_delivered_first_or_woke_explains_a_repeat();
        Ok(())
    });
    let conclusion = libtest_mimic::run(&arguments, vec![trial, of_the_judgement]);
    // What exits by itself runs no destructors; and a case that failed has left processes and a container.
    Runtime::new().expect("a runtime").block_on(engines::guard::dismiss());
    conclusion.exit_code()
}

async fn churn() {
    let minutes: f64 = from_environment(MINUTES).unwrap_or(1.0);
    let seed = from_environment(SEED).unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    println!(
        "churn: {minutes} minutes, {MEMBERS} consumers, {PARTITIONS} partitions; again with {SEED}={seed}"
    );
    let kafka = tokio::task::spawn_blocking(KafkaContainer::start).await.expect("no panic");
    let kafka = kafka.unwrap_or_else(|error| panic!("{error}"));
    let topic = format!("churn-{seed}");
    let servers = kafka.bootstrap_servers();
    kafka_topic::ensure(&servers, &topic, PARTITIONS).await.expect("a topic");

    let (faults, receipts) = (Faults::default(), Receipts::default());
    let ends_at = tokio::time::Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let load = Load::start(servers.clone(), topic.clone(), ends_at.into_std());
    let lives = (1..=u64::from(MEMBERS)).map(|number| {
        let member = Member::new(number, &servers, &topic, receipts.clone(), faults.clone());
        tokio::spawn(member.live(Chance::new(seed.wrapping_add(number)), ends_at))
    });
    let lives: Vec<_> = lives.collect();
    let mut survivors = Vec::new();
    for life in lives {
        survivors.push(life.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())));
    }
    let events = load.ended().await;
    let arrived = receipts.await_all(&events, DEADLINE).await;
    let mut ended = Vec::new();
    for survivor in survivors {
        ended.push(survivor.stop().await);
    }
    kafka.stop().unwrap_or_else(|error| panic!("{error}"));

    let judgement = Judgement::new(&events, &receipts.all(), &faults.all());
    println!("{judgement}");
    assert!(arrived, "not everything arrived within {DEADLINE:?}");
    judgement.assert_all_is_well();
    assert!(
        ended.iter().all(std::process::ExitStatus::success),
        "who is asked to stop ends with code 0: {ended:?}"
    );
}

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}
