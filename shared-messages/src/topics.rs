//! # Topics and keys
//!
//! One topic, keyed by the order's id as text, so that all events of one order share a partition and keep
//! their order. Where a key lands depends on the partitioner too: a producer must use `murmur2_random`,
//! which is what Java producers use.

/// The topic of completed orders.
pub const ORDER_COMPLETED: &str = "order-completed";

/// What is added to a topic's name for the topic of its dead letters, as spring-kafka does it.
pub const DEAD_LETTER_SUFFIX: &str = "-dlt";

/// The topic for records of `topic` that cannot be delivered: `order-completed-dlt`. A dead letter keeps its
/// partition's number, so this topic needs at least as many partitions.
pub fn dead_letter_topic(topic: &str) -> String {
    format!("{topic}{DEAD_LETTER_SUFFIX}")
}

/// The key of an order's records: its id as UTF-8 text, such as `15`.
pub fn record_key(order_id: i64) -> String {
    order_id.to_string()
}

/// What [`is_name`] wants, in words that follow a setting's name.
pub const NAME_RULE: &str = "must name a topic: 1 to 249 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`";

/// Whether Kafka takes this for the name of a topic. (A consumer would take `^order.*` for a pattern.)
pub fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".."
}

#[cfg(test)]
mod tests {
    #[test]
    fn patterns_and_blanks_name_no_topic() {
        assert!(super::is_name(super::ORDER_COMPLETED));
        for text in ["", " ", "a b/c", "^order.*", ".", "..", &"x".repeat(250)] {
            assert!(!super::is_name(text), "{text:?}");
        }
    }

    #[test]
    fn dead_letters_go_where_spring_kafka_puts_them() {
        assert_eq!(super::dead_letter_topic(super::ORDER_COMPLETED), "order-completed-dlt");
    }

    #[test]
    fn the_key_of_an_order_is_its_id_as_text() {
        assert_eq!(super::record_key(15), "15");
    }
}
