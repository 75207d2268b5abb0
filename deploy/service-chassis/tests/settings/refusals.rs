//! What is refused, and in which words.

use std::ffi::OsString;

use service_chassis::settings::{SettingsSource, load_with_environment};

use crate::shop::{DEFAULTS, Settings, file, loaded, refusal};

#[test]
fn an_unknown_key_of_the_file_is_refused_by_its_full_name_and_place() {
    let file = file("[http]\nprot = 9000\n");
    let place = file.path().display().to_string();
    assert_eq!(
        refusal(Some(&file), &[]),
        format!(
            "unknown setting `http.prot` (file {place}): known are host, port, trusted, strict, share, patience"
        )
    );
}

#[test]
fn an_unknown_key_of_the_environment_is_refused_by_its_full_name_and_variable() {
    let refusal = refusal(None, &[("ORDER_SERVICE__HTPT__PORT", "9000")]);
    assert!(
        refusal.starts_with(
            "unknown setting `htpt` (environment ORDER_SERVICE__HTPT__PORT): known are name, http,"
        ),
        "{refusal}"
    );
}

#[test]
fn a_variable_with_an_empty_part_is_refused() {
    let refusal = refusal(None, &[("ORDER_SERVICE____PORT", "9000")]);
    assert!(refusal.contains("ORDER_SERVICE____PORT"), "{refusal}");
}

#[test]
fn a_wrong_value_is_named_with_key_origin_and_what_was_expected() {
    let cases = [
        ("ORDER_SERVICE__HTTP__PORT", "web", "http.port", "\"web\"", "a whole number from 0 to 65535"),
        ("ORDER_SERVICE__HTTP__PORT", "70000", "http.port", "\"70000\"", "a whole number from 0 to 65535"),
        ("ORDER_SERVICE__HTTP__PORT", "-1", "http.port", "\"-1\"", "a whole number from 0 to 65535"),
        ("ORDER_SERVICE__HTTP__PORT__X", "1", "http.port", "a table", "a whole number from 0 to 65535"),
        ("ORDER_SERVICE__HTTP__STRICT", "maybe", "http.strict", "\"maybe\"", "true or false"),
        ("ORDER_SERVICE__HTTP__SHARE", "half", "http.share", "\"half\"", "a number"),
        (
            "ORDER_SERVICE__HTTP__PATIENCE",
            "soon",
            "http.patience",
            "\"soon\"",
            "a duration such as \"3s\" or \"200ms\"",
        ),
        ("ORDER_SERVICE__HTTP", "1", "http", "\"1\"", "a table"),
        ("ORDER_SERVICE__LOG__FORMAT", "xml", "log.format", "\"xml\"", "\"text\" or \"json\""),
    ];
    for (variable, value, key, found, expected) in cases {
        assert_eq!(
            refusal(None, &[(variable, value)]),
            format!("the setting `{key}` (environment {variable}) is {found}, but must be {expected}")
        );
    }
}

#[test]
fn types_are_strict_in_a_file() {
    for (text, expected) in [
        ("http.port = true", "`http.port`"),
        ("http.port = 80.5", "`http.port`"),
        ("http.port = \"80\"", "`http.port`"),
        ("http.port = 65536", "`http.port`"),
        ("http.strict = 1", "`http.strict`"),
        ("http.trusted = [\"10.0.0.1\", 2]", "`http.trusted[1]`"),
        ("name = 3", "`name`"),
    ] {
        let file = file(text);
        let refusal = refusal(Some(&file), &[]);
        assert!(refusal.contains(expected) && refusal.contains("but must be"), "{text}: {refusal}");
        assert!(refusal.contains(&file.path().display().to_string()), "{text}: {refusal}");
    }
}

#[test]
fn a_missing_setting_is_named_with_its_variable() {
    assert_eq!(
        refusal(None, &[("ORDER_SERVICE__API__GREETING", "hello")]),
        "the setting `api.attempts` is missing: give it in the file, or as the environment variable \
         ORDER_SERVICE__API__ATTEMPTS"
    );
}

#[test]
fn a_log_level_that_is_none_is_found_when_settings_are_loaded() {
    for level in ["order_service=loud", " "] {
        let refusal = refusal(None, &[("ORDER_SERVICE__LOG__LEVEL", level)]);
        assert!(refusal.contains("`log.level` (environment ORDER_SERVICE__LOG__LEVEL)"), "{refusal}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let gone = file("");
    let path = gone.path().to_owned();
    gone.close().unwrap();
    let source = SettingsSource { defaults: DEFAULTS, environment_prefix: "X", file: Some(path.clone()) };
    let refusal = load_with_environment::<Settings>(&source, []).unwrap_err().to_string();
    assert!(refusal.starts_with(&format!("cannot read the settings file {}: ", path.display())), "{refusal}");
    assert!(refusal.contains("No such file"), "{refusal}");
}

#[test]
fn a_file_that_is_not_toml_is_named_with_the_line_but_the_line_is_not_shown() {
    let file = file("name = \"shop\"\n[database]\nurl = \"postgres://shop:open-up@db/shop\n");
    let refusal = refusal(Some(&file), &[]);
    assert!(refusal.contains(&file.path().display().to_string()), "{refusal}");
    assert!(refusal.contains("at line 3, column "), "{refusal}");
    assert!(!refusal.contains("open-up") && !refusal.contains('\n'), "{refusal}");
}

#[test]
fn a_key_that_is_said_twice_is_a_fault_of_the_file() {
    let file = file("name = \"a\"\nname = \"b\"\n");
    let refusal = refusal(Some(&file), &[]);
    assert!(refusal.contains("at line 2") && refusal.contains("duplicate key"), "{refusal}");
}

#[test]
fn a_rule_between_settings_is_told_with_the_origin_of_its_setting() {
    let report = loaded(None, &[("ORDER_SERVICE__HTTP__PATIENCE", "1s")]).report;
    assert_eq!(
        report.reject("http.patience", "must be longer than 2s").to_string(),
        "the setting `http.patience` (environment ORDER_SERVICE__HTTP__PATIENCE) is not acceptable: \
         must be longer than 2s"
    );
}

#[cfg(unix)]
#[test]
fn a_value_that_is_not_unicode_is_refused_by_the_variables_name() {
    use std::os::unix::ffi::OsStringExt;

    let source = SettingsSource { defaults: DEFAULTS, environment_prefix: "ORDER_SERVICE", file: None };
    let environment = [
        (OsString::from_vec(vec![0xff]), OsString::from("foreign")),
        (OsString::from("ORDER_SERVICE__NAME"), OsString::from_vec(vec![0xff])),
    ];
    let refusal = load_with_environment::<Settings>(&source, environment).unwrap_err().to_string();
    assert_eq!(refusal, "the environment variable ORDER_SERVICE__NAME is not valid Unicode");
}
