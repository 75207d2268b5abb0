//! # Succession
//!
//! Three instances of order-service on one database and a real Kafka, under steady load. Every few seconds something befalls the one that
//! publishes: SIGKILL, SIGTERM, or SIGSTOP until somebody else publishes and longer; half of the time Kafka has not answered for a
//! while then, so that much is in flight. Buyers go from one instance to another and
//! repeat a request until its answer is clear. Then the ledger judges: what buyers know is in the database, every
//! committed event is in the topic, nothing else is. Beyond that, no more was published again than can have been in flight,
//! somebody else published soon, and `order-service audit` agrees.
//!
//!     SUCCESSION_MINUTES=3 SUCCESSION_SEED=7 cargo test --workspace --test succession
//!
//! It runs when `SUCCESSION_MINUTES` says for how long, and needs a Docker engine for Kafka; `SYSTEM_TESTS` decides what happens
//! without one, as for the compose tests.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program: a panic is a failed case, and its output is read by a person"
)]

mod buyers;
#[path = "../churn/chance.rs"]
mod chance;
mod instances;
mod judgement;
#[path = "../compose/records.rs"]
mod records;
mod throne;
#[path = "../compose/wanted.rs"]
mod wanted;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engines::kafka::KafkaContainer;
use engines::postgres::{PostgresOptions, PrivatePostgres, TestDatabase};
use ledger::Ledger;
use libtest_mimic::{Arguments, Completion, Trial};
use local_stack::kafka_topic;
use local_stack::multi_call;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};

use crate::buyers::Buyers;
use crate::chance::Chance;
use crate::instances::{Fault, Instances};
use crate::judgement::Judgement;
use crate::wanted::Wanted;

const NAME: &str = "whatever_befalls_the_instance_that_publishes_another_goes_on_and_nothing_is_lost";
const MINUTES: &str = "SUCCESSION_MINUTES";
const SEED: &str = "SUCCESSION_SEED";
const PARTITIONS: i32 = 6;
/// In milliseconds: how long an instance publishes before something befalls it.
const REIGNS: (u64, u64) = (1_000, 6_000);
/// How long anything may take. Long, because a loaded machine is no failure.
const DEADLINE: Duration = Duration::from_mins(1);

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
            println!("succession: NOT RUN, {reason}");
            Trial::ignorable_test(NAME, move || Ok(Completion::ignored_with(reason)))
        }
        Wanted::Run => Trial::test(NAME, || {
            Runtime::new().expect("a runtime").block_on(succession());
            Ok(())
        }),
        Wanted::Ignore(reason) => {
            println!("succession: NOT RUN, {reason}");
            Trial::ignorable_test(NAME, move || Ok(Completion::ignored_with(reason)))
        }
        Wanted::Fail(reason) => {
            eprintln!("succession: {reason}");
            return ExitCode::FAILURE;
        }
    };
    let conclusion = libtest_mimic::run(&arguments, vec![trial]);
    // What exits by itself runs no destructors; and a case that failed has left processes and a container.
    Runtime::new().expect("a runtime").block_on(engines::guard::dismiss());
    conclusion.exit_code()
}

async fn succession() {
    let minutes: f64 = from_environment(MINUTES).unwrap_or(1.0);
    let seed = from_environment(SEED).unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    println!("succession: {minutes} minutes, three instances; again with {SEED}={seed}");
    let mut chance = Chance::new(seed);
    let kafka = tokio::task::spawn_blocking(KafkaContainer::start).await.expect("no panic");
    let kafka = kafka.unwrap_or_else(|error| panic!("{error}"));
    let topic = format!("succession-{seed}");
    kafka_topic::ensure(&kafka.bootstrap_servers(), &topic, PARTITIONS).await.expect("a topic");
    let postgres = PrivatePostgres::start(PostgresOptions::for_tests()).await.expect("a PostgreSQL");
    let database = TestDatabase::create(&postgres.url("postgres")).await.expect("a database");

    let mut instances = Instances::start(&database.url(), &kafka.bootstrap_servers(), &topic).await;
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let buyers = Buyers::start(instances.addresses(), Arc::clone(&ledger), seed).await;
    let ends_at = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let mut judgement = Judgement::default();
    while Instant::now() < ends_at {
        sleep(chance.between(REIGNS.0, REIGNS.1)).await;
        let fault = chance.one_of([Fault::Killed, Fault::Killed, Fault::Frozen, Fault::Stopped]);
        let longer = chance.between(0, 3_000);
        let with_much_in_flight = chance.one_of([true, false]);
        if with_much_in_flight {
            kafka.freeze().unwrap_or_else(|error| panic!("{error}"));
            sleep(chance.between(200, 1_000)).await;
        }
        let befallen = instances.befalls_the_leader(fault).await;
        if with_much_in_flight {
            kafka.thaw().unwrap_or_else(|error| panic!("{error}"));
        }
        let vacant = instances.goes_on(befallen, longer).await;
        judgement.reigned_again(fault, vacant);
    }
    let attempts = buyers.stop().await;
    instances.outbox_is_empty(&database.url()).await;
    instances.audit_finds_nothing().await;
    instances.stop().await;

    let mut ledger = Arc::try_unwrap(ledger).expect("no buyer is left").into_inner().expect("no panic");
    judgement.hear(&mut ledger, &database.url(), &kafka.bootstrap_servers(), &topic).await;
    tokio::task::spawn_blocking(move || drop(database)).await.expect("no panic");
    kafka.stop().unwrap_or_else(|error| panic!("{error}"));
    println!("{judgement}");
    println!("  attempts         {attempts}  of buyers, repeats included");
    judgement.assert_all_is_well();
}

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}
