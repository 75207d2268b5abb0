//! The cases, one file a theme.

pub(crate) mod broker_down;
pub(crate) mod command;
pub(crate) mod consumers;
pub(crate) mod killed_order_service;
pub(crate) mod refusals;
pub(crate) mod repeats;
pub(crate) mod wire_form;
