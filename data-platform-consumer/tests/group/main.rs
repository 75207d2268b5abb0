//! The consumer against a broker that speaks Kafka's protocol: librdkafka's mock cluster, in process.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod broker;
mod member;
mod outages;
mod platform;
mod proxy;

mod away;
mod dead_letters;
mod delivering;
mod handing_over;
mod losing_brokers;
mod stalling;
mod stopping;
mod stopping_partitions;
