//! The passphrase of an export file: from a file, a variable or standard input, never from the
//! command line, which every user of the machine can read.

use std::io::{self, IsTerminal as _, Read as _};

use anyhow::anyhow;
use zeroize::Zeroizing;

use super::super::args::PassphraseArgs;
use super::super::failure::{Exit, Failure};
use super::super::report;
use super::super::terminal::hidden_line;
use crate::config::SecretSource;
use crate::secret::Secret;

/// Longest passphrase.
const LONGEST: u64 = 4 * 1024;

/// Fetches it. `twice`: a person who types it is asked again, because a slip would seal the file
/// for good.
pub(super) fn obtain(args: &PassphraseArgs, twice: bool) -> Result<Secret, Failure> {
    let file = args.passphrase_file.clone().map(SecretSource::File);
    let variable = args.passphrase_env.clone().map(SecretSource::Env);
    if let Some(source) = file.or(variable) {
        return source.read().map_err(|error| {
            Failure::new(Exit::Failed, error)
                .hint("put the passphrase alone into a file of mode 0600, or into a variable")
        });
    }
    if !io::stdin().is_terminal() {
        let mut text = Zeroizing::new(String::new());
        let read = io::stdin().take(LONGEST).read_to_string(&mut text);
        read.map_err(|error| unread(error.into()))?;
        return first_line(&text);
    }
    let given = typed("passphrase of the file:")?;
    if twice && !typed("once more:")?.matches(&given) {
        let error = anyhow!("the two passphrases are not the same");
        return Err(Failure::new(Exit::Failed, error).hint("nothing was written; run it again"));
    }
    Ok(given)
}

fn first_line(text: &str) -> Result<Secret, Failure> {
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret::new(line)),
        _ => Err(unread(anyhow!("the passphrase is missing"))),
    }
}

fn unread(error: anyhow::Error) -> Failure {
    Failure::new(Exit::Failed, error)
        .hint("give it on standard input, or with --passphrase-file or --passphrase-env")
}

/// What a person types, unseen.
fn typed(prompt: &str) -> Result<Secret, Failure> {
    let line = hidden_line(|| report::say(prompt)).map_err(|error| unread(error.into()))?;
    first_line(&line)
}
