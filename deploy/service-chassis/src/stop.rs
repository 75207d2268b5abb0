//! # Stop signal
//!
//! SIGTERM (an orchestrator) and SIGINT (Ctrl-C) ask for the same: finish what runs, then exit 0. The handlers
//! stand from [`StopSignals::listen`] on, not from the first wait: a signal that arrives while a service
//! is still starting is kept, instead of killing it half built.

use std::fmt;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Which signal asked the service to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGTERM, as an orchestrator sends it.
    Terminate,
    /// SIGINT, as Ctrl-C sends it.
    Interrupt,
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        })
    }
}

/// The stop signals of this process, from now on kept until they are asked for.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Takes the signals over; from here on they no longer end the process by themselves. Needs a tokio runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next stop signal. Asked again, it waits for a second one: an operator who is out of patience.
    pub async fn received(&mut self) -> StopSignal {
        // A closed stream means that the runtime is going down, which asks for the same.
        tokio::select! {
            _ = self.terminate.recv() => StopSignal::Terminate,
            _ = self.interrupt.recv() => StopSignal::Interrupt,
        }
    }
}

/// Takes the signals over and waits for the first: for a program that has nothing to start before.
pub async fn stop_signal() -> io::Result<StopSignal> {
    Ok(StopSignals::listen()?.received().await)
}
