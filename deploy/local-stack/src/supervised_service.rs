//! # A service that comes back
//!
//! Whoever kills a service, to see what happens, sees it started again after a second, with the same settings,
//! and so on the same ports.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::console::Console;
use crate::service_process::{OnLine, ServiceProcess, ServiceSpec};

const PAUSE: Duration = Duration::from_secs(1);

/// A service that is started again whenever it ends, until it is stopped.
#[derive(Debug)]
pub struct SupervisedService {
    name: String,
    id: watch::Receiver<i32>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl SupervisedService {
    /// Watches over a process that was started from `spec`.
    pub fn watch(process: ServiceProcess, spec: ServiceSpec, on_line: OnLine, console: Console) -> Self {
        let (tell, id) = watch::channel(process.id());
        let (stop, stopping) = watch::channel(false);
        let name = spec.name.clone();
        let task = tokio::spawn(Watch { spec, on_line, console, tell, stopping }.run(process));
        Self { name, id, stop, task }
    }

    /// How a person tells it from the others.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id as of now.
    pub fn id(&self) -> i32 {
        *self.id.borrow()
    }

    /// Asks it to finish, and returns when it has ended.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // A panic over there has dropped the process, which killed it.
        self.task.await.ok();
    }
}

struct Watch {
    spec: ServiceSpec,
    on_line: OnLine,
    console: Console,
    tell: watch::Sender<i32>,
    stopping: watch::Receiver<bool>,
}

impl Watch {
    async fn run(mut self, mut process: ServiceProcess) {
        loop {
            let status = tokio::select! {
                status = process.exited() => status,
                () = self.told_to_stop() => {
                    process.stop().await;
                    return;
                }
            };
            self.console.warning(&format!("{} ended ({status}); it is started again in 1 s", process.name()));
            let Some(next) = self.start_again().await else { return };
            process = next;
        }
    }

    async fn told_to_stop(&self) {
        // A handle that was dropped wants no more services either.
        self.stopping.clone().wait_for(|stop| *stop).await.ok();
    }

    /// The new process; none when the stack is stopping.
    async fn start_again(&mut self) -> Option<ServiceProcess> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = self.told_to_stop() => return None,
            }
            match self.spec.start(self.on_line.clone()) {
                Ok(process) => {
                    self.tell.send_replace(process.id());
                    self.console.warning(&format!(
                        "{} is started again as process {}",
                        process.name(),
                        process.id()
                    ));
                    return Some(process);
                }
                Err(error) => self.console.warning(&error.to_string()),
            }
        }
    }
}
