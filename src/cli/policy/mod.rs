//! `policy test`, `policy list` and `policy sets`: what a policy makes of a request, before it is one.
//!
//! All of it comes from the configuration and the table of operations; nothing is asked and no
//! proxy need run.

mod list;
mod sets;
mod test;

use super::args::{Global, PolicyCommand};
use super::failure::Failure;

pub(crate) fn run(global: &Global, command: &PolicyCommand) -> Result<(), Failure> {
    match command {
        PolicyCommand::Test(args) => test::run(global, args),
        PolicyCommand::List { json } => list::run(global, *json),
        PolicyCommand::Sets { name, json } => sets::run(name.as_deref(), *json),
    }
}
