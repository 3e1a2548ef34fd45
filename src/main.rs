//! The `tenter` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    tenter::cli::main()
}
