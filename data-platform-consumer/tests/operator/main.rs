//! Operator's commands against a broker that speaks Kafka's protocol: librdkafka's mock cluster, in process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broker;
mod commands;
mod platform;

mod discarding;
mod listing;
mod parked_by_the_service;
mod replaying;
mod replaying_together;
