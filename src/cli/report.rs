//! The only file that prints. Standard output is data, standard error is talk.
//!
//! Colours go where a terminal shows them and `NO_COLOR` does not forbid it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use super::failure::{Exit, Failure};
use super::spelling;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const CAUSE: Style = AnsiColor::Yellow.on_default();
const HINT: Style = AnsiColor::Cyan.on_default();

/// Writes data, and a line break.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    is_heard(text).map(drop)
}

/// As [`data`]; false: the reader has seen enough and is gone, as `head` does.
pub(crate) fn is_heard(text: &str) -> Result<bool, Failure> {
    let mut out = anstream::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(unheard(error)),
        Ok(()) => Ok(true),
    }
}

/// Standard output takes no more.
pub(crate) fn unheard(error: io::Error) -> Failure {
    let error = anyhow::Error::new(error).context("cannot write to standard output");
    Failure::new(Exit::Failed, error)
        .hint("see that the disk, file or terminal that it leads to can be written to")
}

/// Writes to a terminal as it is, in one piece.
pub(crate) fn terminal(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
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

/// A line on a terminal that says what takes so long; nothing anywhere else.
#[derive(Debug)]
pub(crate) struct Progress {
    heard: bool,
    steps: usize,
    /// How much of the line is written on.
    width: usize,
}

impl Progress {
    /// From one step to the next.
    const STEP: Duration = Duration::from_millis(100);

    /// What is over before that many steps is not spoken of.
    const PATIENCE: usize = 3;

    pub(crate) fn new() -> Self {
        Self {
            heard: io::stderr().is_terminal(),
            ..Self::silent()
        }
    }

    /// One that says nothing.
    pub(crate) fn silent() -> Self {
        Self {
            heard: false,
            steps: 0,
            width: 0,
        }
    }

    /// Awaits some work, and says meanwhile what it is.
    pub(crate) async fn along<T>(&mut self, doing: &str, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut ticks = tokio::time::interval(Self::STEP);
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = &mut work => break outcome,
                _ = ticks.tick() => self.step(doing),
            }
        };
        self.clear();
        outcome
    }

    /// As [`Self::along`], for work that keeps its thread busy.
    pub(crate) fn during<T>(mut self, doing: &str, work: impl FnOnce() -> T) -> T {
        if !self.heard {
            return work();
        }
        thread::scope(|scope| {
            let (working, worked) = mpsc::channel::<()>();
            scope.spawn(move || {
                while worked.recv_timeout(Self::STEP) == Err(mpsc::RecvTimeoutError::Timeout) {
                    self.step(doing);
                }
                self.clear();
            });
            let outcome = work();
            drop(working);
            outcome
        })
    }

    /// Time passes with this.
    fn step(&mut self, doing: &str) {
        self.steps += 1;
        if self.heard && self.steps > Self::PATIENCE {
            let wheel = ["|", "/", "-", "\\"][self.steps % 4];
            self.write(&format!("{wheel} {doing} …"));
        }
    }

    /// It is done: the line is as it was before.
    fn clear(&mut self) {
        self.steps = 0;
        if self.width > 0 {
            self.write("");
            self.write("\r");
            self.width = 0;
        }
    }

    fn write(&mut self, text: &str) {
        // Spaces instead of control sequences: every terminal knows them.
        let width = self.width;
        let mut out = io::stderr().lock();
        let _unheard = write!(out, "\r{text:width$}").and_then(|()| out.flush());
        self.width = text.chars().count();
    }
}

/// What clap has to say: help and version are data, mistakes are talk.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let _unheard = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Says why the command failed, and gives the exit code. `config`: the file that was named, for the
/// commands to type next.
pub(crate) fn failure(failure: &Failure, config: Option<&Path>) -> ExitCode {
    say(&spelling::text(config, &rendered(failure)));
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
    for hint in failure.hints() {
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
