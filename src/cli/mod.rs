//! The commands: what a person types, and what the program says back.
//!
//! Each command is a file with a `run`. Standard output is data, standard error is talk, and only
//! `report` writes to either. No command decides anything about money: it asks the running proxy,
//! builds one, or prepares what one needs.

mod admin_client;
mod args;
mod audit;
mod ca;
mod callback;
mod caller;
mod cert;
mod config;
mod csr;
mod demo;
mod doctor;
mod failure;
mod init;
mod jose;
mod keys;
mod line;
mod login;
mod manual;
mod migrate;
mod notify;
mod overview;
mod passphrase;
mod policy;
mod reference;
mod reload;
mod report;
mod run;
mod sca;
mod screen;
mod sheet;
mod shutdown;
mod simulator;
mod spelling;
mod status;
mod switch;
mod terminal;
mod token;
mod wait;
mod watch;
mod webhook;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use self::args::{Args, Command};
use self::failure::{Exit, Failure};
use crate::confinement;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(usage) => return report::usage(&usage),
    };
    let config = args.global.config_file().map(Path::to_owned);
    match args
        .global
        .complete(std::env::args_os())
        .and_then(|()| run(args))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report::failure(&failure, config.as_deref()),
    }
}

fn run(args: Args) -> Result<(), Failure> {
    let Args { global, command } = args;
    if !matches!(command, Command::Run) {
        // `run` asks its configuration first.
        confinement::close_memory().map_err(|error| {
            Failure::new(Exit::Failed, error)
                .hint("something keeps this process from switching its core dumps off")
        })?;
    }
    match command {
        Command::Init(args) => init::run(&global, &args),
        Command::Migrate(args) => migrate::run(&global, &args.command),
        Command::Run => run::run(&global),
        Command::Login(args) => login::run(&global, &args),
        Command::Caller(args) => caller::run(&global, &args.command),
        Command::Csr(args) => csr::run(&global, &args),
        Command::Cert(args) => cert::run(&global, &args.command),
        Command::Ca(args) => ca::run(&global, &args.command),
        Command::Jose(args) => jose::run(&global, &args.command),
        Command::Sca(args) => sca::run(&global, &args.command),
        Command::Webhook(args) => webhook::run(&global, &args.command),
        Command::Simulator(args) => simulator::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Switch(args) => switch::run(&global, &args),
        Command::Status(args) => status::run(&global, &args),
        Command::Doctor(args) => doctor::run(&global, &args),
        Command::Token(args) => token::run(&global, &args),
        Command::Reload(args) => reload::run(&global, &args),
        Command::Wait(args) => wait::run(&global, &args),
        Command::Shutdown(args) => shutdown::run(&global, &args),
        Command::Audit(args) => audit::run(&global, &args.command),
        Command::Policy(args) => policy::run(&global, &args.command),
        Command::Notify(args) => notify::run(&global, &args.command),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { out } => manual::man(out.as_deref()),
        Command::Reference { page } => report::data(reference::page(page).trim_end()),
        Command::Config(args) => config::run(&global, &args.command),
    }
}
