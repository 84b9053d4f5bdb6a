//! The `hallmark` binary: parse arguments, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    hallmark::cli::run(std::env::args_os())
}
