//! # Arguments
//!
//! Only flags decide, never a variable that happens to be set: a stray `DATABASE_URL` must not make sample
//! orders in somebody's database.

use clap::Parser;

/// The broker in memory keeps 5 MiB a partition, which is some 13,000 orders, and then drops the oldest, read or
/// not. So many fit even if they all went to one partition and nobody read.
pub const MOST_ORDERS: u32 = 10_000;

/// Runs the whole way of an order on this machine: PostgreSQL, broker, order-service, two consumers, and
/// sample orders that are seen to arrive at the data platform.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "local-stack",
    version,
    after_help = "The services can also be run alone:\n  \
                  local-stack order-service --help\n  local-stack data-platform-consumer --help"
)]
pub struct Arguments {
    /// End after the sample orders, with code 0 only if every order arrived
    #[arg(long)]
    pub once: bool,
    /// How many sample orders to place, 10,000 at most: the broker in memory keeps 5 MiB a partition, about 13,000
    /// orders, and would drop unread ones beyond that
    #[arg(
        long,
        value_name = "N",
        default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_ORDERS))
    )]
    pub orders: u32,
    /// Hold a flash sale instead of sample orders: 10,000 requests, 500 of them repeats, for 1,000 pieces by 200
    /// connections; the services' own lines are shown only when something is wrong
    #[arg(long, conflicts_with = "orders")]
    pub flash_sale: bool,
    /// A Kafka of your own instead of the broker in memory; the topic is created if it is missing
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka: Option<String>,
    /// A PostgreSQL database of your own instead of the private one; it is migrated, and orders are placed in it
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// Where order-service listens on 127.0.0.1; 0 takes any free port
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_need_nothing() {
        let arguments = Arguments::try_parse_from(["local-stack"]).unwrap();
        assert_eq!((arguments.once, arguments.orders, arguments.port), (false, 8, 8080));
        assert!(arguments.kafka.is_none() && arguments.database_url.is_none());
    }

    #[test]
    fn no_orders_at_all_and_more_than_the_broker_keeps_are_refused() {
        let with = |orders: &str| Arguments::try_parse_from(["local-stack", "--orders", orders]);
        assert!(with("0").is_err() && with("10001").is_err());
        assert_eq!(with("10000").unwrap().orders, MOST_ORDERS);
    }
}
