//! # The lane: on which servers the cases run
//!
//! `SYSTEM_TESTS` decides: `docker` for the real Kafka and PostgreSQL in containers, `local` for the engines of the
//! local stack, `auto` (as when it is unset) for Docker where an engine answers and else local. What was asked for and
//! is not to be had is a failure, never a quiet change of plan; and `auto` that found an engine has chosen: if
//! that engine cannot provide the images, that is a failure too.

use std::ffi::OsStr;

use crate::docker::{self, Docker};

/// What decides.
pub(crate) const VARIABLE: &str = "SYSTEM_TESTS";

/// What was chosen.
pub(crate) enum Lane {
    /// Containers, on this engine.
    Docker(Docker),
    /// A private PostgreSQL and the mock cluster.
    Local,
}

/// A lane, and why it is this one.
pub(crate) struct Choice {
    pub(crate) lane: Lane,
    /// For the first line of the output.
    pub(crate) why: String,
}

/// Why there is no lane.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaneError {
    #[error("SYSTEM_TESTS={0} is unknown: it may be auto, docker or local")]
    Unknown(String),
    #[error(
        "SYSTEM_TESTS=docker, but no Docker engine answers ({0}): start one or correct DOCKER_HOST, or take \
         SYSTEM_TESTS=local"
    )]
    NoEngine(String),
}

/// Chooses by what `SYSTEM_TESTS` says.
pub(crate) async fn choose(wish: Option<&OsStr>) -> Result<Choice, LaneError> {
    match wish.map(OsStr::to_string_lossy).as_deref() {
        None | Some("" | "auto") => Ok(match docker::engine().await {
            Ok(docker) => Choice::new(Lane::Docker(docker), "SYSTEM_TESTS=auto: a Docker engine answers"),
            Err(cause) => {
                Choice::new(Lane::Local, &format!("SYSTEM_TESTS=auto: no Docker engine answers: {cause}"))
            }
        }),
        Some("docker") => match docker::engine().await {
            Ok(docker) => Ok(Choice::new(Lane::Docker(docker), "SYSTEM_TESTS=docker")),
            Err(cause) => Err(LaneError::NoEngine(cause)),
        },
        Some("local") => Ok(Choice::new(Lane::Local, "SYSTEM_TESTS=local")),
        Some(other) => Err(LaneError::Unknown(other.to_owned())),
    }
}

impl Choice {
    fn new(lane: Lane, why: &str) -> Self {
        Self { lane, why: why.to_owned() }
    }

    /// Why a case that needs Docker cannot run here; none if it can.
    pub(crate) fn lacks_docker(&self) -> Option<String> {
        match self.lane {
            Lane::Docker(_) => None,
            Lane::Local => Some(format!("needs Docker; {}", self.why)),
        }
    }
}
