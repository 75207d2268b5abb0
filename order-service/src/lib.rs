//! # order-service
//!
//! Completes an order in one database transaction and tells the rest of the company after commit.
//!
//! The modules stand in the order in which an order passes them:
//!
//! - [`http`]: a request comes in and is validated;
//! - [`domain`]: what an order is, pure rules;
//! - [`checkout`]: the one transaction that completes it;
//! - [`storage`]: the tables, and the transaction's completion: COMMIT, then the callbacks;
//! - [`outbox`]: what was committed and must become an event, and the relay that publishes it;
//! - [`kafka`]: the producer;
//! - [`audit`]: whether every order has arrived in the topic.
//!
//! [`command_line`], [`settings`] and [`startup`] put them together; [`migration_job`] prepares the database, and
//! [`kafka::topics`] Kafka.

pub mod command_line;
pub mod settings;
pub mod startup;

pub mod migration_job;
mod patience;

pub mod http;

pub mod domain;

pub mod checkout;

pub mod storage;

pub mod outbox;

pub mod kafka;

pub mod audit;
