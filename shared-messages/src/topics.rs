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

/// The partition where a record of this key lands, of so many: Java's partitioner, librdkafka's `murmur2_random`.
///
/// From 0; always 0 when there are none. Source: `Utils.murmur2` and `BuiltInPartitioner` of Apache Kafka.
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    const POSITIVE: u32 = 0x7fff_ffff;
    (murmur2(key) & POSITIVE).checked_rem(partitions).unwrap_or(0)
}

fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;
    const SHIFT: u32 = 24;
    // Java's length is an `int`; no key is that long.
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let (words, rest) = data.as_chunks::<4>();
    let mut hash = SEED ^ length;
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> SHIFT;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, byte| (tail << 8) | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
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

    /// Of Apache Kafka's own `UtilsTest`.
    #[test]
    fn keys_are_hashed_as_java_does_it() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(super::murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
        assert_eq!(super::partition_of(b"foobar", 12), 6);
        assert_eq!(super::partition_of(b"21", 0), 0);
    }

    #[test]
    fn the_key_of_an_order_is_its_id_as_text() {
        assert_eq!(super::record_key(15), "15");
    }
}
