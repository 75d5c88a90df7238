//! Every command with its help, as `--help` prints it.

use std::fmt::Write as _;

use clap::CommandFactory as _;

use super::MADE;
use crate::cli::args::Args;
use crate::cli::manual::{NAME, every};

pub(super) fn page() -> String {
    let mut root = Args::command().term_width(100);
    root.build();
    let mut text = format!(
        "{MADE}\n\n# Commands\n\nWhat `--help` says, command by command. Standard output is data, \
         standard error is talk; `NO_COLOR` is\nhonoured. Every failure ends in a hint.\n"
    );
    for (name, mut command) in every(NAME.to_owned(), root) {
        let spelled = command.get_bin_name().map_or_else(
            || name.replace(&format!("{NAME}-"), &format!("{NAME} ")),
            str::to_owned,
        );
        let level = if name == NAME { "##" } else { "###" };
        let help = command.render_long_help().to_string();
        let help: Vec<_> = help.lines().map(str::trim_end).collect();
        // Writing to a String cannot fail.
        let _ok = write!(
            text,
            "\n{level} `{spelled}`\n\n```text\n{}\n```\n",
            help.join("\n").trim_end()
        );
    }
    text
}
