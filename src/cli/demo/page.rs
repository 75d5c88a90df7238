//! How the story looks: numbered steps, one line that explains each, blocks with a bar, marks.

use anstyle::{AnsiColor, Style};

use super::super::failure::Failure;
use super::super::report;
use super::verdict::{Check, Step, Verdict};

const TITLE: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const COMMAND: Style = AnsiColor::Cyan.on_default();

/// Where the story goes: standard output, or nowhere when only the verdict is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    pub(super) silent: bool,
}

impl Page {
    pub(super) fn line(self, text: &str) -> Result<(), Failure> {
        if self.silent {
            return Ok(());
        }
        report::data(text)
    }

    /// A step: what it is, what happened, and its marks.
    pub(super) fn step(self, step: &Step, explained: &str) -> Result<(), Failure> {
        let Step { number, title, .. } = step;
        self.line(&format!(
            "\n{TITLE}{number}  {title}{TITLE:#}\n   {explained}"
        ))?;
        for (caption, block) in &step.figures {
            self.line(&format!("\n   {FAINT}{caption}{FAINT:#}"))?;
            for line in block.lines() {
                let line = format!("   {FAINT}│{FAINT:#} {line}");
                self.line(line.trim_end())?;
            }
        }
        self.line("")?;
        for check in &step.checks {
            self.line(&format!("   {}", mark(check)))?;
        }
        Ok(())
    }

    /// Something to type.
    pub(super) fn command(self, what: &str, text: &str) -> Result<(), Failure> {
        self.line(&format!(
            "   {FAINT}# {what}{FAINT:#}\n   {COMMAND}{text}{COMMAND:#}"
        ))
    }

    /// One mark a step, and the sum.
    pub(super) fn verdict(self, verdict: &Verdict) -> Result<(), Failure> {
        self.line("")?;
        for step in &verdict.steps {
            let Step { number, title, .. } = step;
            let sign = sign(step.passed());
            self.line(&format!("{sign} {number} {title}"))?;
        }
        let promises: usize = verdict.steps.iter().map(|step| step.checks.len()).sum();
        let kept = verdict.steps.iter().flat_map(|step| &step.checks);
        let kept = kept.filter(|check| check.passed()).count();
        self.line(&format!("{kept} of {promises} promises kept"))
    }
}

fn sign(passed: bool) -> String {
    if passed {
        format!("{GOOD}✓{GOOD:#}")
    } else {
        format!("{BAD}✗{BAD:#}")
    }
}

/// A kept promise is one line; a broken one says what was expected and what was found.
fn mark(check: &Check) -> String {
    let sign = sign(check.passed());
    let promise = &check.promise;
    if check.passed() {
        return format!("{sign} {promise}: {}", check.found);
    }
    format!(
        "{sign} {promise}\n     expected: {}\n     found:    {}",
        check.expected, check.found
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_promise_says_what_was_expected_and_what_was_found() {
        let mut step = Step::new(1, "A request");
        let broken = mark(step.check("the application's answer", 200, 401));
        let kept = mark(step.check("requests at Wise", 1, 1));
        let text = format!("{broken}\n{kept}");
        insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string(), @"
        ✗ the application's answer
             expected: 200
             found:    401
        ✓ requests at Wise: 1
        ");
    }
}
