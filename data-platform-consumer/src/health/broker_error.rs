//! What librdkafka says of one broker's connection, taken apart.

use service_chassis::settings::is_address_list;

/// What a client says of the broker that coordinates its group, before the broker's name.
const COORDINATOR: &str = "GroupCoordinator: ";
/// What is added to a cause, different each time: how long it took, and how often it was not told.
const ADDED: &str = " (after ";
/// An idle connection ends like this too, and is set up again. A broker that is away says more at the next attempt.
const CLOSED: &str = "Disconnected";

/// A broker whose connection failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BrokerError<'a> {
    /// `HOST:PORT`.
    pub(super) address: &'a str,
    /// Why.
    pub(super) cause: &'a str,
}

impl<'a> BrokerError<'a> {
    /// Nothing if the reason is not about one broker's connection.
    pub(super) fn parse(reason: &'a str) -> Option<Self> {
        let reason = reason.strip_prefix(COORDINATOR).unwrap_or(reason);
        let (name, cause) = reason.split_once(": ")?;
        let address = name.split_once("://").map_or(name, |(_protocol, address)| address);
        let address = address.split_once('/').map_or(address, |(address, _id)| address);
        let cause = cause.rfind(ADDED).and_then(|end| cause.get(..end)).unwrap_or(cause);
        is_address_list(address).then_some(Self { address, cause })
    }

    pub(super) fn is_a_mere_end(&self) -> bool {
        self.cause == CLOSED
    }
}

/// A broker that answers, but not to us, is another matter than one that does not answer.
pub(super) fn what_to_check(cause: &str) -> &'static str {
    if cause.contains("SASL") {
        "the user and password in `kafka.properties` (`sasl.mechanism`, `sasl.username`, `sasl.password`)"
    } else if cause.contains("SSL") || cause.contains("certificate") {
        "the certificates in `kafka.properties` (`ssl.ca.location` and its neighbours)"
    } else {
        "that the brokers run, that `kafka.bootstrap_servers` names them, and that `security.protocol` is theirs"
    }
}

#[cfg(test)]
mod tests {
    use super::BrokerError;

    #[test]
    fn an_error_names_its_broker_and_its_cause_without_what_changes_each_time() {
        let refused = "Connect to ipv4#127.0.0.1:1 failed: Connection refused";
        for reason in [
            format!("kafka-1:9092/bootstrap: {refused} (after 0ms in state CONNECT)"),
            format!(
                "kafka-1:9092/1: {refused} (after 0ms in state CONNECT, 460 identical error(s) suppressed)"
            ),
            format!("sasl_ssl://kafka-1:9092/1: {refused}"),
            format!("GroupCoordinator: kafka-1:9092: {refused} (after 3ms in state CONNECT)"),
        ] {
            let error = BrokerError { address: "kafka-1:9092", cause: refused };
            assert_eq!(BrokerError::parse(&reason), Some(error), "{reason}");
        }
    }

    #[test]
    fn an_error_that_is_not_a_brokers_is_left_alone() {
        for reason in
            ["1/1 brokers are down", "Subscribed topic not available: orders: Broker: Unknown topic"]
        {
            assert_eq!(BrokerError::parse(reason), None, "{reason}");
        }
    }

    #[test]
    fn a_connection_that_only_ended_is_told_from_a_broker_that_is_away() {
        let ended = BrokerError::parse("kafka-1:9092/1: Disconnected (after 600000ms in state UP)").unwrap();
        assert!(ended.is_a_mere_end());
        let wrong = "kafka-1:9092/1: Disconnected while requesting ApiVersion: might be caused by incorrect security.protocol (after 2ms in state APIVERSION_QUERY)";
        assert!(!BrokerError::parse(wrong).unwrap().is_a_mere_end());
    }
}
