//! The binary: see `wise_auth_proxy::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    wise_auth_proxy::cli::main()
}
