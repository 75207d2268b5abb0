use std::ffi::OsString;

use super::*;

fn with(environment: &[(&str, &str)]) -> Result<Settings, String> {
    let source = SettingsSource { defaults: DEFAULTS, environment_prefix: ENVIRONMENT_PREFIX, file: None };
    let environment = environment.iter().map(|(name, value)| {
        (OsString::from(format!("{ENVIRONMENT_PREFIX}__{name}")), OsString::from(value))
    });
    let loaded: Loaded<Settings> = service_chassis::settings::load_with_environment(&source, environment)
        .map_err(|error| error.to_string())?;
    check(&loaded.settings, &loaded.report).map_err(|error| error.to_string())?;
    Ok(loaded.settings)
}

#[test]
fn the_defaults_are_complete_and_keep_the_rules() {
    let settings = with(&[]).unwrap();
    assert_eq!(settings.kafka.group_id, "data-platform-consumer");
    assert_eq!(settings.kafka.topic, shared_messages::topics::ORDER_COMPLETED);
    assert_eq!((settings.delivery.in_flight_limit, settings.delivery.window), (100, 10_000));
    assert_eq!(settings.sink.log.wait, Duration::from_secs(3));
}

#[test]
fn a_setting_that_breaks_a_rule_is_named() {
    for (name, value, key) in [
        ("DELIVERY__WINDOW", "99", "delivery.window"),
        ("DELIVERY__WINDOW_BYTES", "1023", "delivery.window_bytes"),
        ("DELIVERY__IN_FLIGHT_LIMIT", "0", "delivery.in_flight_limit"),
        ("DELIVERY__DRAIN_TIMEOUT", "10m", "delivery.drain_timeout"),
        ("DELIVERY__RETRY__LONGEST_WAIT", "1ms", "delivery.retry.longest_wait"),
        ("DELIVERY__BREAKER__LONGEST_RETRY_AFTER", "61m", "delivery.breaker.longest_retry_after"),
        ("KAFKA__SESSION_TIMEOUT", "8s", "kafka.session_timeout"),
        ("KAFKA__MAX_POLL_INTERVAL", "14s", "kafka.max_poll_interval"),
        ("KAFKA__POSITION_TIMEOUT", "0s", "kafka.position_timeout"),
        ("KAFKA__POSITION_TIMEOUT", "99ms", "kafka.position_timeout"),
        ("KAFKA__TOPIC", "^order.*", "kafka.topic"),
        ("KAFKA__BOOTSTRAP_SERVERS", "::::", "kafka.bootstrap_servers"),
        ("KAFKA__PROPERTIES__ENABLE__AUTO__COMMIT", "true", "kafka.properties.enable.auto.commit"),
        ("KAFKA__PROPERTIES__NO__SUCH", "1", "kafka.properties.no.such"),
        ("KAFKA__PROPERTIES__FETCH__MIN__BYTES", "few", "kafka.properties.fetch.min.bytes"),
        ("KAFKA__SESION_TIMEOUT", "9s", "kafka.sesion_timeout"),
        ("SINK__KIND", "ftp", "sink.kind"),
        ("SINK__POSTGRES__URL", "mysql://platform", "sink.postgres.url"),
        ("SINK__POSTGRES__STATEMENT_TIMEOUT", "0s", "sink.postgres.statement_timeout"),
        ("SINK__HTTP__URL", "ftp://platform", "sink.http.url"),
        ("SINK__HTTP__BATCH", "0", "sink.http.batch"),
        ("SINK__HTTP__HEADERS__CONTENT-TYPE", "text/plain", "sink.http.headers.content-type"),
    ] {
        let error = with(&[(name, value)]).unwrap_err();
        assert!(error.contains(key) && error.contains(name), "{name}: {error}");
    }
}

#[test]
fn a_call_that_takes_its_time_must_not_count_as_stalled() {
    for (kind, name) in [
        ("log", "SINK__LOG__WAIT"),
        ("http", "SINK__HTTP__TIMEOUT"),
        ("postgres", "SINK__POSTGRES__STATEMENT_TIMEOUT"),
    ] {
        let used = ("SINK__KIND", kind);
        let error = with(&[used, (name, "5m")]).unwrap_err();
        assert!(error.contains("delivery.stall_timeout"), "{error}");
        with(&[used, (name, "5m"), ("DELIVERY__STALL_TIMEOUT", "10m")]).unwrap();
    }
}

#[test]
fn what_the_promises_hang_on_cannot_be_handed_through_and_neither_can_its_other_names() {
    for (property, value) in [
        ("allow.auto.create.topics", "true"),
        ("auto.commit.enable", "true"),
        ("auto.offset.reset", "latest"),
        ("bootstrap.servers", "b"),
        ("check.crcs", "true"),
        ("enable.auto.commit", "true"),
        ("enable.auto.offset.store", "true"),
        ("enable.partition.eof", "true"),
        ("enabled_events", "16"),
        ("group.id", "g"),
        ("group.protocol", "consumer"),
        ("heartbeat.interval.ms", "1"),
        ("max.poll.interval.ms", "1"),
        ("metadata.broker.list", "b"),
        ("offset.store.method", "none"),
        ("partition.assignment.strategy", "range"),
        ("session.timeout.ms", "1"),
        ("statistics.interval.ms", "0"),
        ("test.mock.num.brokers", "1"),
    ] {
        let name = format!("KAFKA__PROPERTIES__{}", property.to_uppercase().replace('.', "__"));
        let error = with(&[(&name, value)]).unwrap_err();
        assert!(error.contains(property) && error.contains("promises"), "{error}");
    }
}

#[test]
fn a_stop_fits_into_the_half_minute_that_an_orchestrator_grants() {
    let Settings { kafka, delivery, .. } = with(&[]).unwrap();
    assert!(delivery.drain_timeout + kafka.close_timeout <= Duration::from_secs(20));
}

#[test]
fn what_librdkafka_knows_is_handed_through() {
    let plain = [
        ("KAFKA__PROPERTIES__SECURITY__PROTOCOL", "sasl_plaintext"),
        ("KAFKA__PROPERTIES__SASL__MECHANISM", "PLAIN"),
    ];
    let settings = with(&plain).unwrap();
    assert_eq!(settings.kafka.properties.value("security.protocol"), Some("sasl_plaintext"));
}

#[test]
fn tls_is_taken_by_a_build_that_has_it_and_refused_with_what_to_do_by_one_without() {
    let taken = with(&[("KAFKA__PROPERTIES__SECURITY__PROTOCOL", "ssl")]);
    if cfg!(feature = "kafka-tls") {
        taken.unwrap();
    } else {
        let refusal = taken.unwrap_err();
        assert!(refusal.contains("security.protocol") && refusal.contains("kafka-tls"), "{refusal}");
    }
}
