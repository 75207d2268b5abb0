//! # Kafka
//!
//! The only place here that speaks to Kafka: [`event_publisher`] sends what the relay reads ([`producer_metrics`] is what an operator sees of it), [`topics`] is the command
//! that creates and compares topics, [`watch`] raises alarms while the service runs, [`topic_reader`] reads for the audit. [`cluster`] only looks, [`topic_admin`] changes, [`topic_partitions`] remembers.

pub mod event_publisher;
pub mod producer_metrics;

pub mod topic_reader;
pub mod topics;
pub mod watch;

pub mod cluster;
pub mod topic_admin;
pub mod topic_partitions;
