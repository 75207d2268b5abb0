//! data-platform-consumer: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    data_platform_consumer::command_line::main(std::env::args_os())
}
