//! # The command `docker compose`
//!
//! On the repository's own file, with a project name and values of its own: neither a user's `.env` nor his
//! environment changes what is tested. Every command runs in the guard's group, so that none goes on making containers
//! when we are killed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use engines::child_process::{self, ChildProcess};
use tokio::runtime::Runtime;

/// One project of the compose file.
pub(crate) struct Compose {
    project: String,
    file: PathBuf,
    values: Vec<(&'static str, String)>,
}

impl Compose {
    pub(crate) fn new(project: String, values: Vec<(&'static str, String)>) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let file = root.join("docker-compose.yml").canonicalize().expect("the compose file");
        Self { project, file, values }
    }

    pub(crate) fn project(&self) -> &str {
        &self.project
    }

    /// `docker compose` with these arguments, to be run.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        // Without the environment of whoever runs the tests, but for what docker itself wants.
        let kept = std::env::vars_os().filter(|(name, _)| {
            let name = name.to_string_lossy();
            ["PATH", "HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"].contains(&name.as_ref())
                || name.starts_with("DOCKER_")
                || name.starts_with("BUILDKIT_")
        });
        command
            .env_clear()
            .envs(kept)
            .envs(self.values.iter().map(|(name, value)| (name, value)))
            .args(["compose", "--env-file", "/dev/null", "--ansi", "never"])
            .arg("--project-name")
            .arg(&self.project)
            .arg("--file")
            .arg(&self.file)
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs it, which must succeed; what it printed, errors last.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        successful(&mut self.command(arguments))
    }

    /// Runs it with its output shown, since it may take minutes.
    pub(crate) fn run_shown(&self, runtime: &Runtime, arguments: &[&str]) {
        let running = ChildProcess::spawn(&mut self.command(arguments)).expect("docker starts");
        let status = runtime.block_on(running.exited());
        assert!(status.success(), "docker compose {} ended with {status}", arguments.join(" "));
    }

    /// The containers of a part, running or not, oldest number first.
    pub(crate) fn containers(&self, part: &str) -> Vec<String> {
        let listed = self.run(&["ps", "--all", "--quiet", "--no-trunc", part]);
        let mut ids: Vec<String> = listed.lines().map(str::to_owned).collect();
        ids.sort_by_key(|id| docker(&["inspect", "--format", "{{.Name}}", id]));
        ids
    }
}

/// Runs `docker` with these arguments, which must succeed; what it printed.
pub(crate) fn docker(arguments: &[&str]) -> String {
    successful(Command::new("docker").args(arguments)).trim().to_owned()
}

fn successful(command: &mut Command) -> String {
    let (status, said) = child_process::run(command).expect("docker starts");
    assert!(status.success(), "{command:?} ended with {status}: {said}");
    said
}
