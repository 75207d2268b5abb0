//! # Kafka
//!
//! The only place here that speaks to Kafka: [`event_publisher`] sends what the relay reads.

pub mod event_publisher;
