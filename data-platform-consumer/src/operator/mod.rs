//! # What an operator's commands ask Kafka
//!
//! Beside the group, never in it.

pub(crate) mod topic_reader;
