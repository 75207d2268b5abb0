//! # Kafka's security
//!
//! What of librdkafka's security a build can do. Both services have a Cargo feature `kafka-tls`, off by default since it
//! needs OpenSSL's headers to build. librdkafka itself refuses what it was built without, or only fails later, in
//! words about its own build; here the operator is told what to do.

use super::Properties;

const NO_TLS: &str = "this build has no TLS for Kafka: use the container image, which has it, or build with \
    `--features kafka-tls` (OpenSSL's headers are needed: libssl-dev and pkg-config on Debian)";
const NO_MECHANISM: &str = "`sasl.mechanism` must be set too: without it GSSAPI is meant, which is not built in; PLAIN is, \
    and with TLS SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER";
const NO_KERBEROS: &str =
    "GSSAPI (Kerberos) is not built in: use PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER";

/// The first of these properties that a build with TLS, or without, cannot do, and what to do about it.
pub fn unavailable_kafka_security(properties: &Properties, tls: bool) -> Option<(&str, &'static str)> {
    properties
        .iter()
        .find_map(|(property, value)| Some((property, refusal(properties, property, value, tls)?)))
}

fn refusal(properties: &Properties, property: &str, value: &str, tls: bool) -> Option<&'static str> {
    let value = value.to_ascii_lowercase();
    match property {
        "security.protocol" if !tls && value.ends_with("ssl") => Some(NO_TLS),
        "security.protocol" if value.starts_with("sasl") && !names_a_mechanism(properties) => {
            Some(NO_MECHANISM)
        }
        "sasl.mechanism" | "sasl.mechanisms" if value == "gssapi" => Some(NO_KERBEROS),
        // Also for a protocol without TLS: the hashes of SCRAM and the tokens of OAUTHBEARER are OpenSSL's.
        "sasl.mechanism" | "sasl.mechanisms" if !tls && value != "plain" => Some(NO_TLS),
        "enable.ssl.certificate.verification" if !tls => Some(NO_TLS),
        ssl if !tls && ssl.starts_with("ssl.") => Some(NO_TLS),
        _ => None,
    }
}

fn names_a_mechanism(properties: &Properties) -> bool {
    ["sasl.mechanism", "sasl.mechanisms"].into_iter().any(|name| properties.value(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::{Properties, unavailable_kafka_security};

    fn refused(properties: &[(&str, &str)], tls: bool) -> Option<(String, &'static str)> {
        let properties: Properties =
            properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (property, reason) = unavailable_kafka_security(&properties, tls)?;
        Some((property.to_owned(), reason))
    }

    #[test]
    fn a_build_without_tls_says_where_there_is_one() {
        for (property, value) in [
            ("security.protocol", "ssl"),
            ("security.protocol", "SASL_SSL"),
            ("ssl.ca.location", "/etc/ca.pem"),
            ("enable.ssl.certificate.verification", "false"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.mechanisms", "OAUTHBEARER"),
        ] {
            let (named, reason) = refused(&[(property, value)], false).unwrap();
            assert_eq!(named, property);
            for what_to_do in ["container image", "--features kafka-tls", "libssl-dev"] {
                assert!(reason.contains(what_to_do), "{reason}");
            }
        }
    }

    #[test]
    fn a_build_with_tls_takes_what_needs_it() {
        let scram = [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("ssl.ca.location", "/etc/ca.pem"),
        ];
        assert_eq!(refused(&scram, true), None);
    }

    #[test]
    fn what_needs_no_tls_is_taken_by_every_build() {
        let plain =
            [("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "PLAIN"), ("linger.ms", "5")];
        assert_eq!((refused(&plain, false), refused(&plain, true)), (None, None));
    }

    #[test]
    fn a_mechanism_that_no_build_has_is_refused_by_its_name_and_when_it_is_only_meant() {
        for tls in [false, true] {
            let (property, reason) = refused(&[("security.protocol", "sasl_plaintext")], tls).unwrap();
            assert!(property == "security.protocol" && reason.contains("`sasl.mechanism`"), "{reason}");
            let (property, reason) = refused(&[("sasl.mechanisms", "GSSAPI")], tls).unwrap();
            assert!(property == "sasl.mechanisms" && reason.contains("Kerberos"), "{reason}");
        }
    }
}
