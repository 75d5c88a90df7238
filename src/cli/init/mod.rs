//! `init`: from a few answers to a configuration and a checklist.
//!
//! Everything is asked (`interview`) before anything is written (`writing`). A new file is
//! `render`ed with its reasons; one that is there is `patch`ed and keeps what a person wrote. What
//! would change is shown first.

mod answers;
mod before;
mod checklist;
mod interview;
mod patch;
mod profiles;
mod render;
#[cfg(test)]
mod tests;
mod voice;
mod writing;

use std::fs;
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use serde_json::json;
use similar::TextDiff;

use self::answers::Source;
use self::before::Before;
use self::interview::{Heard, interview};
use self::voice::Voice;
use self::writing::{Sheet, write};
use super::args::{Global, InitArgs};
use super::failure::{Exit, Failure};
use super::migrate::{self, Begun};
use super::report;
use crate::config::{Config, FileChoice, Sources, load};

const CHECKLIST: &str = "MIGRATION";

pub(crate) fn run(global: &Global, args: &InitArgs) -> Result<(), Failure> {
    let before = Before::look(global)?;
    let mut voice = Voice::new(args.yes);
    if !args.yes {
        greet(&before);
    }
    let heard = interview(args, &before, &mut voice)?;
    let text = match &before.text {
        Some(_) => patch::patched(&before, &heard.answers),
        None => render::render(&heard.answers),
    };
    let config = check(&before, &text)?;
    let plan = Plan::of(global, &before, &heard, text, &config);
    let diff = plan.diff();
    if !diff.is_empty() && !args.force {
        report::say(&coloured(&diff));
        if !voice.consent("Write these changes? The old files are kept as .bak")? {
            let error = anyhow::anyhow!("files that are there would change; nothing was written");
            return Err(Failure::new(Exit::Failed, error)
                .hint("--force writes the changes, and keeps each old file as .bak"));
        }
    }
    write(&plan.dirs, &plan.sheets()).map_err(|error| {
        let denied = error.source.kind() == std::io::ErrorKind::PermissionDenied;
        let exit = if denied {
            Exit::Permission
        } else {
            Exit::Failed
        };
        Failure::new(exit, error).hint(
            "choose places of yours with --config and --state, make room there, or run it as the \
             user that the proxy will run as",
        )
    })?;
    plan.tell(global, args.json)
}

fn greet(before: &Before) {
    let path = before.path.display();
    match before.text {
        Some(_) => report::say(&format!(
            "{path} is there; Enter keeps what it says. Nothing is written before you agree."
        )),
        None => report::say(&format!(
            "A few questions, then {path} and a checklist are written (elsewhere: --config). \
             Enter takes what stands in brackets."
        )),
    }
}

/// What is about to be written must be a configuration that can be used.
fn check(before: &Before, text: &str) -> Result<Config, Failure> {
    let sources = Sources {
        file: FileChoice::Text {
            name: before.path.display().to_string(),
            text: text.to_owned(),
            directory: before.base.clone(),
        },
        variables: Vec::new(),
        flags: Vec::new(),
    };
    let loaded = load(&sources).map(|loaded| loaded.config);
    loaded.map_err(|error| {
        let advice = match before.text {
            Some(_) => "mend it, or move it away; nothing was written",
            None => "answer otherwise; nothing was written",
        };
        Failure::new(Exit::Config, error).hint(advice)
    })
}

/// All that is to be written.
struct Plan {
    /// Where `csr` and `cert install` will write.
    dirs: Vec<PathBuf>,
    config: PathBuf,
    checklist: PathBuf,
    /// Secrets that were given, and the record.
    fresh: Vec<Sheet>,
    /// The texts that may be there already: path, text of today, text to be.
    texts: Vec<(PathBuf, Option<String>, String)>,
    /// Files that are still to be filled: what, where.
    later: Vec<(&'static str, PathBuf)>,
}

impl Plan {
    fn of(global: &Global, before: &Before, heard: &Heard, text: String, config: &Config) -> Self {
        let answers = &heard.answers;
        let near = |path: &str| near(before, path);
        let (mut fresh, mut later) = (Vec::new(), Vec::new());
        let mut secret = |what, source: Option<&Source>, given: Option<&crate::secret::Secret>| {
            let Some(Source::File(path)) = source else {
                return None;
            };
            match given {
                Some(secret) => fresh.push(Sheet::new(near(path), secret.expose(), false)),
                None if before.has(path) => {}
                None => later.push((what, near(path))),
            }
            Some(std::path::absolute(near(path)).unwrap_or_else(|_| near(path)))
        };
        let client = answers.client.as_ref().map(|client| &client.secret);
        secret("client secret", client, heard.client_secret.as_ref());
        let token = answers.personal.as_ref();
        let personal_file = secret("personal token", token, heard.personal_token.as_ref());
        let begun = before.begun.as_ref();
        let begun = Begun {
            from: answers.start,
            organisation: answers.organisation.clone(),
            country: answers.country.clone(),
            // Remembered when the configuration no longer names it: the file has to go as well.
            personal_file: personal_file
                .or_else(|| begun.and_then(|begun| begun.personal_file.clone())),
        };
        let record = migrate::begun_in(&near(&answers.state));
        fresh.push(Sheet::new(record, migrate::to_json(&begun), false));
        let checklist = near(&format!("{}.md", before.own(CHECKLIST)));
        let file = before.path.display().to_string();
        let list = checklist::written(global, &file, &answers.place, config, &begun);
        let now = fs::read_to_string(&checklist).ok();
        let pair = config.mtls.iter();
        let dirs = pair.filter_map(|mtls| Some(mtls.key.parent()?.to_owned()));
        Self {
            dirs: dirs.collect(),
            config: before.path.clone(),
            checklist: checklist.clone(),
            fresh,
            texts: vec![
                (checklist, now, list),
                (before.path.clone(), before.text.clone(), text),
            ],
            later,
        }
    }

    /// What would change in files that are there.
    fn diff(&self) -> String {
        let changed = self.texts.iter().filter_map(|(path, now, to_be)| {
            let now = now.as_ref().filter(|now| *now != to_be)?;
            let name = path.display().to_string();
            let diff = TextDiff::from_lines(now.as_str(), to_be.as_str());
            let mut unified = diff.unified_diff();
            Some(unified.context_radius(2).header(&name, &name).to_string())
        });
        changed.collect()
    }

    /// In the order of writing: the configuration last, so that one that is there is whole.
    fn sheets(&self) -> Vec<Sheet> {
        let again = self.fresh.iter();
        let mut sheets: Vec<_> = again
            .map(|sheet| Sheet::new(sheet.path.clone(), &*sheet.bytes, sheet.is_open))
            .collect();
        for (path, now, to_be) in &self.texts {
            match now {
                Some(now) if now == to_be => continue,
                Some(now) => sheets.push(Sheet::copy(backup(path), path, now)),
                None => {}
            }
            sheets.push(Sheet::new(path.clone(), to_be, true));
        }
        sheets
    }

    fn tell(&self, global: &Global, as_json: bool) -> Result<(), Failure> {
        let (mut written, mut kept, mut backups) = (Vec::new(), Vec::new(), Vec::new());
        for (path, now, to_be) in self.texts.iter().rev() {
            if now.as_ref() == Some(to_be) {
                kept.push(path.display().to_string());
                continue;
            }
            written.push(path.display().to_string());
            backups.extend(now.as_ref().map(|_| backup(path).display().to_string()));
        }
        let fresh = self
            .fresh
            .iter()
            .map(|sheet| sheet.path.display().to_string());
        written.extend(fresh);
        report::say(&format!("written: {}", written.join(", ")));
        if !kept.is_empty() {
            report::say(&format!("unchanged: {}", kept.join(", ")));
        }
        if !backups.is_empty() {
            report::say(&format!("kept as they were: {}", backups.join(", ")));
        }
        for (what, path) in &self.later {
            report::say(&format!(
                "still to come: the {what}, alone, in {} (mode 0600)",
                path.display()
            ));
        }
        report::say(&format!(
            "every step from here: {}; {} says at any time how far you are",
            self.checklist.display(),
            global.spell("migrate status"),
        ));
        let next = migrate::what_next(global)?;
        if let Some((text, _)) = &next {
            report::say(&format!("next: {text}"));
        }
        if !as_json {
            return Ok(());
        }
        let later = self.later.iter();
        let later: Vec<_> = later
            .map(|(what, path)| json!({ "secret": what, "file": path }))
            .collect();
        report::json(&json!({
            "configuration": self.config,
            "checklist": self.checklist,
            "written": written,
            "unchanged": kept,
            "backups": backups,
            "still_to_come": later,
            "next": next.map(|(text, command)| json!({ "text": text, "command": command })),
        }))
    }
}

fn backup(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".bak");
    PathBuf::from(name)
}

/// A path of the configuration's, as it is typed from here.
fn near(before: &Before, path: &str) -> PathBuf {
    match before.path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.join(path),
        _ => PathBuf::from(path),
    }
}

/// Lines that come and go in their colours.
fn coloured(diff: &str) -> String {
    let line = |line: &str| {
        let style = match line.as_bytes().first() {
            Some(b'+') => AnsiColor::Green.on_default(),
            Some(b'-') => AnsiColor::Red.on_default(),
            _ => Style::new(),
        };
        format!("{style}{line}{style:#}")
    };
    diff.lines().map(line).collect::<Vec<_>>().join("\n")
}
