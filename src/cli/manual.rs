//! `completions` and `man`: what shells and `man` want to know of the commands, made of the very
//! definitions that parse them.

use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use super::args::Args;
use super::failure::{Exit, Failure};
use super::report;

pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), NAME, &mut script);
    report::data(String::from_utf8_lossy(&script).trim_end())
}

/// One page for everything on standard output, or one for each command in a directory.
pub(crate) fn man(out: Option<&Path>) -> Result<(), Failure> {
    let mut root = Args::command();
    // Names of subcommands, and the flags that all of them have.
    root.build();
    let Some(out) = out else {
        return report::data(page(root).map_err(Failure::impossible)?.trim_end());
    };
    let write = |name: &str, command: clap::Command| {
        let path = out.join(format!("{name}.1"));
        let text = page(command).map_err(Failure::impossible)?;
        fs::write(&path, text).map_err(|error| {
            let error =
                anyhow::Error::new(error).context(format!("cannot write {}", path.display()));
            Failure::new(Exit::Failed, error).hint("name a directory that is there and takes files")
        })
    };
    let mut number = 0_usize;
    for (name, command) in every(NAME.to_owned(), root) {
        write(&name, command)?;
        number += 1;
    }
    report::say(&format!("{number} pages are in {}", out.display()));
    Ok(())
}

/// A command and all below it, hidden ones left out, each with its page's name.
pub(super) fn every(name: String, command: clap::Command) -> Vec<(String, clap::Command)> {
    let below = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set());
    let below: Vec<_> = below
        .flat_map(|below| every(format!("{name}-{}", below.get_name()), below.clone()))
        .collect();
    std::iter::once((name, command)).chain(below).collect()
}

fn page(command: clap::Command) -> std::io::Result<String> {
    let mut text = Vec::new();
    Man::new(command).render(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

pub(super) const NAME: &str = "wise-auth-proxy";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_is_shown_has_a_page_of_its_own() {
        let mut root = Args::command();
        root.build();
        let names: Vec<_> = every(NAME.to_owned(), root)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        for wanted in [
            "wise-auth-proxy",
            "wise-auth-proxy-run",
            "wise-auth-proxy-token-export",
        ] {
            assert!(names.iter().any(|name| name == wanted), "{names:?}");
        }
        assert!(!names.iter().any(|name| name.ends_with("-reference")));
    }
}
