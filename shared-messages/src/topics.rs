//! # Topics and keys
//!
//! One topic, keyed by the order's id as text, so that all events of one order share a partition and keep
//! their order. Where a key lands depends on the partitioner too: a producer must use `murmur2_random`,
//! which is what Java producers use.

/// The topic of completed orders.
pub const ORDER_COMPLETED: &str = "order-completed";

/// The key of an order's records: its id as UTF-8 text, such as `15`.
pub fn record_key(order_id: i64) -> String {
    order_id.to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_key_of_an_order_is_its_id_as_text() {
        assert_eq!(super::record_key(15), "15");
    }
}
