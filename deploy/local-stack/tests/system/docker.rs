//! # The Docker engine
//!
//! Found as testcontainers finds it (`DOCKER_HOST`, then the usual sockets). Every container carries a label of this
//! run, by which the [`Run`] removes all of them at the end, with their anonymous volumes; if we are killed before
//! that, the guard does the same, by this program started again: no `docker` command is needed.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use engines::guard::{self, AtTheEnd};
pub(crate) use testcontainers_modules::testcontainers::bollard::Docker;
use testcontainers_modules::testcontainers::bollard::errors::Error as EngineError;
use testcontainers_modules::testcontainers::bollard::query_parameters::{
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
};
use testcontainers_modules::testcontainers::core::client::docker_client_instance;

/// On every container of ours; its value is the run.
pub(crate) const LABEL: &str = "order-service.system-tests.run";
const REMOVE: &str = "--remove-containers-of-run";
const ANSWER: Duration = Duration::from_secs(5);
/// How long the engine may still be making a container that a killed client had ordered.
const STRAGGLER: Duration = Duration::from_secs(2);
const REMOVAL: Duration = Duration::from_mins(1);
const STEP: Duration = Duration::from_millis(100);

/// The engine, if it answers; else why not.
pub(crate) async fn engine() -> Result<Docker, String> {
    let docker = docker_client_instance().await.map_err(|error| with_causes(&error))?;
    match tokio::time::timeout(ANSWER, docker.ping()).await {
        Ok(Ok(_)) => Ok(docker),
        Ok(Err(error)) => Err(with_causes(&error)),
        Err(_) => Err(format!("no answer within {} s", ANSWER.as_secs())),
    }
}

/// An error with what is behind it, each once.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

/// One run of the system tests on an engine. Begun before the first container is made.
pub(crate) struct Run {
    docker: Docker,
    name: String,
    at_the_end: AtTheEnd,
}

impl Run {
    pub(crate) fn begin(docker: Docker) -> Result<Self, String> {
        let name = format!("{}-{}", std::process::id(), uuid::Uuid::new_v4().simple());
        let program = engines::this_executable::path().map_err(|error| error.to_string())?;
        let at_the_end = guard::at_the_end(Command::new(program).args([REMOVE, &name]));
        Ok(Self { docker, name, at_the_end: at_the_end.map_err(|error| error.to_string())? })
    }

    pub(crate) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// What [`LABEL`] says on its containers.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Removes whatever is left of it.
    pub(crate) async fn end(self) {
        match remove_all(&self.docker, &self.name, Duration::ZERO).await {
            Ok(()) => self.at_the_end.release(),
            // Not released: the guard tries again.
            Err(error) => {
                eprintln!("system tests: cannot remove the containers of this run: {}", with_causes(&error));
            }
        }
    }
}

/// Is the program that removes a run's containers, if this process was started as that.
pub(crate) fn remove_if_asked() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(REMOVE) {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let removed = runtime.block_on(async {
        let run = arguments.next().ok_or("which run?")?;
        let docker = engine().await?;
        remove_all(&docker, &run, STRAGGLER).await.map_err(|error| with_causes(&error))
    });
    if let Err(error) = &removed {
        eprintln!("system tests: {error}");
    }
    std::process::exit(i32::from(removed.is_err()));
}

/// Removes a run's containers until there have been none for so long.
async fn remove_all(docker: &Docker, run: &str, none_for: Duration) -> Result<(), EngineError> {
    let removing = async {
        let mut none_since = tokio::time::Instant::now();
        let mut looks = tokio::time::interval(STEP);
        loop {
            looks.tick().await;
            let found = of_run(docker, |label| label == run).await?;
            if found.is_empty() && none_since.elapsed() >= none_for {
                return Ok(());
            }
            for id in &found {
                remove(docker, id).await?;
                none_since = tokio::time::Instant::now();
            }
        }
    };
    let late = |_| EngineError::RequestTimeoutError;
    tokio::time::timeout(REMOVAL, removing).await.map_err(late)?
}

/// Dead or alive, with its anonymous volumes.
pub(crate) async fn remove(docker: &Docker, id: &str) -> Result<(), EngineError> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match docker.remove_container(id, Some(options)).await {
        // Gone, or just going, because somebody else removes it too.
        Err(EngineError::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
        other => other,
    }
}

/// The ids of all containers of system tests, running or not, whose run's name is as wished.
pub(crate) async fn of_run(
    docker: &Docker,
    wished: impl Fn(&str) -> bool,
) -> Result<Vec<String>, EngineError> {
    let filters = HashMap::from([("label".to_owned(), vec![LABEL.to_owned()])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let found = docker.list_containers(Some(options)).await?;
    let ours = found.into_iter().filter(|container| {
        let label = container.labels.as_ref().and_then(|labels| labels.get(LABEL));
        label.is_some_and(|label| wished(label))
    });
    Ok(ours.filter_map(|container| container.id).collect())
}
