//! # Local stack
//!
//! One command for the whole way of an order: a private PostgreSQL, a broker, both services as processes of
//! their own, sample orders, and each of them seen to arrive. In the order in which that happens:

pub mod arguments;
pub mod command_line;
pub mod multi_call;

pub mod kafka_topic;
pub mod servers;

pub mod service_log;
pub mod service_process;
pub mod services;
pub mod supervised_service;

pub mod flash_sale;
pub mod sample_orders;
pub mod shop;

pub mod arrivals;
pub mod ledger;
pub mod summary;

pub mod console;
pub mod stack;
