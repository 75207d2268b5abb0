//! The commands on positions, as the program runs them, against librdkafka's mock cluster.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "the group's tests need more of it")]
#[path = "../group/broker.rs"]
mod broker;
mod command;
#[expect(dead_code, reason = "the group's tests need more of it")]
#[path = "../group/member.rs"]
mod member;
#[expect(dead_code, reason = "the group's tests need more of it")]
#[path = "../group/platform.rs"]
mod platform;

mod cases;
