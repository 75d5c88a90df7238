//! Asks and hears: a flag's word, a typed line, or the default.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::path::Path;

use anyhow::anyhow;
use zeroize::Zeroizing;

use super::super::failure::{Exit, Failure};
use super::super::report;
use super::super::terminal::hidden_line;
use crate::config::SecretSource;
use crate::secret::Secret;

/// Longest secret from standard input.
const LONGEST: u64 = 64 * 1024;

/// One thing to be known.
pub(super) struct Question {
    /// The flag that answers it.
    pub(super) flag: &'static str,
    pub(super) text: String,
    /// What Enter stands for.
    pub(super) default: Option<String>,
}

impl Question {
    pub(super) fn new(flag: &'static str, text: impl Into<String>) -> Self {
        Self {
            flag,
            text: text.into(),
            default: None,
        }
    }

    pub(super) fn or(mut self, default: impl Into<String>) -> Self {
        self.default = Some(default.into());
        self
    }
}

/// The way to whoever answers.
pub(super) struct Voice {
    /// `--yes`: nobody does.
    silent: bool,
    /// Flags without which silence is not enough.
    missing: Vec<&'static str>,
}

impl Voice {
    pub(super) fn new(silent: bool) -> Self {
        Self {
            silent,
            missing: Vec::new(),
        }
    }

    /// The answer to a question. A typed one that does not fit is asked for again.
    ///
    /// `None`: nobody may be asked and there is no default; [`Voice::complete`] says so of all.
    pub(super) fn answer<T>(
        &mut self,
        question: &Question,
        given: Option<&str>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        let flag = question.flag;
        let wrong = |why: String| {
            let error = anyhow!("--{flag}: {why}");
            Failure::new(Exit::Usage, error).hint("`wise-auth-proxy init --help` describes it")
        };
        if let Some(given) = given {
            return read(given.trim()).map(Some).map_err(wrong);
        }
        if self.silent {
            if let Some(default) = &question.default {
                return read(default).map(Some).map_err(wrong);
            }
            self.missing.push(flag);
            return Ok(None);
        }
        loop {
            report::prompt(&match &question.default {
                Some(default) => format!("{} [{default}]: ", question.text),
                None => format!("{}: ", question.text),
            });
            let line = typed(flag)?;
            let text = match (line.trim(), &question.default) {
                ("", Some(default)) => default.as_str(),
                ("", None) => {
                    report::say("  this has no default");
                    continue;
                }
                (text, _) => text,
            };
            match read(text) {
                Ok(answer) => return Ok(Some(answer)),
                Err(why) => report::say(&format!("  {why}")),
            }
        }
    }

    /// Whether every question so far has its answer.
    pub(super) fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Fails if a question had neither answer nor default, and names all of them.
    pub(super) fn complete(&self) -> Result<(), Failure> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let flags: Vec<_> = self
            .missing
            .iter()
            .map(|flag| format!("--{flag}"))
            .collect();
        let text = format!(
            "--yes asks nothing, and these have no default: {}",
            flags.join(", ")
        );
        Err(Failure::new(Exit::Usage, anyhow::Error::msg(text))
            .hint("give them, or leave out --yes to be asked"))
    }

    /// Yes or no, once all is known. Silence is no.
    pub(super) fn consent(&mut self, text: &str) -> Result<bool, Failure> {
        if self.silent {
            return Ok(false);
        }
        let question = Question::new("force", text).or("no");
        let answer = self.answer(&question, None, yes_or_no)?;
        Ok(answer.unwrap_or_default())
    }

    /// A secret: from a file, or typed unseen. `None`: later.
    pub(super) fn secret(
        &mut self,
        what: &str,
        flag: &'static str,
        file: Option<&Path>,
        is_there: bool,
    ) -> Result<Option<Secret>, Failure> {
        let wrong = |why: String| {
            let hint = format!("put the {what}, alone, into a file of mode 0600");
            Failure::new(Exit::Failed, anyhow!("--{flag}: {why}")).hint(hint)
        };
        if let Some(file) = file {
            let secret = if file == Path::new("-") {
                first_line().map_err(|error| wrong(error.to_string()))?
            } else {
                let source = SecretSource::File(file.to_owned());
                source.read().map_err(|error| wrong(error.to_string()))?
            };
            fits(&secret).map_err(|why| wrong(why.to_owned()))?;
            return Ok(Some(secret));
        }
        if self.silent {
            return Ok(None);
        }
        let enter = if is_there {
            "Enter keeps the one that is there"
        } else {
            "Enter leaves it for later"
        };
        loop {
            let prompt = format!("{what}, unseen as you type ({enter}): ");
            let line = unseen(flag, &prompt)?;
            let text = line.trim();
            if text.is_empty() {
                return Ok(None);
            }
            let secret = Secret::new(text);
            match fits(&secret) {
                Ok(()) => return Ok(Some(secret)),
                Err(why) => report::say(&format!("  {why}")),
            }
        }
    }
}

/// Whether it can stand in a header.
fn fits(secret: &Secret) -> Result<(), &'static str> {
    let text = secret.expose();
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("it has a space or another character that no secret of Wise's has; paste it alone")
    }
}

pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "y" => Ok(true),
        "no" | "n" => Ok(false),
        _ => Err("say yes or no".to_owned()),
    }
}

fn typed(flag: &str) -> Result<String, Failure> {
    let mut line = String::new();
    if !io::stdin()
        .lock()
        .read_line(&mut line)
        .is_ok_and(|count| count > 0)
    {
        return Err(ended(flag));
    }
    if !io::stdin().is_terminal() {
        // A line break, as a terminal would show it; not the line: a secret may be in the wrong place.
        report::say("");
    }
    Ok(line)
}

fn unseen(flag: &str, prompt: &str) -> Result<Zeroizing<String>, Failure> {
    if io::stdin().is_terminal() {
        let line = hidden_line(|| report::prompt(prompt));
        return line.map_err(|error| ended(flag).hint(error.to_string()));
    }
    report::prompt(prompt);
    let mut line = Zeroizing::new(String::with_capacity(4 * 1024));
    if !io::stdin()
        .lock()
        .read_line(&mut line)
        .is_ok_and(|count| count > 0)
    {
        return Err(ended(flag));
    }
    report::say("");
    Ok(line)
}

fn ended(flag: &str) -> Failure {
    report::say("");
    let text = format!("standard input ended where --{flag} was asked for; nothing was written");
    Failure::new(Exit::Failed, anyhow::Error::msg(text))
        .hint("answer every question, or give its flag; --yes takes the defaults")
}

fn first_line() -> io::Result<Secret> {
    let mut text = Zeroizing::new(String::with_capacity(4 * 1024));
    io::stdin().lock().take(LONGEST).read_to_string(&mut text)?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(Secret::new(line)),
        _ => Err(io::Error::other("standard input is empty")),
    }
}
