//! Each secret can be fetched, and looks like one. Not a byte of it is shown, nor how many.

use std::io::ErrorKind::PermissionDenied;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::bench::Bench;
use super::check::{Check, Finding, Group};
use super::rounds::Rounds;
use crate::config::{SecretError, SecretSource};
use crate::secret::Secret;

pub(super) async fn fetch(rounds: &mut Rounds, bench: &mut Bench) {
    for (id, source) in named(bench) {
        let check = Check::new(Group::Secrets, id.clone(), source.to_string());
        let read = move || match source.read() {
            Ok(secret) => (looked_at(&source, &secret), Some(secret)),
            Err(error) => (refused(&source, &error), None),
        };
        if let Some(secret) = rounds.fetch(check, read).await {
            bench.secrets.insert(id, secret);
        }
    }
}

/// Every secret of the configuration with the id of its check. Callers are told apart by name.
fn named(bench: &Bench) -> Vec<(String, SecretSource)> {
    let config = &bench.config;
    let mut with_key = config.callers.iter().filter(|caller| caller.key.is_some());
    let seal = config.store.seal_key.iter();
    config
        .secrets()
        .chain(seal.map(|source| ("store.seal_key", source)))
        .map(|(key, source)| {
            let caller = (key == "caller.key").then(|| with_key.next()).flatten();
            let id = match caller {
                Some(caller) => format!("secret.caller.{}.key", caller.name),
                None => format!("secret.{key}"),
            };
            (id, source.clone())
        })
        .collect()
}

fn looked_at(source: &SecretSource, secret: &Secret) -> Finding {
    let kind = match source {
        SecretSource::File(_) => "file",
        SecretSource::Env(_) => "env",
        SecretSource::Exec(_) => "exec",
        SecretSource::Credential(_) => "credential",
    };
    let finding = if let Some(oddity) = oddity(secret.expose()) {
        Finding::warning(
            format!("{source} {oddity}"),
            format!("write the secret alone into {source}, without anything around it"),
        )
    } else if let Some(directory) = open_directory(source) {
        Finding::warning(
            format!("{source} lies in a directory that others may write to"),
            format!("`chmod go-w {}`", directory.display()),
        )
    } else {
        Finding::good(source.to_string())
    };
    finding.fact("source", kind)
}

/// What people paste with a secret.
fn oddity(text: &str) -> Option<&'static str> {
    let quotes = |quote| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
    if text.trim() != text {
        Some("begins or ends with blanks")
    } else if text.lines().nth(1).is_some() {
        Some("holds several lines")
    } else if quotes('"') || quotes('\'') {
        Some("stands in quotes, which count")
    } else if text
        .get(..7)
        .is_some_and(|start| start.eq_ignore_ascii_case("bearer "))
    {
        Some("begins with `Bearer `, which is added by itself")
    } else if text.chars().any(char::is_control) {
        Some("holds a control character")
    } else {
        None
    }
}

fn open_directory(source: &SecretSource) -> Option<&Path> {
    const STICKY: u32 = 0o1000;
    let SecretSource::File(path) = source else {
        return None;
    };
    let directory = path.parent()?;
    let mode = directory.metadata().ok()?.mode();
    (mode & 0o022 != 0 && mode & STICKY == 0).then_some(directory)
}

pub(super) fn refused(source: &SecretSource, error: &SecretError) -> Finding {
    let hint = match error {
        SecretError::Unreadable { path, source } if source.kind() == PermissionDenied => format!(
            "ask as the proxy's user does (`sudo -u USER wise-auth-proxy doctor`), or give it the \
             file: `chown USER {}`",
            path.display()
        ),
        SecretError::Unreadable { path, .. } => format!(
            "put the secret there, readable by the proxy's user alone: \
             `install -m 0600 /dev/null {path}`, then write it in",
            path = path.display()
        ),
        SecretError::NotAFile { .. } => "name a plain file".to_owned(),
        SecretError::Loose { path, .. } => format!("`chmod 600 {}`", path.display()),
        SecretError::NoVariable { name } => {
            format!("start the proxy, and this command, with {name} in its environment")
        }
        SecretError::NotStarted { program, .. } => format!(
            "see that {} is there and may be run by the proxy's user",
            program.display()
        ),
        SecretError::Failed { program, .. } | SecretError::TimedOut { program } => format!(
            "run {} by hand, as the proxy's user, and see what it says",
            program.display()
        ),
        SecretError::NoCredentials { name } => format!(
            "credentials are there within the unit alone: add LoadCredential={name}: to it and run \
             this by `systemd-run`, or under the unit's own settings"
        ),
        SecretError::Empty { .. } => format!("write the secret into {source}"),
        SecretError::TooLarge { .. } | SecretError::NotText { .. } => {
            format!("write the secret, and nothing else, into {source}")
        }
    };
    // The message's own advice is the hint.
    let text = error.to_string();
    let text = text
        .split_once(": run ")
        .or_else(|| text.split_once("; add "))
        .map_or(text.as_str(), |(text, _)| text);
    Finding::failed(text, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_paste_with_a_secret_is_seen() {
        for odd in [
            " a", "a ", "a\nb", "\"a\"", "'a'", "Bearer a", "bearer a", "a\u{7}b",
        ] {
            assert!(oddity(odd).is_some(), "{odd:?}");
        }
        for plain in [
            "a",
            "00000000-1111-4222-8333-444444444444",
            "user:pass word",
            "\"",
            "é",
        ] {
            assert_eq!(oddity(plain), None, "{plain:?}");
        }
    }
}
