//! The order-service program; everything is in its library.

use std::process::ExitCode;

fn main() -> ExitCode {
    order_service::command_line::main(std::env::args_os())
}
