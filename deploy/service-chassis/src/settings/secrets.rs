//! # Secrets
//!
//! Values that must show nowhere. Two nets, because one has holes: types that hide themselves in `Debug` and
//! `Display` ([`Secret`], [`DatabaseUrl`]), and names of keys that say that their value is secret
//! ([`is_secret_key`]), for tables such as librdkafka's whose keys we do not know. Text that we did not
//! write, such as a driver's error, is cleared of passwords in URLs ([`hide_passwords_in_urls`]).

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// What stands where a secret was.
pub const HIDDEN: &str = "(hidden)";

/// Names of the types below as serde sees them: the reader of settings recognises them, and hides what it finds.
pub(super) const SECRET_TYPE: &str = "service_chassis::Secret";
pub(super) const DATABASE_URL_TYPE: &str = "service_chassis::DatabaseUrl";

/// Text that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret in.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself; the caller sees to it that it is not shown.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(SECRET_TYPE, TextVisitor("text")).map(Self)
    }
}

/// A database's URL, `postgres://user:password@host:port/database`, shown without its password.
///
/// Several hosts (`host1:5432,host2:5432`) and none (a socket's folder as the parameter `host`) are possible, as
/// the drivers have it.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

/// Why text is not a database's URL. It does not repeat the text, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    /// It does not start with `postgres://` or `postgresql://`.
    #[error("must be a URL such as postgres://user:password@host:5432/database")]
    Scheme,
    /// It has a blank or a control character in it.
    #[error("must not contain blanks; in a password write them, and : / @ ? #, as %20 and so on")]
    Blank,
    /// A character that ends the password for one reader of the URL and not for another.
    #[error("has a / @ ? or # in the user or password: write it as %2F %40 %3F or %23")]
    Reserved,
    /// A port is not a number from 1 to 65535.
    #[error(
        "has a port that is not a number from 1 to 65535; in a password write : / @ ? # as %3A and so on"
    )]
    Port,
}

impl DatabaseUrl {
    /// The URL with its password; the caller sees to it that it is not shown.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err(DatabaseUrlError::Blank);
        }
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let rest = rest.ok_or(DatabaseUrlError::Scheme)?;
        if rest.contains('#') || rest.matches('@').count() > 1 || has_at_after_its_hosts(rest) {
            return Err(DatabaseUrlError::Reserved);
        }
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
        if hosts.split(',').all(has_acceptable_port) {
            Ok(Self(text.to_owned()))
        } else {
            Err(DatabaseUrlError::Port)
        }
    }
}

fn has_acceptable_port(host: &str) -> bool {
    // Behind the bracket of an IPv6 address, whose colons separate no port.
    let behind_address = host.rsplit_once(']').map_or(host, |(_, behind)| behind);
    match behind_address.split_once(':') {
        None => true,
        Some((_, port)) => port.parse::<u16>().is_ok_and(|port| port != 0),
    }
}

/// An `@` after the first `/` or `?`: what comes before was meant as a password.
fn has_at_after_its_hosts(rest: &str) -> bool {
    rest.split_once(['/', '?']).is_some_and(|(_, path)| path.contains('@'))
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hide_passwords_in_urls(&self.0))
    }
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text =
            deserializer.deserialize_newtype_struct(DATABASE_URL_TYPE, TextVisitor("a database's URL"))?;
        text.parse().map_err(de::Error::custom)
    }
}

struct TextVisitor(&'static str);

impl<'de> Visitor<'de> for TextVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_string(self)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<String, E> {
        Ok(text)
    }
}

/// Whether a key's name says that its value is secret: `sasl.password`, `ssl.key.pem`, `api_token`.
///
/// It rather hides too much: a value that is hidden for no reason costs a look elsewhere, the opposite costs
/// a password. A place where a secret lies (`…location`, `…url`) is not the secret.
pub fn is_secret_key(key: &str) -> bool {
    const SECRET_WORDS: [&str; 11] = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "credential",
        "apikey",
        "privatekey",
        "keypem",
        "jaas",
        "oauthbearerconfig",
    ];
    let letters: String = key.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    let is_place = letters.ends_with("location") || letters.ends_with("url");
    !is_place && SECRET_WORDS.iter().any(|word| letters.contains(word))
}

/// The text with `user:password@` of each URL in it shown as `user:(hidden)@`, and the values of secret
/// parameters (`?password=…`) likewise.
pub fn hide_passwords_in_urls(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://").map(|at| at + "://".len()) {
        result.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(is_end_of_url).unwrap_or(rest.len());
        result.push_str(&without_password(&rest[..end]));
        rest = &rest[end..];
    }
    result + rest
}

fn is_end_of_url(character: char) -> bool {
    character.is_whitespace() || matches!(character, '"' | '\'' | '`' | '<' | '>')
}

fn without_password(url: &str) -> String {
    // The last @ ends the password, even one that somebody forgot to write as %40, or that has a / in it.
    let (user_info, place) = match url.rsplit_once('@') {
        Some((user_info, place)) => (Some(user_info), place),
        None => (None, url),
    };
    let user_info = user_info.map_or_else(String::new, |user_info| match user_info.split_once(':') {
        Some((user, _)) => format!("{user}:{HIDDEN}@"),
        None => format!("{user_info}@"),
    });
    user_info + &without_secret_parameters(place)
}

fn without_secret_parameters(place: &str) -> String {
    let Some((path, query)) = place.split_once('?') else { return place.to_owned() };
    let parameters: Vec<String> = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if is_secret_key(name) => format!("{name}={HIDDEN}"),
            _ => parameter.to_owned(),
        })
        .collect();
    format!("{path}?{}", parameters.join("&"))
}

#[cfg(test)]
mod tests {
    use super::{DatabaseUrl, DatabaseUrlError, hide_passwords_in_urls, is_secret_key};

    #[test]
    fn keys_that_name_a_secret_are_told_from_those_that_name_its_place() {
        for key in [
            "kafka.properties.sasl.password",
            "ssl.key.password",
            "ssl.keystore.password",
            "ssl.key.pem",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.config",
            "api_token",
            "API-KEY",
        ] {
            assert!(is_secret_key(key), "{key}");
        }
        for key in
            ["ssl.key.location", "sasl.oauthbearer.token.endpoint.url", "sasl.username", "ssl.ca.pem", "key"]
        {
            assert!(!is_secret_key(key), "{key}");
        }
    }

    #[test]
    fn passwords_leave_urls_and_the_rest_of_the_text_stays() {
        for (text, shown) in [
            ("nothing here", "nothing here"),
            ("postgres://db/shop", "postgres://db/shop"),
            ("postgres://shop@db/shop", "postgres://shop@db/shop"),
            ("postgres://shop:pw@db/shop", "postgres://shop:(hidden)@db/shop"),
            ("postgres://shop:p@w/x?y@db/shop", "postgres://shop:(hidden)@db/shop"),
            ("a http://u:p@h/ and \"b://u:p@h\"!", "a http://u:(hidden)@h/ and \"b://u:(hidden)@h\"!"),
            (
                "postgres://db/shop?user=shop&password=pw&x=1",
                "postgres://db/shop?user=shop&password=(hidden)&x=1",
            ),
        ] {
            assert_eq!(hide_passwords_in_urls(text), shown);
        }
    }

    #[test]
    fn what_the_drivers_take_for_a_url_is_one() {
        for text in [
            "postgres://db/shop",
            "postgresql://shop:pw@db:5432/shop?sslmode=require",
            "postgres://shop@%2Ftmp%2Fsocket/shop",
            "postgres://shop@/shop?host=/tmp/socket",
            "postgres://shop:pw@db1:5432,db2:5433/shop?target_session_attrs=read-write",
            "postgres://shop@[::1]:5432/shop",
            "postgres://shop@[::1]/shop",
        ] {
            assert_eq!(text.parse::<DatabaseUrl>().map(|url| url.expose().to_owned()), Ok(text.to_owned()));
        }
        for (text, reason) in [
            ("", DatabaseUrlError::Scheme),
            ("db:5432", DatabaseUrlError::Scheme),
            ("mysql://db/shop", DatabaseUrlError::Scheme),
            ("postgres://shop:my pass@db/shop", DatabaseUrlError::Blank),
            ("postgres://db:0/shop", DatabaseUrlError::Port),
            ("postgres://db:port/shop", DatabaseUrlError::Port),
            ("postgres://shop:a/b@db/shop", DatabaseUrlError::Reserved),
            ("postgres://shop:p@ss/w#rd%@db:5432/shop", DatabaseUrlError::Reserved),
            ("postgres://shop:p@ss@db:5432/shop", DatabaseUrlError::Reserved),
            ("postgres://shop:a?b@db/shop", DatabaseUrlError::Reserved),
            ("postgres://shop:a#b@db/shop", DatabaseUrlError::Reserved),
        ] {
            assert_eq!(text.parse::<DatabaseUrl>(), Err(reason), "{text}");
        }
    }
}
