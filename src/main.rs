//! Parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(capt_spot::run(std::env::args_os().collect()).code())
}
