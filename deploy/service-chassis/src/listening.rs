//! # Listening
//!
//! Why a service could not listen where its settings say, in one sentence that names the setting to
//! change. Every port of a service fails in these words.

use std::io;

/// A host and port of the settings cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another program has the port.
    #[error(
        "port {port} of {host} is taken by another program: stop it, or set `{section}.port` to another port (0 takes any free one)"
    )]
    Taken {
        /// The section of the settings, as `http`.
        section: &'static str,
        /// The host that was asked for.
        host: String,
        /// The port that was asked for.
        port: u16,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The port may not be used by this user.
    #[error(
        "port {port} of {host} is not allowed for this user: set `{section}.port` to one above 1023, or grant the right to it"
    )]
    Forbidden {
        /// The section of the settings, as `http`.
        section: &'static str,
        /// The host that was asked for.
        host: String,
        /// The port that was asked for.
        port: u16,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The host is not an address of this machine, or some other refusal.
    #[error(
        "cannot listen on {host} port {port}: check `{section}.host`, which must be an address of this machine"
    )]
    Refused {
        /// The section of the settings, as `http`.
        section: &'static str,
        /// The host that was asked for.
        host: String,
        /// The port that was asked for.
        port: u16,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

impl ListenError {
    /// Names the reason that stands behind a failed bind of the settings `section.host` and `section.port`.
    pub fn new(section: &'static str, host: &str, port: u16, cause: io::Error) -> Self {
        let host = host.to_owned();
        if cause.kind() == io::ErrorKind::AddrInUse {
            Self::Taken { section, host, port, cause }
        } else if cause.kind() == io::ErrorKind::PermissionDenied {
            Self::Forbidden { section, host, port, cause }
        } else {
            Self::Refused { section, host, port, cause }
        }
    }
}
