//! A member whose work does not move says so, and leaves the group to another.

use data_platform_consumer::health::STALLED;
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
    let member = Member::join("stuck", &broker, &platform, &[IMPATIENT, ("DELIVERY__DRAIN_TIMEOUT", "0s")]);
    platform.await_calls("its calls", |calls| calls.len() == 3);
    let (_, detail) = member.await_alarm(STALLED);
    assert!(detail.contains("[0]") && detail.contains("delivery.stall_timeout"), "{detail}");
    assert!(!member.readiness.is_ready());

    let other = Member::join("other", &broker, &platform, &[IMPATIENT]);
    platform.await_taken("all of it", |taken| taken.len() == 3);
    broker.await_committed(0, 3);
    member.stop();
    other.await_ready();
    other.stop();
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
