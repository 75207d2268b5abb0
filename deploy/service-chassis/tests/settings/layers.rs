//! Which value wins, and that each remembers where it came from.

use std::collections::HashMap;
use std::time::Duration;

use service_chassis::settings::Loaded;
use service_chassis::telemetry::LogFormat;

use crate::shop::{file, loaded};

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = file("[http]\nport = 9000\nhost = \"0.0.0.0\"\n");
    let Loaded { settings, report } = loaded(Some(&file), &[("ORDER_SERVICE__HTTP__PORT", "9001")]);

    assert_eq!(
        (settings.name.as_str(), settings.http.host.as_str(), settings.http.port),
        ("shop", "0.0.0.0", 9001)
    );
    assert_eq!(report.origin("name"), Some("default"));
    assert_eq!(report.origin("http.host"), Some(format!("file {}", file.path().display()).as_str()));
    assert_eq!(report.origin("http.port"), Some("environment ORDER_SERVICE__HTTP__PORT"));
}

#[test]
fn the_environment_speaks_every_type() {
    let settings = loaded(
        None,
        &[
            ("ORDER_SERVICE__NAME", "4711"),
            ("ORDER_SERVICE__HTTP__TRUSTED", "10.0.0.1, 10.0.0.2"),
            ("ORDER_SERVICE__HTTP__STRICT", "false"),
            ("ORDER_SERVICE__HTTP__SHARE", "0.25"),
            ("ORDER_SERVICE__HTTP__PATIENCE", "200ms"),
            ("ORDER_SERVICE__LOG__FORMAT", "json"),
            ("ORDER_SERVICE__API__GREETING", "0042"),
            ("ORDER_SERVICE__API__ATTEMPTS", "7"),
        ],
    )
    .settings;

    assert_eq!(settings.name, "4711", "digits stay text where text is wanted");
    assert_eq!(settings.http.trusted, ["10.0.0.1", "10.0.0.2"]);
    assert!(!settings.http.strict);
    assert!((settings.http.share - 0.25).abs() < f64::EPSILON);
    assert_eq!(settings.http.patience, Duration::from_millis(200));
    assert_eq!(settings.log.format, LogFormat::Json);
    let api = settings.api.unwrap();
    assert_eq!((api.greeting.unwrap().expose(), api.attempts), ("0042", 7));
}

#[test]
fn the_case_of_a_variables_name_does_not_matter() {
    assert_eq!(loaded(None, &[("order_service__Http__PORT", "9001")]).settings.http.port, 9001);
}

#[test]
fn a_variable_with_a_single_underscore_is_not_ours() {
    let report = loaded(
        None,
        &[
            ("ORDER_SERVICE_PORT", "tcp://10.0.0.1:80"),
            ("ORDER_SERVICE_SERVICE_HOST", "10.0.0.1"),
            ("ORDER_SERVICE_HTTP__PORT", "1"),
            ("OTHER_ORDER_SERVICE__HTTP__PORT", "1"),
        ],
    )
    .report;
    assert_eq!(report.value("http.port"), Some("8080"));
}

#[test]
fn a_variable_that_is_set_to_nothing_counts_as_not_set() {
    let report =
        loaded(None, &[("ORDER_SERVICE__HTTP__PORT", ""), ("ORDER_SERVICE__NO__SUCH_KEY", "")]).report;
    assert_eq!(report.origin("http.port"), Some("default"));
}

#[test]
fn librdkafka_properties_come_from_file_and_environment_quoted_or_not() {
    let file = file(
        "[kafka.properties]\n\"security.protocol\" = \"ssl\"\nsocket.timeout.ms = 100\n\
         \"enable.ssl.certificate.verification\" = false\n",
    );
    let environment = [
        ("ORDER_SERVICE__KAFKA__PROPERTIES__SECURITY__PROTOCOL", "sasl_ssl"),
        ("ORDER_SERVICE__KAFKA__PROPERTIES__SASL__PASSWORD", "1234"),
    ];
    let Loaded { settings, report } = loaded(Some(&file), &environment);

    let properties: HashMap<&str, &str> = settings.kafka.properties.iter().collect();
    let expected = [
        ("client.id", "shop"),
        ("security.protocol", "sasl_ssl"),
        ("socket.timeout.ms", "100"),
        ("enable.ssl.certificate.verification", "false"),
        ("sasl.password", "1234"),
    ];
    assert_eq!(properties, HashMap::from(expected));
    assert_eq!(report.value("kafka.properties.security.protocol"), Some("sasl_ssl"));
    assert_eq!(report.value("kafka.properties.sasl.password"), Some("(hidden)"));
}

#[test]
fn the_report_is_a_table_of_key_value_and_origin() {
    let report = loaded(None, &[("ORDER_SERVICE__HTTP__PORT", "9001")]).report.to_string();
    let rows: Vec<Vec<&str>> = report.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(rows.contains(&vec!["http.host", "127.0.0.1", "default"]), "{report}");
    assert!(
        rows.contains(&vec!["http.port", "9001", "environment", "ORDER_SERVICE__HTTP__PORT"]),
        "{report}"
    );
    assert!(rows.contains(&vec!["http.trusted", "[10.0.0.1]", "default"]), "{report}");
    let columns: Vec<usize> = report.lines().filter_map(|line| line.rfind("  ")).collect();
    assert!(columns.iter().all(|column| *column == columns[0]), "{report}");
}
