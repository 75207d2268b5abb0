//! A member whose work does not move says so and why, and leaves the group where another could do better.

use data_platform_consumer::health::{PARTITION_UNREADABLE, PLATFORM_UNAVAILABLE, STALLED};
use data_platform_consumer::status::IntakeStatus;

use crate::broker::Broker;
use crate::member::Member;
use crate::platform::{Answer, Platform, Receipt};

const IMPATIENT: (&str, &str) = ("DELIVERY__STALL_TIMEOUT", "1s");

#[test]
fn a_member_that_holds_calls_for_ever_leaves_and_another_takes_over() {
    let stuck = |call: &Receipt| if call.member == "stuck" { Answer::TakeAtTheGate } else { Answer::Take };
    let (broker, platform) = (Broker::with_partitions(1), Platform::with(stuck));
    (1..=3).for_each(|order| broker.order(0, order));
    // With so few places left it does not come back after its rest, before the other one has joined.
    let few_places = [
        IMPATIENT,
        ("DELIVERY__DRAIN_TIMEOUT", "0s"),
        ("DELIVERY__IN_FLIGHT_LIMIT", "4"),
        ("DELIVERY__WINDOW", "4"),
    ];
    let member = Member::join("stuck", &broker, &platform, &few_places);
    platform.await_calls("its calls", |calls| calls.len() == 3);
    let (_, detail) = member.await_alarm(STALLED);
    assert!(detail.contains("[0]") && detail.contains("delivery.stall_timeout"), "{detail}");
    assert!(detail.contains("calls to the data platform"), "{detail}");
    assert!(!member.readiness.is_ready());
    let status = member.await_status(|status| status.rests);
    assert!(status.partitions.is_empty() && status.to_string().contains("joins again"), "{status}");

    let other = Member::join("other", &broker, &platform, &[IMPATIENT]);
    platform.await_taken("all of it", |taken| taken.len() == 3);
    broker.await_committed(0, 3);
    member.stop();
    other.await_ready();
    other.stop();
}

#[test]
fn a_member_whose_calls_never_end_stays_out_of_the_group() {
    let stuck = |call: &Receipt| if call.member == "stuck" { Answer::TakeAtTheGate } else { Answer::Take };
    let (broker, platform) = (Broker::with_partitions(1), Platform::with(stuck));
    (1..=5).for_each(|order| broker.order(0, order));
    let few_places = [
        IMPATIENT,
        ("DELIVERY__DRAIN_TIMEOUT", "0s"),
        ("DELIVERY__IN_FLIGHT_LIMIT", "3"),
        ("DELIVERY__WINDOW", "3"),
    ];
    let member = Member::join("stuck", &broker, &platform, &few_places);
    platform.await_calls("its calls", |calls| calls.len() == 3);
    // Its rest is over, and nothing but its calls keeps it from coming back.
    let status = member.await_status(|status| status.waits_for_calls);
    assert_eq!((status.calls_on_the_wire, status.partitions.len()), (3, 0));
    assert!(status.to_string().contains("comes back once"), "{status}");
    assert!(!member.readiness.is_ready());

    let other = Member::join("other", &broker, &platform, &[IMPATIENT]);
    platform.await_taken("all of it", |taken| taken.len() == 5);
    broker.await_committed(0, 5);
    other.stop();
    assert!(member.health.status().waits_for_calls, "nobody else is there, and still it has no room");

    platform.open_gate();
    member.await_ready();
    member.await_no_alarm();
    broker.order(0, 6);
    broker.await_committed(0, 6);
    member.stop();
}

#[test]
fn a_call_that_never_ends_does_not_keep_the_end_of_an_outage_from_being_seen() {
    let hangs = |call: &Receipt| if call.order_id == 1 { Answer::TakeAtTheGate } else { Answer::Fail };
    let (broker, platform) = (Broker::with_partitions(1), Platform::with(hangs));
    broker.order(0, 1);
    let member = Member::join("only", &broker, &platform, &[IMPATIENT, ("DELIVERY__DRAIN_TIMEOUT", "0s")]);
    platform.await_calls("the call that never ends", |calls| calls.len() == 1);
    broker.orders(0, 2..=30);
    member.await_alarm(PLATFORM_UNAVAILABLE);
    let (_, detail) = member.await_alarm(STALLED);
    assert!(detail.contains("calls to the data platform"), "{detail}");
    platform.change_to(|_| Answer::Take);
    // The hung call is still on the wire; the gate stays shut.
    broker.await_committed(0, 30);
    member.await_no_alarm();
    member.await_ready();
    member.await_status(|status| status.calls_on_the_wire == 1);
    member.stop();
}

#[test]
fn a_partition_without_a_leader_is_told_and_the_group_is_not_left_for_it() {
    let (broker, platform) = (Broker::with_partitions(2), Platform::taking_everything());
    let unreadable = |member: &Member, told: usize| {
        let (subject, detail) = member.await_alarm(PARTITION_UNREADABLE);
        assert_eq!(subject, "order-completed[1]");
        assert!(detail.contains("no leader") && !detail.contains("data platform"), "{told}: {detail}");
        assert!(!member.readiness.is_ready());
    };
    broker.answers_older_fetches_only();
    broker.lead(1, None);
    let member = Member::join("only", &broker, &platform, &[IMPATIENT]);
    unreadable(&member, 1);
    broker.order(0, 1);
    platform.await_taken("what can be read", |taken| taken.len() == 1);
    broker.lead(1, Some(2));
    member.await_no_alarm();
    member.await_ready();
    broker.order(1, 2);
    platform.await_taken("what has a leader by now", |taken| taken.len() == 2);
    broker.await_committed(1, 1);

    broker.lead(1, None);
    unreadable(&member, 2);
    broker.order(0, 3);
    let taken = platform.await_taken("what can be read still", |taken| taken.len() == 3);
    assert_eq!(member.health.status().partitions.len(), 2, "it has not left");
    broker.lead(1, Some(3));
    member.await_no_alarm();
    member.await_ready();
    assert_eq!(taken, platform.taken());
    member.stop();
}

#[test]
fn for_a_broker_that_is_out_of_reach_the_group_is_left_once() {
    let (broker, platform) = (Broker::with_partitions(2), Platform::taking_everything());
    broker.coordinate_at(1);
    broker.lead(0, Some(1));
    broker.lead(1, Some(3));
    let member = Member::join("only", &broker, &platform, &[IMPATIENT]);
    broker.order(1, 1);
    broker.await_committed(1, 1);
    broker.cluster.broker_down(3).unwrap();
    let (_, detail) = member.await_alarm(STALLED);
    assert!(detail.contains("[1]") && detail.contains("broker 3"), "{detail}");
    assert!(!detail.contains("data platform"), "{detail}");
    // No other member has taken it, and this one is back.
    let (subject, detail) = member.await_alarm(PARTITION_UNREADABLE);
    assert!(detail.contains("broker 3"), "{detail}");
    assert_eq!(subject, "order-completed[1]");
    assert_eq!(member.health.status().partitions.len(), 2);
    broker.order(0, 2);
    platform.await_taken("what can be read", |taken| taken.len() == 2);

    broker.cluster.broker_up(3).unwrap();
    broker.order(1, 3);
    platform.await_taken("all of it", |taken| taken.len() == 3);
    member.await_no_alarm();
    member.await_ready();
    member.stop();
}

#[test]
fn for_what_no_client_can_fetch_the_group_is_left_once() {
    let (broker, platform) = (Broker::with_partitions(1), Platform::taking_everything());
    broker.order(0, 1);
    broker.refuse_fetches();
    let member = Member::join("only", &broker, &platform, &[IMPATIENT]);
    let (_, detail) = member.await_alarm(STALLED);
    assert!(detail.contains("the client said last: Fetch from broker"), "{detail}");
    // A new client fetches as little.
    let (subject, detail) = member.await_alarm(PARTITION_UNREADABLE);
    assert_eq!(subject, "order-completed[0]");
    assert!(detail.contains("the client said last: Fetch from broker"), "{detail}");
    assert!(!member.readiness.is_ready());

    broker.allow_fetches();
    platform.await_taken("what was there", |taken| taken.len() == 1);
    member.await_no_alarm();
    member.await_ready();
    member.stop();
}

#[test]
fn what_a_member_is_doing_is_written_down_for_an_operator() {
    let slow = |call: &Receipt| if call.order_id == 2 { Answer::TakeAtTheGate } else { Answer::Take };
    let (broker, platform) = (Broker::with_partitions(2), Platform::with(slow));
    (1..=4).for_each(|order| broker.order(1, order));
    let member = Member::join("only", &broker, &platform, &[]);
    platform.await_taken("all but one", |taken| taken.len() == 3);
    let status = member.await_status(|status| {
        status.partitions.len() == 2
            && status.partitions[1].end == Some(4)
            && status.partitions[1].unfinished == 1
    });
    let partition = &status.partitions[1];
    assert_eq!((partition.partition, partition.committable, partition.next_read), (1, Some(1), Some(4)));
    assert_eq!((partition.lag, partition.on_the_wire, partition.oldest_unfinished), (Some(3), 1, Some(1)));
    assert_eq!((status.calls_on_the_wire, partition.intake), (1, IntakeStatus::Open));
    platform.open_gate();
    member.await_status(|status| status.calls_on_the_wire == 0 && status.partitions[1].lag == Some(0));
    member.stop();
}
