//! # One program, three names
//!
//! `local-stack order-service …` *is* order-service, and `local-stack data-platform-consumer …` the consumer:
//! the same code as in their own programs, behind the same command lines.

use std::ffi::OsString;
use std::process::ExitCode;

/// A service that this program can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Completes orders and publishes them.
    OrderService,
    /// Hands them to the data platform.
    DataPlatformConsumer,
}

impl Service {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::OrderService => "order-service",
            Self::DataPlatformConsumer => "data-platform-consumer",
        }
    }

    /// What its environment variables begin with.
    pub fn environment_prefix(self) -> &'static str {
        match self {
            Self::OrderService => "ORDER_SERVICE__",
            Self::DataPlatformConsumer => "DATA_PLATFORM_CONSUMER__",
        }
    }

    /// Is that service, with this process's arguments from its name on.
    pub fn run(self) -> ExitCode {
        let arguments = std::env::args_os().skip(1);
        match self {
            Self::OrderService => order_service::command_line::main(arguments),
            Self::DataPlatformConsumer => data_platform_consumer::command_line::main(arguments),
        }
    }
}

/// The service named by this process's first argument.
pub fn service_asked_for() -> Option<Service> {
    named(&std::env::args_os().nth(1)?)
}

fn named(argument: &OsString) -> Option<Service> {
    [Service::OrderService, Service::DataPlatformConsumer]
        .into_iter()
        .find(|service| argument == service.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_answers_to_its_own_name_only() {
        assert_eq!(named(&"order-service".into()), Some(Service::OrderService));
        assert_eq!(named(&"data-platform-consumer".into()), Some(Service::DataPlatformConsumer));
        assert_eq!(named(&"--once".into()), None);
    }
}
