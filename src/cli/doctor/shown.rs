//! The outcome as a person and as a program read it.

use std::fmt::Write as _;
use std::time::SystemTime;

use anstyle::{AnsiColor, Effects, Style};
use serde_json::{Value, json};

use super::Diagnosis;
use super::check::{Checked, State};
use super::network::moment;
use crate::clock::{Clock as _, System};

const GOOD: Style = AnsiColor::Green.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const FAILED: Style = AnsiColor::Red.on_default().bold();
const FAINT: Style = Style::new().effects(Effects::DIMMED);
const HINT: Style = AnsiColor::Cyan.on_default();
const TITLE: Style = Style::new().effects(Effects::BOLD);

impl State {
    const ALL: [Self; 4] = [Self::Good, Self::Warning, Self::Failed, Self::Skipped];

    const fn mark(self) -> (&'static str, Style) {
        match self {
            Self::Good => ("✓", GOOD),
            Self::Warning => ("!", WARNING),
            Self::Failed => ("✗", FAILED),
            Self::Skipped => ("–", FAINT),
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "to look at",
            Self::Failed => "failed",
            Self::Skipped => "not checked",
        }
    }
}

/// One line a check, in groups, and below it what there is to say and to do.
pub(super) fn people(diagnosis: &Diagnosis) -> String {
    let checks = &diagnosis.checks;
    let width = checks.iter().map(|check| check.id.len()).max();
    let width = width.unwrap_or_default();
    let mut text = String::new();
    let mut group = None;
    for check in checks {
        if group != Some(check.group) {
            let gap = if group.is_some() { "\n" } else { "" };
            let title = check.group.title();
            // Writing to a String cannot fail.
            let _ok = writeln!(text, "{gap}{TITLE}{title}{TITLE:#}");
            group = Some(check.group);
        }
        lines(&mut text, check, width);
    }
    if diagnosis.loaded.is_none() {
        text.push_str("\nNothing else can be checked before the configuration can be read.\n");
    }
    let _ok = write!(text, "\n{}", tally(checks));
    text
}

fn lines(text: &mut String, check: &Checked, width: usize) {
    let (mark, style) = check.state().mark();
    let (id, said) = (&check.id, &check.finding.text);
    let said = if check.state() == State::Skipped {
        format!("{FAINT}{said}{FAINT:#}")
    } else {
        said.clone()
    };
    let _ok = writeln!(text, "  {style}{mark}{style:#} {id:width$}  {said}");
    let below = " ".repeat(width + 6);
    for detail in &check.finding.details {
        let _ok = writeln!(text, "{below}{FAINT}{detail}{FAINT:#}");
    }
    if let Some(hint) = &check.finding.hint {
        let _ok = writeln!(text, "{below}{HINT}hint:{HINT:#} {hint}");
    }
}

/// How many came out how, those first that there are always.
fn tally(checks: &[Checked]) -> String {
    let counted = State::ALL.into_iter().filter_map(|state| {
        let count = checks.iter().filter(|check| check.state() == state).count();
        let word = state.word();
        (count > 0 || state == State::Good).then(|| format!("{count} {word}"))
    });
    counted.collect::<Vec<_>>().join(", ")
}

/// Every check with its stable id.
pub(super) fn json(diagnosis: &Diagnosis) -> Value {
    json_at(diagnosis, System.wall())
}

pub(super) fn json_at(diagnosis: &Diagnosis, now: SystemTime) -> Value {
    let loaded = diagnosis.loaded.as_ref();
    let count = |state| {
        let checks = diagnosis.checks.iter();
        checks.filter(|check| check.state() == state).count()
    };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "checked": moment(now),
        "environment": loaded.map(|loaded| loaded.config.environment.to_string()),
        "lane": diagnosis.lane,
        "passed": diagnosis.failed().next().is_none(),
        "counts": {
            "good": count(State::Good),
            "warning": count(State::Warning),
            "failed": count(State::Failed),
            "skipped": count(State::Skipped),
        },
        "checks": diagnosis.checks.iter().map(of_check).collect::<Vec<_>>(),
    })
}

fn of_check(check: &Checked) -> Value {
    let finding = &check.finding;
    json!({
        "id": check.id,
        "group": check.group,
        "state": finding.state,
        "text": finding.text,
        "details": finding.details,
        "hint": finding.hint,
        "because": check.because,
        "facts": finding.facts,
        "duration_ms": u64::try_from(check.took.as_millis()).unwrap_or(u64::MAX),
    })
}
