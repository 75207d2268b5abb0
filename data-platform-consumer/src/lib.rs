//! # data-platform-consumer
//!
//! Hands every completed order to the data platform, at least once, and the first time each in the order of
//! its key. The modules in the order in which data passes them: a member of the consumer group reads
//! records, delivery turns them into events and calls the sink, and what finished is committed.

pub mod command_line;
pub mod settings;
pub mod startup;

pub mod consumer_group;
pub mod delivery;
pub mod sink;

mod kafka_clients;

pub mod audit;
pub mod operator;

pub mod health;
pub mod status;
