//! # The private server's settings
//!
//! Small, reachable from this machine only, and otherwise as PostgreSQL ships: what is tried out here should
//! behave as it will elsewhere.

/// The text appended to `postgresql.conf`.
pub(super) fn text(port: u16, durable: bool) -> String {
    let switch = if durable { "on" } else { "off" };
    format!(
        "listen_addresses = '127.0.0.1'\n\
         port = {port}\n\
         unix_socket_directories = ''\n\
         max_connections = 200\n\
         max_prepared_transactions = 4\n\
         shared_buffers = 32MB\n\
         dynamic_shared_memory_type = mmap\n\
         max_wal_size = 256MB\n\
         password_encryption = 'scram-sha-256'\n\
         fsync = {switch}\n\
         full_page_writes = {switch}\n\
         jit = off\n\
         timezone = 'UTC'\n\
         log_timezone = 'UTC'\n\
         log_destination = 'stderr'\n\
         logging_collector = off\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_real_unless_a_test_says_otherwise() {
        assert!(text(5432, true).contains("fsync = on\n"));
        assert!(text(5432, false).contains("fsync = off\n"));
    }
}
