//! # Engines: the servers that the local stack and the tests run on
//!
//! A private, real PostgreSQL ([`postgres`]) and a broker that speaks Kafka's protocol ([`kafka`]), started
//! by the process that needs them and gone with it, however it ends: [`guard`] sees to that, and every
//! process that is started here is a [`child_process`] in the guard's group.
//!
//! [`tcp_proxy`] breaks a service's connection to PostgreSQL when a COMMIT passes.
//!
//! A program that uses this crate calls [`guard::enter_if_asked`] as the first line of its `main`, because
//! guard and broker are that same executable, started again.
//!
//! It knows neither service, and nothing in it is fit for production.

pub mod child_process;
pub mod guard;
pub mod kafka;
pub mod postgres;
pub mod tcp_proxy;
pub mod this_executable;
