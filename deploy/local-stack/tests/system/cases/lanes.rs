//! How the lane is chosen, and what a run leaves behind: this program, started again.

use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;

use engines::child_process::ChildProcess;
use engines::guard::at_the_end;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use crate::docker::{self, Docker};
use crate::heard::within;
use crate::lane::VARIABLE;

const NO_ENGINE: &str = "unix:///no/such/docker.sock";
const ON_SCENE: &str = "an_order_arrives_in_its_exact_wire_form";
const IN_DOCKER: &str = "a_killed_test_run_leaves_no_container_and_no_volume";
const ALONE: &str = "a_lane_that_is_unknown_is_refused";

/// This program on its way through one case.
struct Inner {
    process: ChildProcess,
    said: mpsc::Receiver<String>,
}

impl Inner {
    fn start(lane: Option<&str>, docker_host: Option<&str>, case: &str) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let process = {
            let mut command = Command::new(std::env::current_exe().expect("our own path"));
            command.args(["--exact", case]).env_remove(VARIABLE).stdin(Stdio::null());
            command
                .envs(lane.map(|lane| (VARIABLE, lane)))
                .envs(docker_host.map(|host| ("DOCKER_HOST", host)));
            command.stdout(writer.try_clone().expect("a pipe")).stderr(writer);
            ChildProcess::spawn(&mut command).expect("starts")
        };
        let (tell, said) = mpsc::channel();
        std::thread::spawn(move || {
            for line in std::io::BufRead::lines(std::io::BufReader::new(reader)) {
                // Nobody listens any more once the case has what it wanted.
                tell.send(line.expect("text")).ok();
            }
        });
        Self { process, said }
    }

    async fn ends(self) -> (ExitStatus, String) {
        let status = within("it ends", self.process.exited()).await;
        (status, self.said.iter().collect::<Vec<_>>().join("\n"))
    }
}

/// Ended with a failure, before any case, with exactly this sentence.
async fn refused(inner: Inner, sentence: &str) {
    let (status, said) = inner.ends().await;
    assert!(!status.success(), "{said}");
    assert_eq!(said, format!("system tests: {sentence}"));
}

pub(crate) async fn unknown() {
    let sentence = "SYSTEM_TESTS=dokcer is unknown: it may be auto, docker or local";
    refused(Inner::start(Some("dokcer"), None, ON_SCENE), sentence).await;
}

pub(crate) async fn no_engine() {
    let (status, said) = Inner::start(Some("docker"), Some(NO_ENGINE), ON_SCENE).ends().await;
    assert!(!status.success(), "{said}");
    assert!(said.starts_with("system tests: SYSTEM_TESTS=docker, but no Docker engine answers ("), "{said}");
    assert!(said.ends_with("start one or correct DOCKER_HOST, or take SYSTEM_TESTS=local"), "{said}");
    assert_eq!(said.lines().count(), 1, "no case was run: {said}");
}

/// An engine that answers is taken by `auto` too, and what it lacks is not replaced by something else.
pub(crate) async fn no_images() {
    let socket = std::env::temp_dir().join(format!("system-tests-empty-engine-{}.sock", std::process::id()));
    let removal = at_the_end(Command::new("rm").arg("-f").arg(&socket)).expect("the guard hears");
    let engine = tokio::spawn(empty_engine(UnixListener::bind(&socket).expect("a socket")));
    let host = format!("unix://{}", socket.display());
    for lane in [None, Some("auto"), Some("docker")] {
        let (status, said) = Inner::start(lane, Some(&host), ON_SCENE).ends().await;
        assert!(!status.success(), "{said}");
        let sentence = "system tests: the Docker engine has no image postgres:17 and cannot pull it (";
        assert!(said.lines().last().is_some_and(|last| last.starts_with(sentence)), "{said}");
        assert!(said.ends_with("(docker pull postgres:17), or take SYSTEM_TESTS=local"), "{said}");
        assert!(!said.contains("running"), "no case was run: {said}");
    }
    engine.abort();
    removal.now().expect("the socket is removed");
}

/// Answers a ping, lists nothing, and has nothing else.
async fn empty_engine(listener: UnixListener) {
    loop {
        let (mut connection, _) = listener.accept().await.expect("a connection");
        tokio::spawn(async move {
            let mut request = [0; 4096];
            while let Ok(length @ 1..) = connection.read(&mut request).await {
                let text = String::from_utf8_lossy(&request[..length]);
                let (status, body) = match text.split(' ').nth(1) {
                    Some(path) if path.ends_with("/_ping") => ("200 OK", "OK"),
                    Some(path) if path.contains("/containers/json") => ("200 OK", "[]"),
                    Some(_) | None => ("404 Not Found", r#"{"message":"nothing is here"}"#),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                if connection.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// And the run is none the worse for it; its first line says why it is this lane.
pub(crate) async fn ignored() {
    for (lane, why) in
        [(None, "SYSTEM_TESTS=auto: no Docker engine answers: "), (Some("local"), "SYSTEM_TESTS=local")]
    {
        let (status, said) = Inner::start(lane, Some(NO_ENGINE), IN_DOCKER).ends().await;
        assert!(status.success(), "{said}");
        assert!(said.lines().next().is_some_and(|first| first.contains(why)), "{said}");
        assert!(said.contains(&format!("ignored (needs Docker; {why}")), "{said}");
        assert!(said.contains("0 passed; 0 failed; 1 ignored"), "{said}");
    }
    // A case that brings its own servers needs none of ours to be started.
    let (status, said) = Inner::start(Some("local"), Some(NO_ENGINE), ALONE).ends().await;
    assert!(status.success() && said.starts_with("system tests without servers"), "{said}");
}

/// SIGKILL while the first container is being made, and again when all of them are at work.
pub(crate) async fn killed() {
    let docker = docker::engine().await.expect("an engine answers");
    for all_at_work in [false, true] {
        let inner = Inner::start(Some("docker"), None, ON_SCENE);
        if all_at_work {
            let first = inner.said.iter().next().expect("it says something");
            assert!(first.starts_with("system tests on Apache Kafka 4.1.1 (apache/kafka:4.1.1)"), "{first}");
            assert!(first.ends_with("in containers (SYSTEM_TESTS=docker)"), "{first}");
        } else {
            within("a container is made", until(&docker, &inner, |count| count > 0)).await;
        }
        let containers = of(&docker, &inner).await;
        let volumes = volumes_of(&docker, &containers).await;
        assert!(!all_at_work || (containers.len() == 2 && !volumes.is_empty()), "{containers:?} {volumes:?}");
        inner.process.kill();
        inner.process.exited().await;
        within("no container is left", until(&docker, &inner, |count| count == 0)).await;
        let gone = async {
            for volume in &volumes {
                while docker.inspect_volume(volume).await.is_ok() {}
            }
        };
        within("no volume is left", gone).await;
    }
}

/// The containers of the run of that process.
async fn of(docker: &Docker, inner: &Inner) -> Vec<String> {
    let run = format!("{}-", inner.process.id());
    docker::of_run(docker, |name| name.starts_with(&run)).await.expect("the engine answers")
}

async fn until(docker: &Docker, inner: &Inner, enough: impl Fn(usize) -> bool) {
    while !enough(of(docker, inner).await.len()) {
        tokio::task::yield_now().await;
    }
}

async fn volumes_of(docker: &Docker, containers: &[String]) -> Vec<String> {
    let mut volumes = Vec::new();
    for container in containers {
        // It may be just going.
        let Ok(seen) = docker.inspect_container(container, None).await else { continue };
        volumes.extend(seen.mounts.into_iter().flatten().filter_map(|mount| mount.name));
    }
    volumes
}
