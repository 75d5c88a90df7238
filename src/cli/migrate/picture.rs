//! The list as a person sees it, and as a program reads it.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::evidence::{Evidence, Guide, Start};
use super::next::Next;
use super::step::Step;
use super::steps::{Judged, State, first, how};

const DONE: Style = AnsiColor::Green.on_default();
const NEXT: Style = AnsiColor::Yellow.on_default().bold();
const OPEN: Style = AnsiColor::Yellow.on_default();
const DIM: Style = Style::new().dimmed();
const COMMAND: Style = AnsiColor::Cyan.on_default().bold();

/// The picture.
pub(super) fn drawn(evidence: &Evidence, steps: &[Judged]) -> String {
    let mut text = format!(
        "migration in {}, from {}\n",
        match evidence.guide {
            Guide::Sandbox => "the sandbox",
            Guide::Production => "production",
        },
        match evidence.start {
            Start::PersonalToken => "a personal token",
            Start::ClientCredentials => "client credentials over ordinary TLS",
        }
    );
    let next = first(steps);
    let width = steps.iter().map(|judged| judged.step.name().len()).max();
    let width = width.unwrap_or_default();
    // Writing to a String cannot fail, here and below.
    for judged in steps {
        let is_next = next.is_some_and(|(step, _)| step == judged.step);
        let (sign, style, seen) = match &judged.state {
            State::Done => ("✓", DONE, judged.evidence.clone()),
            State::ToDo(_) if is_next => ("▸", NEXT, judged.evidence.clone()),
            State::ToDo(_) => ("○", OPEN, judged.evidence.clone()),
            State::Blocked(by) => ("·", DIM, format!("blocked by {}", by.name())),
        };
        let name = judged.step.name();
        let _ok = writeln!(
            text,
            "  {style}{sign} {name:width$}{style:#}  {}",
            fit(&seen)
        );
        // Of the next one the last line says more.
        if let State::ToDo(then) = &judged.state
            && !is_next
        {
            let command = then.command.as_deref().unwrap_or(&then.text);
            let _ok = writeln!(text, "    {:width$}  {DIM}{}{DIM:#}", "", fit(command));
        }
    }
    let done = done(steps);
    let _ok = write!(text, "{done} of {} done", steps.len());
    if let Some((_, next)) = next {
        let _ok = write!(text, "\nnext: {}", lit(&next.text));
    }
    let _ok = write!(text, "\n{DIM}{}{DIM:#}", other(evidence.guide));
    text
}

/// The same for programs.
pub(super) fn as_json(evidence: &Evidence, steps: &[Judged]) -> Value {
    let next = |next: &Next| json!({ "text": next.text, "command": next.command });
    let list = steps.iter().map(|judged| {
        let (state, by, to_do) = match &judged.state {
            State::Done => ("done", None, Value::Null),
            State::ToDo(then) => ("to-do", None, next(then)),
            // For who wants to look ahead.
            State::Blocked(by) => {
                let then = how(judged.step, evidence);
                (
                    "blocked",
                    Some(*by),
                    then.as_ref().map_or(Value::Null, next),
                )
            }
        };
        json!({
            "step": judged.step.name(),
            "title": judged.step.title(),
            "state": state,
            "blocked_by": by.map(Step::name),
            "evidence": judged.evidence,
            "next": to_do,
        })
    });
    json!({
        "guide": evidence.guide.name(),
        "other": other(evidence.guide),
        "from": evidence.start.name(),
        "configuration": evidence.configuration,
        "steps": list.collect::<Vec<_>>(),
        "done": done(steps),
        "total": steps.len(),
        "next": first(steps).map(|(step, then)| {
            json!({ "step": step.name(), "text": then.text, "command": then.command })
        }),
    })
}

fn done(steps: &[Judged]) -> usize {
    let done = steps.iter().filter(|judged| judged.state == State::Done);
    done.count()
}

/// The other half of the guide is another configuration.
fn other(guide: Guide) -> String {
    let (half, name, then) = match guide {
        Guide::Sandbox => ("production", "production", "comes after it"),
        Guide::Production => ("the sandbox", "sandbox", "comes before it"),
    };
    format!(
        "{half} {then}, with a configuration of its own: \
         `wise-auth-proxy init --environment {name} --config {name}.toml`"
    )
}

/// One line's worth.
fn fit(seen: &str) -> String {
    seen.replace(char::is_control, " ")
}

/// With its commands in their colour.
fn lit(text: &str) -> String {
    let mut lit = String::new();
    for (at, part) in text.split('`').enumerate() {
        if at % 2 == 1 {
            let _ok = write!(lit, "{COMMAND}`{part}`{COMMAND:#}");
        } else {
            lit.push_str(part);
        }
    }
    lit
}
