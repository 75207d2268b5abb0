//! A record at fault is parked with its cause, byte for byte, and holds up nobody; too many of them stop the partition.

use data_platform_consumer::health::{DEAD_LETTER_CEILING, DEAD_LETTERS_UNWRITABLE};
use rdkafka::Message;
use rdkafka::message::{Headers, OwnedMessage};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use shared_messages::dead_letter::{DeadLetter, DeadLetterCause, OriginalRecord, ReceivedDeadLetter};

use crate::broker::{Broker, GROUP, TOPIC};
use crate::member::Member;
use crate::platform::{Answer, Platform, first_seen};

const ORDER: &[u8] = br#"{"occurredAt":"2025-05-29T01:43:46Z","orderId":2}"#;

fn told(dead_letter: &OwnedMessage) -> ReceivedDeadLetter {
    let headers = dead_letter.headers().unwrap().iter().map(|header| (header.key, header.value));
    DeadLetter::from_pairs(headers).unwrap()
}

fn header<'a>(record: &'a OwnedMessage, name: &str) -> Option<&'a [u8]> {
    record.headers()?.iter().find(|header| header.key == name)?.value
}

fn becomes_a_dead_letter(value: &[u8], event_type: &str, cause: &str) {
    let (broker, platform) = (Broker::with_partitions(2), Platform::taking_everything());
    broker.order(1, 1);
    broker.record(1, "2", value, event_type);
    broker.order(1, 3);
    let member = Member::join("only", &broker, &platform, &[]);
    let dead_letters = broker.await_dead_letters(1, 1);
    let told = told(&dead_letters[0]);
    let OriginalRecord { topic, partition, offset, .. } = &told.original;
    assert_eq!((topic.as_str(), *partition, *offset), (TOPIC, 1, 1));
    assert_eq!(
        (told.consumer_group.as_deref(), told.cause),
        (Some(GROUP), Some(DeadLetterCause::Undecodable))
    );
    assert!(told.message.as_ref().is_some_and(|message| message.contains(cause)), "{told:?}");
    assert_eq!((dead_letters[0].key(), dead_letters[0].payload()), (Some(b"2".as_slice()), Some(value)));
    assert_eq!(header(&dead_letters[0], "ce_type"), Some(event_type.as_bytes()));
    broker.await_committed(1, 3);
    assert_eq!(first_seen(&platform.taken()), [1, 3]);
    assert!(member.readiness.is_ready(), "one record is no reason to stop");
    member.stop();
    assert_eq!(broker.dead_letters(1).len(), 1);
}

#[test]
fn bytes_that_do_not_decode_become_a_dead_letter() {
    becomes_a_dead_letter(b"{\"orderId\":\xff", "order-completed.v1", "not an order-completed message");
}

#[test]
fn an_unknown_version_becomes_a_dead_letter_and_is_not_guessed() {
    becomes_a_dead_letter(ORDER, "order-completed.v2", "order-completed.v2");
}

#[test]
fn a_record_that_the_platform_rejects_becomes_a_dead_letter_at_once() {
    let manners = |order: i64| if order == 2 { Answer::Reject } else { Answer::Take };
    let (broker, platform) = (Broker::with_partitions(1), Platform::with(move |call| manners(call.order_id)));
    (1..=3).for_each(|order| broker.keyed_order(0, "one key", order));
    let member = Member::join("only", &broker, &platform, &[]);
    broker.await_committed(0, 3);
    member.stop();
    let dead_letters = broker.dead_letters(0);
    let told = told(&dead_letters[0]);
    assert_eq!(
        (dead_letters.len(), told.cause, told.attempts),
        (1, Some(DeadLetterCause::Rejected), Some(1))
    );
    assert!(told.message.as_ref().is_some_and(|message| message.contains("422")), "{told:?}");
    assert_eq!(first_seen(&platform.taken()), [1, 3], "its key goes on behind it");
}

#[test]
fn a_record_that_always_fails_while_its_neighbours_succeed_becomes_a_dead_letter() {
    let manners = |order: i64| if order == 2 { Answer::Fail } else { Answer::Take };
    let (broker, platform) = (Broker::with_partitions(1), Platform::with(move |call| manners(call.order_id)));
    broker.order(0, 2);
    let quickly = [("DELIVERY__GIVE_UP__FAILURES", "3"), ("DELIVERY__GIVE_UP__AFTER", "100ms")];
    let member = Member::join("only", &broker, &platform, &quickly);
    platform.await_calls("it is tried again and again, all alone", |calls| calls.len() >= 10);
    assert_eq!(broker.dead_letters(0).len(), 0, "nothing else succeeds, so it may be the platform's fault");
    let mut next = 3;
    while broker.dead_letters(0).is_empty() {
        assert!(next < 10_000, "it is never given up");
        broker.order(0, next);
        next += 1;
    }
    broker.await_committed(0, next - 2);
    let told = told(&broker.dead_letters(0)[0]);
    assert_eq!((told.original.offset, told.cause), (0, Some(DeadLetterCause::Failing)));
    assert!(
        told.attempts.is_some_and(|attempts| attempts >= 10) && told.failing_since < told.parked_at,
        "{told:?}"
    );
    member.stop();
}

#[test]
fn a_dead_letter_topic_that_is_away_holds_the_position() {
    let (broker, platform) = (Broker::without_dead_letters(1), Platform::taking_everything());
    broker.order(0, 1);
    broker.record(0, "2", b"garbage", "order-completed.v1");
    broker.order(0, 3);
    let member = Member::join("only", &broker, &platform, &[]);
    let (subject, detail) = member.await_alarm(DEAD_LETTERS_UNWRITABLE);
    assert_eq!(subject, "order-completed[0]");
    assert!(detail.contains("order-completed-dlt"), "{detail}");
    platform.await_taken("neighbours", |taken| taken.len() == 2);
    broker.await_committed(0, 1);
    member.stop();
    assert_eq!(broker.committed(0), Some(1), "not even a stop moves it");

    let member = Member::join("again", &broker, &platform, &[]);
    member.await_alarm(DEAD_LETTERS_UNWRITABLE);
    broker.create_dead_letter_topic(1);
    broker.await_committed(0, 3);
    member.await_no_alarm();
    member.stop();
    assert_eq!(broker.dead_letters(0).len(), 1);
}

#[test]
fn a_dead_letter_that_is_refused_holds_the_position_until_it_is_taken() {
    let (broker, platform) = (Broker::with_partitions(1), Platform::taking_everything());
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE; 1000];
    broker.order(0, 1);
    broker.record(0, "2", b"garbage", "order-completed.v1");
    broker.order(0, 3);
    broker.cluster.request_errors(RDKafkaApiKey::Produce, &refused);
    let member = Member::join("only", &broker, &platform, &[]);
    let (_, detail) = member.await_alarm(DEAD_LETTERS_UNWRITABLE);
    assert!(detail.contains("max.message.bytes"), "{detail}");
    broker.await_committed(0, 1);
    member.await_status(|status| status.partitions.first().is_some_and(|it| it.unfinished == 1));
    member.stop();
    assert_eq!(broker.committed(0), Some(1), "not even a stop moves it");

    let member = Member::join("again", &broker, &platform, &[]);
    member.await_alarm(DEAD_LETTERS_UNWRITABLE);
    broker.cluster.clear_request_errors(RDKafkaApiKey::Produce);
    broker.await_committed(0, 3);
    member.await_no_alarm();
    member.stop();
    assert_eq!(broker.dead_letters(0).len(), 1);
}

#[test]
fn the_ceiling_of_dead_letters_stops_the_partition_over_restarts_until_an_operator_decides() {
    let (broker, platform) = (Broker::with_partitions(2), Platform::taking_everything());
    for record in 0..5 {
        broker.record(0, &record.to_string(), b"garbage", "order-completed.v1");
    }
    let two = [("DELIVERY__DEAD_LETTER_CEILING__COUNT", "2")];
    let member = Member::join("first", &broker, &platform, &two);
    let (subject, detail) = member.await_alarm(DEAD_LETTER_CEILING);
    assert_eq!(subject, "order-completed[0]");
    assert!(detail.contains("dead-letters list") && detail.contains("dead-letters resume"), "{detail}");
    assert!(!member.readiness.is_ready());
    broker.order(1, 11);
    platform.await_taken("the other partition flows", |taken| taken.len() == 1);
    broker.await_committed(0, 2);
    member.stop();

    broker.order(0, 1);
    broker.order(1, 12);
    let member = Member::join("second", &broker, &platform, &two);
    member.await_alarm(DEAD_LETTER_CEILING);
    // The order behind the garbage may be read before the partition is stopped. It has another key, so it may be delivered, too.
    platform.await_taken("the other partition flows", |taken| taken.iter().any(|it| it.order_id == 12));
    broker.await_committed(1, 2);
    assert_eq!((broker.dead_letters(0).len(), broker.committed(0)), (2, Some(2)));
    assert!(!member.readiness.is_ready());

    broker.resume_parking(0);
    broker.await_dead_letters(0, 5);
    member.await_alarm(DEAD_LETTER_CEILING);
    assert_eq!(broker.dead_letters(0).len(), 5, "two, an operator's word, and two more");
    broker.resume_parking(0);
    platform.await_taken("what lies behind them", |taken| taken.iter().any(|it| it.order_id == 1));
    broker.await_committed(0, 6);
    member.await_no_alarm();
    member.await_ready();
    member.stop();
}
