//! The only file that prints. Standard output is data, standard error is talk.
//!
//! Colours go where a terminal shows them and `NO_COLOR` does not forbid it.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use super::failure::{Exit, Failure};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const CAUSE: Style = AnsiColor::Yellow.on_default();
const HINT: Style = AnsiColor::Cyan.on_default();

/// Writes data, and a line break.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        // The reader has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(Exit::Failed, error)),
        Ok(()) => Ok(()),
    }
}

/// Writes JSON for programs.
pub(crate) fn json(value: &Value) -> Result<(), Failure> {
    data(&format!("{value:#}"))
}

/// Says something to the person.
pub(crate) fn say(text: &str) {
    // Nobody is left to be told if this fails.
    let _unheard = writeln!(anstream::stderr().lock(), "{text}");
}

/// Asks the person, on the same line.
pub(crate) fn prompt(text: &str) {
    let mut err = anstream::stderr().lock();
    let _unheard = write!(err, "{text}").and_then(|()| err.flush());
}

/// What clap has to say: help and version are data, mistakes are talk.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let _unheard = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Says why the command failed, and gives the exit code.
pub(crate) fn failure(failure: &Failure) -> ExitCode {
    say(&rendered(failure));
    ExitCode::from(failure.exit as u8)
}

/// `error:`, then `cause:` for each deeper reason, then `hint:`.
fn rendered(failure: &Failure) -> String {
    let mut text = format!("{ERROR}error:{ERROR:#} {}", failure.error);
    let mut said = failure.error.to_string();
    for cause in failure.error.chain().skip(1) {
        let cause = cause.to_string();
        // Many messages end with their cause already.
        if !said.ends_with(&cause) {
            // Writing to a String cannot fail.
            let _ok = write!(text, "\n{CAUSE}cause:{CAUSE:#} {cause}");
        }
        said = cause;
    }
    for hint in &failure.hints {
        let _ok = write!(text, "\n{HINT}hint:{HINT:#} {hint}");
    }
    text
}

/// Rows in columns as wide as they need to be.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        })
        .collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_colour(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_failure_is_an_error_its_causes_and_a_hint() {
        let inner = anyhow::anyhow!("connection reset");
        let error = inner.context("the proxy did not answer");
        let failure = Failure::new(Exit::Unavailable, error).hint("look at its log");
        insta::assert_snapshot!(without_colour(&rendered(&failure)), @"
        error: the proxy did not answer
        cause: connection reset
        hint: look at its log
        ");
    }

    #[test]
    fn a_cause_that_the_message_ends_with_is_not_said_twice() {
        let error = crate::config::ConfigError::Unreadable {
            path: "/a".into(),
            source: io::Error::other("is a directory"),
        };
        let text = without_colour(&rendered(&Failure::from(error)));
        assert_eq!(text.matches("is a directory").count(), 1, "{text}");
        assert!(!text.contains("cause:"), "{text}");
    }
}
