//! `local-stack`, and the services that it starts: one program for all of them, because a build of this
//! package builds no other package's programs.

use std::process::ExitCode;

fn main() -> ExitCode {
    engines::guard::enter_if_asked();
    match local_stack::multi_call::service_asked_for() {
        Some(service) => service.run(),
        None => local_stack::command_line::main(),
    }
}
