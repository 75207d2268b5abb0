//! # System tests
//!
//! Both services as processes of their own, on real servers, from the request to the record and the consumer's
//! line. Cases share the servers, never a database, topic or group; a case that hurts a server has one of
//! its own. Nothing sleeps and nothing is tried twice: a case waits for what must happen, up to a deadline.
//!
//! The same cases run on real servers in containers and on the local stack's engines: see [`lane`]. However this
//! program ends, no container, volume, process or folder of it remains.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program: a panic is a failed case, and its output is read by a person"
)]

mod cases;
mod docker;
#[path = "../churn/events.rs"]
mod events;
mod heard;
mod lane;
mod operator;
mod platform;
mod requests;
mod scene;
mod servers;
mod topic_reader;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Conclusion, Trial};
use tokio::runtime::Runtime;

use crate::cases::{CASES, Case, Needs, Play};
use crate::docker::Run;
use crate::lane::{Choice, Lane};
use crate::scene::{Scene, Stage};

fn main() -> ExitCode {
    engines::guard::enter_if_asked();
    docker::remove_if_asked();
    let arguments = Arguments::from_args();
    if arguments.list {
        let names = CASES.map(|case| Trial::test(case.name, || Ok(())));
        return libtest_mimic::run(&arguments, names.into()).exit_code();
    }
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    let conclusion = on_lane(&runtime, &arguments);
    // Here, and not by destructors: what exits by itself runs none.
    runtime.block_on(engines::guard::dismiss());
    match conclusion {
        Ok(conclusion) => conclusion.exit_code(),
        Err(sentence) => {
            eprintln!("system tests: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the cases that are asked for, and takes down what was put up for them; the error is why none of them ran.
fn on_lane(runtime: &Arc<Runtime>, arguments: &Arguments) -> Result<Conclusion, String> {
    let wish = std::env::var_os(lane::VARIABLE);
    let choice = runtime.block_on(lane::choose(wish.as_deref())).map_err(|error| error.to_string())?;
    let run = match &choice.lane {
        Lane::Docker(docker) => Some(Arc::new(Run::begin(docker.clone())?)),
        Lane::Local => None,
    };
    let conclusion = on_stage(runtime, arguments, choice, run.clone());
    if let Some(run) = run.and_then(Arc::into_inner) {
        runtime.block_on(run.end());
    }
    conclusion
}

fn on_stage(
    runtime: &Arc<Runtime>,
    arguments: &Arguments,
    choice: Choice,
    run: Option<Arc<Run>>,
) -> Result<Conclusion, String> {
    let asked_for = |case: &Case| !arguments.is_filtered_out(&Trial::test(case.name, || Ok(())));
    let on_scene = |case: &Case| matches!(case.play, Play::OnScene(_)) && missing(case, &choice).is_none();
    let stage = if CASES.iter().any(|case| asked_for(case) && on_scene(case)) {
        let stage = runtime.block_on(Stage::build(run)).map_err(|error| error.to_string())?;
        println!("system tests on {} ({})", stage.servers.describe(), choice.why);
        Some(Arc::new(stage))
    } else {
        println!("system tests without servers: no case that is asked for shares any here ({})", choice.why);
        None
    };
    let choice = Arc::new(choice);
    let trials = CASES.map(|case| trial(case, Arc::clone(runtime), stage.clone(), Arc::clone(&choice)));
    let conclusion = libtest_mimic::run(arguments, trials.into());
    if let Some(stage) = stage {
        runtime.block_on(Arc::into_inner(stage).expect("every case has ended").end());
    }
    Ok(conclusion)
}

/// Why a case cannot run in this lane.
fn missing(case: &Case, choice: &Choice) -> Option<String> {
    match case.needs {
        Needs::Nothing => None,
        Needs::Docker => choice.lacks_docker(),
    }
}

fn trial(case: Case, runtime: Arc<Runtime>, stage: Option<Arc<Stage>>, choice: Arc<Choice>) -> Trial {
    Trial::ignorable_test(case.name, move || {
        if let Some(reason) = missing(&case, &choice) {
            return Ok(Completion::ignored_with(reason));
        }
        runtime.block_on(async {
            match case.play {
                Play::OnScene(play) => play(Scene::set(stage.expect("built for this case")).await).await,
                Play::Alone(play) => play().await,
            }
        });
        Ok(Completion::Completed)
    })
}
