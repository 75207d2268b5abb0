//! Where other servers are.

/// What [`is_address_list`] wants, in words that follow a setting's name.
pub const ADDRESS_LIST_RULE: &str = "must be HOST:PORT, several separated by commas";

/// Whether this is `HOST:PORT`, or several of them separated by commas; a protocol may stand before, as in
/// `PLAINTEXT://kafka:9092`.
pub fn is_address_list(text: &str) -> bool {
    text.split(',').all(is_address)
}

fn is_address(text: &str) -> bool {
    let text = text.trim();
    let address = text.split_once("://").map_or(text, |(_protocol, address)| address);
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let is_plain = !host.is_empty() && !host.contains([':', ' ']);
    let is_ipv6 = host.starts_with('[') && host.ends_with(']');
    (is_plain || is_ipv6) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::is_address_list;

    #[test]
    fn a_host_without_a_port_and_a_port_without_a_host_are_no_addresses() {
        for good in ["kafka:9092", "a:1, b:2", "SSL://kafka.example:9093", "[::1]:9092"] {
            assert!(is_address_list(good), "{good:?}");
        }
        for bad in ["", " ", "kafka", ":9092", "kafka:", "kafka:port", "::::", "a:1,,b:2", "a:0", "a:70000"] {
            assert!(!is_address_list(bad), "{bad:?}");
        }
    }
}
