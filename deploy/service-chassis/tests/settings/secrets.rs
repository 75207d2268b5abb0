//! That a secret shows nowhere.

use std::collections::HashMap;

use serde::Deserialize;
use service_chassis::settings::{Loaded, SettingsSource, load_with_environment};

use crate::shop::{file, loaded, refusal};

#[test]
fn a_secret_shows_neither_in_the_report_nor_in_debug() {
    let file = file(
        "[database]\nurl = \"postgres://shop:open-up-1@db/shop?sslpassword=open-up-2\"\n\
         [kafka.properties]\n\"sasl.password\" = \"open-up-3\"\n\"ssl.key.password\" = \"open-up-4\"\n\
         \"ssl.key.pem\" = \"open-up-5\"\n\"ssl.key.location\" = \"/etc/key\"\n\
         [api]\ngreeting = \"open-up-6\"\nattempts = 1\n",
    );
    let Loaded { settings, report } = loaded(Some(&file), &[]);

    for shown in [report.to_string(), format!("{report:?}"), format!("{settings:?}")] {
        assert!(!shown.contains("open-up"), "{shown}");
    }
    assert_eq!(report.value("database.url"), Some("postgres://shop:(hidden)@db/shop?sslpassword=(hidden)"));
    assert_eq!(report.value("api.greeting"), Some("(hidden)"));
    assert_eq!(report.value("kafka.properties.ssl.key.location"), Some("/etc/key"));
    assert_eq!(settings.database.url.expose(), "postgres://shop:open-up-1@db/shop?sslpassword=open-up-2");
}

#[test]
fn a_secret_does_not_show_in_a_refusal() {
    for (variable, value) in [
        ("ORDER_SERVICE__DATABASE__URL", "mysql://shop:open-up@db/shop"),
        ("ORDER_SERVICE__DATABASE__URL", "postgres://shop:open-up@db:port/shop"),
        ("ORDER_SERVICE__DATABASE__URL", "host=db password=open-up"),
        ("ORDER_SERVICE__DATABASE__URL__X", "open-up"),
        ("ORDER_SERVICE__DATABASE__PASSWORD", "open-up"),
        ("ORDER_SERVICE__API__GREETING__X", "open-up"),
        ("ORDER_SERVICE__HTTP__PORT", "http://shop:open-up@host"),
    ] {
        let refusal = refusal(None, &[(variable, value)]);
        assert!(refusal.contains(variable) && !refusal.contains("open-up"), "{refusal}");
    }
    let file = file("[kafka.properties]\n\"sasl.password\" = [\"open-up\"]\n");
    let refusal = refusal(Some(&file), &[]);
    assert!(
        refusal.contains("`kafka.properties.sasl.password`") && !refusal.contains("open-up"),
        "{refusal}"
    );
}

#[test]
fn a_types_own_words_do_not_repeat_a_secret() {
    #[derive(Debug, Deserialize)]
    #[serde(try_from = "HashMap<String, String>")]
    struct Chatty;
    impl TryFrom<HashMap<String, String>> for Chatty {
        type Error = String;
        fn try_from(value: HashMap<String, String>) -> Result<Self, String> {
            Err(format!("{value:?} will not do"))
        }
    }
    #[derive(Debug, Deserialize)]
    struct Wrapped {
        #[serde(rename = "login")]
        _login: Chatty,
    }
    let source = SettingsSource {
        defaults: "[login]\nuser = \"anna\"\npassword = \"open-up\"\n",
        environment_prefix: "X",
        file: None,
    };
    let refusal = load_with_environment::<Wrapped>(&source, []).unwrap_err().to_string();
    assert!(refusal.starts_with("the setting `login` (default) is not acceptable: "), "{refusal}");
    assert!(refusal.contains("anna") && !refusal.contains("open-up"), "{refusal}");
}
