//! The sink `http` against a real server on this machine: slow, refusing, failing, breaking off, and behind TLS.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod server;
mod sinks;

mod batches;
mod failures;
mod requests;
mod tls;
