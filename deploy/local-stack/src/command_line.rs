//! # The command
//!
//! Starts the stack, shows the orders, stays or ends, and takes everything down again however it comes: Ctrl-C,
//! SIGTERM, a closed terminal, an error. A second Ctrl-C does not wait for anything; the guard does the rest.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use engines::guard;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::arguments::Arguments;
use crate::console::Console;
use crate::flash_sale;
use crate::stack::Stack;

/// The whole program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure(&format!("cannot start: {error}")),
    };
    let code = runtime.block_on(run(&arguments, &Console::default()));
    // Nothing that still blocks, such as a fetch that was cut short, may hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

async fn run(arguments: &Arguments, console: &Console) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return failure(&format!("cannot listen for signals: {error}")),
    };
    let stack = tokio::select! {
        started = Stack::start(arguments, console) => started,
        () = told_to_end(&mut signals, console) => {
            // What was begun is dropped half-way; the guard knows of all of it.
            end(console, &mut signals, guard::dismiss()).await;
            return told(arguments);
        }
    };
    let code = match stack {
        Ok(stack) => live(arguments, console, &mut signals, stack).await,
        Err(error) => failure(&error.to_string()),
    };
    guard::dismiss().await;
    code
}

/// From ready to gone.
async fn live(arguments: &Arguments, console: &Console, signals: &mut Signals, stack: Stack) -> ExitCode {
    let code = tokio::select! {
        code = show_and_stay(arguments, &stack) => code,
        why = broken(&stack) => failure(&why),
        () = told_to_end(signals, console) => told(arguments),
    };
    end(console, signals, stack.stop()).await;
    code
}

/// Who ends it has what he wanted, unless he wanted to see every order arrive.
fn told(arguments: &Arguments) -> ExitCode {
    if arguments.once { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn show_and_stay(arguments: &Arguments, stack: &Stack) -> ExitCode {
    let shown = if arguments.flash_sale {
        stack.show_flash_sale(flash_sale::SHOWN).await
    } else {
        stack
            .show_orders(arguments.orders)
            .await
            .map(|summary| (summary.is_good(), summary.placed.product_id))
    };
    let (good, product_id) = match shown {
        Ok(shown) => shown,
        Err(error) => return failure(&error.to_string()),
    };
    if arguments.once {
        return if good { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    stack.invite(product_id);
    std::future::pending().await
}

async fn broken(stack: &Stack) -> String {
    let guard = async {
        // None to be had means that it has ended already.
        if let Ok(guard) = guard::of_this_process() {
            guard.ended().await;
        }
    };
    tokio::select! {
        why = stack.broken() => why,
        () = guard => "the guard process was killed, and without it a crash would leave things behind".to_owned(),
    }
}

/// Waits for a good end, but not beyond the next signal.
async fn end(console: &Console, signals: &mut Signals, ending: impl Future<Output = ()>) {
    console.progress("ending");
    tokio::select! {
        () = ending => console.progress("gone"),
        () = signals.any() => {
            // Leaves no time for destructors; the guard sees us go and ends the rest.
            std::process::exit(130);
        }
    }
}

/// Returns at a signal, or when nobody reads any more what we say.
async fn told_to_end(signals: &mut Signals, console: &Console) {
    tokio::select! {
        () = signals.any() => {}
        () = console.closed() => {}
    }
}

struct Signals {
    each: [Signal; 3],
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let listen = |kind| signal(kind);
        Ok(Self {
            each: [
                listen(SignalKind::interrupt())?,
                listen(SignalKind::terminate())?,
                listen(SignalKind::hangup())?,
            ],
        })
    }

    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.each;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// One sentence where errors belong. That nobody reads it cannot be told to anybody.
fn failure(sentence: &str) -> ExitCode {
    writeln!(std::io::stderr().lock(), "local-stack: {sentence}").ok();
    ExitCode::FAILURE
}
