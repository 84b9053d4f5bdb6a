//! The `hallmark` binary: parse arguments, run, exit code.

use std::process::ExitCode;

/// Answers of some ten thousand bytes are made and given up thousands of times a second (ARCHITECTURE.md D-37).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hallmark::cli::run(std::env::args_os())
}
