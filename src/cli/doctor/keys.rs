//! Keys for bodies, approvals and webhooks can be read, and are what they are said to be.
//!
//! Whether Wise knows a key, no call of Wise's says: only a message that it takes does, and that is
//! `jose test`.

use std::io::ErrorKind;

use super::super::keys::{KeyError, KeyFile};
use super::bench::Bench;
use super::check::{Check, Finding, Group, State};
use super::rounds::Rounds;
use super::secrets::refused;
use crate::config::{SecretError, SecretSource};
use crate::jose::KeyFileError;
use crate::sca;

pub(super) async fn look(rounds: &mut Rounds, bench: &Bench) {
    for key in KeyFile::all(&bench.config) {
        let id = match &key {
            KeyFile::Believed { webhook, .. } => format!("webhook.{webhook}.signature_key"),
            KeyFile::Signing(_) | KeyFile::Decrypting(_) | KeyFile::Approving(_) => {
                key.setting().to_owned()
            }
        };
        let lanes = key.lanes(&bench.config);
        let check = Check::new(Group::Keys, id, key.path().display().to_string());
        let check = match lanes {
            Some(lanes) => check.serving(lanes.iter()),
            None => check,
        };
        let idle = lanes.is_some_and(|lanes| lanes.iter().next().is_none());
        let (test, register) = (bench.command("jose test"), |what: &str| {
            bench.command(&format!("jose register {what}"))
        });
        let kid = match &key {
            KeyFile::Signing(signing) => Some((signing.kid.clone(), register("--signing"))),
            KeyFile::Decrypting(decrypting) => {
                Some((decrypting.kid.clone(), register("--encryption")))
            }
            KeyFile::Approving(_) | KeyFile::Believed { .. } => None,
        };
        let make = match &key {
            KeyFile::Signing(signing) => {
                let algorithm = signing.algorithm;
                Some(bench.command(&format!("jose keygen --signing {algorithm}")))
            }
            KeyFile::Decrypting(_) => Some(bench.command("jose keygen --encryption")),
            KeyFile::Approving(_) | KeyFile::Believed { .. } => None,
        };
        let prove = move || {
            let finding = match key.prove() {
                Ok(()) => good(&key, kid, &test),
                Err(error) => bad(&key, &error, make.as_deref()),
            };
            let finding = finding.fact("path", key.path());
            if idle { unused(finding) } else { finding }
        };
        rounds.look(check, prove).await;
    }
}

fn good(key: &KeyFile, kid: Option<(Option<String>, String)>, test: &str) -> Finding {
    let what = match key {
        KeyFile::Signing(signing) => format!("signs {}", signing.algorithm),
        KeyFile::Decrypting(_) => "decrypts RSA-OAEP-256".to_owned(),
        KeyFile::Approving(_) => "signs one-time tokens".to_owned(),
        KeyFile::Believed { .. } => "whose signatures are believed".to_owned(),
    };
    let text = format!("{}: {what}", key.path().display());
    match kid {
        None => Finding::good(text),
        Some((Some(kid), _)) => Finding::good(format!("{text}, as {kid}"))
            .detail(format!("whether Wise knows it, {test} shows"))
            .fact("kid", kid),
        Some((None, register)) => Finding::warning(
            format!("{text}; it has no id: Wise does not have it, or has it under one unsaid"),
            format!("{register} gives Wise its public half"),
        ),
    }
}

fn bad(key: &KeyFile, error: &KeyError, make: Option<&str>) -> Finding {
    let (KeyError::Jose(KeyFileError::Unreadable(secret))
    | KeyError::Sca(sca::KeyError::Unreadable(secret))) = error
    else {
        return Finding::advised(&error.to_string(), "see that the proxy's user may read it");
    };
    let finding = refused(&SecretSource::File(key.path().to_owned()), secret);
    match (secret, make) {
        (SecretError::Unreadable { source, .. }, Some(make))
            if source.kind() == ErrorKind::NotFound =>
        {
            finding.hint(format!(
                "bring the key back; if it is lost, {make} makes another, and says how to go on"
            ))
        }
        _ => finding,
    }
}

/// What no request needs is a warning.
fn unused(mut finding: Finding) -> Finding {
    if finding.state == State::Failed {
        finding.state = State::Warning;
        finding.text.push_str(" (no request needs it)");
    }
    finding
}
