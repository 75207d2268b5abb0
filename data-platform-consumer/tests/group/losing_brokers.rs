//! A client that reaches no broker for longer than its session is replaced, as it may have lost all of them for good.

use std::time::{Duration, Instant};

use data_platform_consumer::health::KAFKA_UNREACHABLE;

use crate::broker::{Broker, DEAD_LETTER_TOPIC, DEADLINE};
use crate::member::Member;
use crate::platform::{Answer, Platform, first_seen};
use crate::proxy::Proxy;

/// Not shorter: the mock cluster lets a member wait for three seconds when it joins. A client is replaced after twice as long.
const SHORT_SESSION: (&str, &str) = ("KAFKA__SESSION_TIMEOUT", "4s");

/// Without it the client begins again with the brokers that it was started with, unless it misses that all are gone, by chance.
const MISSES_THAT_ALL_ARE_GONE: (&str, &str) = ("KAFKA__PROPERTIES__METADATA__RECOVERY__STRATEGY", "none");

/// Waits until so many clients were replaced, since the member has joined.
fn await_clients_replaced(member: &Member, wanted: u64) {
    let deadline = Instant::now() + DEADLINE;
    while member.health.clients_replaced() < wanted {
        assert!(Instant::now() < deadline, "{} clients were replaced", member.health.clients_replaced());
        std::thread::yield_now();
    }
}

fn gets_a_new_client(different: (&str, &str)) {
    let (broker, platform) = (Broker::with_partitions(1), Platform::taking_everything());
    let proxy = Proxy::before(&broker);
    let servers = proxy.bootstrap_servers();
    let settings =
        [("KAFKA__BOOTSTRAP_SERVERS", servers.as_str()), SHORT_SESSION, MISSES_THAT_ALL_ARE_GONE, different];
    let member = Member::join("only", &broker, &platform, &settings);
    broker.order(0, 1);
    broker.await_committed(0, 1);
    member.await_ready();
    assert_eq!(member.health.clients_replaced(), 0);

    proxy.names_no_broker(true);
    let (_, detail) = member.await_alarm_that(|alarm| alarm.detail.contains("lost all its brokers"));
    assert!(detail.contains("a new client"), "{detail}");
    assert!(!member.readiness.is_ready());
    proxy.names_no_broker(false);
    broker.order(0, 2);
    platform.await_taken("what came later", |taken| taken.iter().any(|receipt| receipt.order_id == 2));
    broker.await_committed(0, 2);
    member.await_ready();
    member.await_no_alarm();
    assert_eq!(member.health.clients_replaced(), 1);
    assert_eq!(first_seen(&platform.taken()), [1, 2]);
    member.stop();
}

#[test]
fn a_member_whose_client_has_lost_all_its_brokers_gets_a_new_one() {
    gets_a_new_client(("KAFKA__GROUP_INSTANCE_ID", ""));
}

#[test]
fn a_member_with_a_name_whose_client_has_lost_all_its_brokers_gets_a_new_one() {
    gets_a_new_client(("KAFKA__GROUP_INSTANCE_ID", "consumer-0"));
}

#[test]
fn a_dead_letter_whose_producer_has_lost_all_its_brokers_is_written_by_another() {
    let (broker, platform) = (Broker::with_partitions(1), Platform::with(|_| Answer::Reject));
    let proxy = Proxy::before(&broker);
    let servers = proxy.bootstrap_servers();
    let settings = [("KAFKA__BOOTSTRAP_SERVERS", servers.as_str()), SHORT_SESSION, MISSES_THAT_ALL_ARE_GONE];
    let member = Member::join("only", &broker, &platform, &settings);
    broker.order(0, 1);
    broker.await_dead_letters(0, 1);
    proxy.names_no_broker(true);
    proxy.await_none_named(DEAD_LETTER_TOPIC);
    proxy.names_no_broker(false);
    broker.order(0, 2);
    broker.await_dead_letters(0, 2);
    broker.await_committed(0, 2);
    member.stop();
    assert_eq!(broker.dead_letters(0).len(), 2);
}

#[test]
fn an_outage_of_all_brokers_costs_clients_and_nothing_else() {
    let (broker, platform) = (Broker::with_partitions(1), Platform::with(|_| Answer::TakeAtTheGate));
    let member = Member::join("only", &broker, &platform, &[SHORT_SESSION]);
    (1..=3).for_each(|order| broker.order(0, order));
    platform.await_calls("they are on the wire", |calls| calls.len() == 3);
    let since = Instant::now();
    broker.all_down();
    member.await_alarm(KAFKA_UNREACHABLE);
    await_clients_replaced(&member, 3);
    assert!(since.elapsed() > Duration::from_secs(24), "each has had its time: {:?}", since.elapsed());
    member.await_alarm(KAFKA_UNREACHABLE);
    assert!(platform.taken().is_empty() && !member.readiness.is_ready());

    platform.open_gate();
    platform.await_taken("calls end while Kafka is away", |taken| taken.len() == 3);
    platform.change_to(|_| Answer::Take);
    broker.all_up();
    broker.order(0, 4);
    broker.await_committed(0, 4);
    member.await_ready();
    member.await_no_alarm();
    let mut seen = first_seen(&platform.taken());
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3, 4]);
    member.stop();
    assert_eq!(broker.dead_letters(0).len(), 0);
}

#[test]
fn a_stop_ends_while_clients_are_replaced() {
    let (broker, platform) = (Broker::with_partitions(1), Platform::taking_everything());
    let member = Member::join("only", &broker, &platform, &[SHORT_SESSION]);
    broker.order(0, 1);
    broker.await_committed(0, 1);
    broker.all_down();
    await_clients_replaced(&member, 2);
    member.stop();
}
