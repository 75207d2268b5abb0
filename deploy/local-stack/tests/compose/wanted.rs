//! # Whether to run at all
//!
//! `SYSTEM_TESTS=docker` insists on a Docker engine, `local` does without one, and `auto` takes one where it answers.
//! What cannot run is reported as ignored with its reason, what was insisted on is a failure.

use std::process::{Command, Stdio};

const VARIABLE: &str = "SYSTEM_TESTS";

pub(crate) enum Wanted {
    Run,
    Ignore(String),
    Fail(String),
}

impl Wanted {
    pub(crate) fn from_environment() -> Self {
        let wish = std::env::var(VARIABLE).unwrap_or_default();
        match (wish.as_str(), missing()) {
            ("local", _) => Self::Ignore(format!("{VARIABLE}=local, and they need a Docker engine")),
            ("" | "auto" | "docker", None) => Self::Run,
            ("" | "auto", Some(missing)) => Self::Ignore(missing),
            ("docker", Some(missing)) => Self::Fail(format!("{VARIABLE}=docker, but {missing}")),
            _ => Self::Fail(format!("{VARIABLE}={wish} is none of auto, docker and local")),
        }
    }
}

/// What is not there, if something is not.
fn missing() -> Option<String> {
    if !answers(&["info"]) {
        Some("no Docker engine answers (`docker info`)".to_owned())
    } else if !answers(&["compose", "version"]) {
        Some("docker has no compose (`docker compose version`)".to_owned())
    } else {
        None
    }
}

fn answers(arguments: &[&str]) -> bool {
    let status = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
