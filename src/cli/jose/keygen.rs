//! `jose keygen`: a private key in a file.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde_json::json;
use zeroize::Zeroizing;

use super::super::args::Global;
use super::super::failure::{Exit, Failure};
use super::super::keys::put_down;
use super::super::report::{self, Progress};
use super::super::spelling;
use super::args::KeygenArgs;
use super::{fingerprint, flag, trade};
use crate::config::{Jose, SigningAlgorithm};
use crate::jose::{DecryptingKey, JoseError, SigningKey, pem};
use crate::wise::jose::{RSA_OAEP_256, Scope};

pub(super) fn run(global: &Global, args: &KeygenArgs) -> Result<(), Failure> {
    // A key can be made before there is a configuration.
    let jose = match (&args.out, global.try_load()?) {
        (_, Ok(loaded)) => loaded.config.jose,
        (Some(_), Err(_)) => Jose::default(),
        (None, Err(error)) => return Err(error.into()),
    };
    let scope = match args.signing {
        Some(_) => Scope::Signing,
        None => Scope::Encryption,
    };
    let path = place(args, &jose, scope)?;
    let is_there = path.symlink_metadata().is_ok();
    if is_there && !args.force {
        // Before the second that an RSA key takes.
        return Err(in_the_way(&path));
    }
    let doing = format!("making a key for {}", algorithm(args.signing));
    let (pkcs8, public) = Progress::new().during(&doing, || made(args.signing))?;
    put_down(&path, pem(&pkcs8).as_bytes(), args.force, in_the_way)?;

    report::say(&format!(
        "the private key is in {}: it stays on this machine",
        path.display()
    ));
    if is_there {
        report::say("the key before is gone: what Wise encrypts to it can no longer be read");
    }
    let next = next(global, args.signing, &jose, &path);
    report::say(&format!(
        "next: `{next}` gives Wise its public half and writes it into the configuration, under [jose]"
    ));
    if args.json {
        return report::json(&json!({
            "key": path,
            "scope": scope,
            "algorithm": algorithm(args.signing),
            "public_key_sha256": fingerprint(&public),
            "replaced": is_there,
            "next": { "command": next },
        }));
    }
    Ok(())
}

/// A new key as PKCS#8, and its public half.
fn made(signing: Option<SigningAlgorithm>) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), JoseError> {
    if let Some(algorithm) = signing {
        let pkcs8 = SigningKey::generate(algorithm)?;
        let key = SigningKey::from_pkcs8(algorithm, None, &pkcs8)?;
        let public = key.public_der()?;
        return Ok((pkcs8, public));
    }
    let pkcs8 = DecryptingKey::generate()?;
    let public = DecryptingKey::from_pkcs8(&pkcs8)?.public_der().to_vec();
    Ok((pkcs8, public))
}

fn algorithm(signing: Option<SigningAlgorithm>) -> &'static str {
    signing.map_or(RSA_OAEP_256, SigningAlgorithm::name)
}

fn place(args: &KeygenArgs, jose: &Jose, scope: Scope) -> Result<PathBuf, Failure> {
    let configured = match scope {
        Scope::Signing => jose.signing.as_ref().map(|key| &key.path),
        Scope::Encryption => jose.decrypting.as_ref().map(|key| &key.path),
    };
    args.out.as_ref().or(configured).cloned().ok_or_else(|| {
        let error = anyhow!("the configuration names no {} key", trade(scope));
        let file = format!("secrets/jose-{}.key", trade(scope));
        Failure::new(Exit::Usage, error)
            .hint(format!("say where the new one goes, such as --out {file}"))
    })
}

fn in_the_way(path: &Path) -> Failure {
    let error = anyhow!("{} is there already", path.display());
    Failure::new(Exit::Failed, error).hint(
        "name another file with --out: the key in use must go on until the new one is registered; \
         --force replaces it",
    )
}

/// The command that registers it: the configuration need not know the file yet.
fn next(global: &Global, signing: Option<SigningAlgorithm>, jose: &Jose, path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let is_configured = if let Some(algorithm) = signing {
        let known = jose.signing.as_ref();
        known.is_some_and(|known| known.path == absolute && known.algorithm == algorithm)
    } else {
        let known = jose.decrypting.as_ref();
        known.is_some_and(|known| known.path == absolute)
    };
    let flag = signing.map_or(flag(Scope::Encryption), |_| flag(Scope::Signing));
    let how = signing.map_or_else(String::new, |it| format!(" --algorithm {it}"));
    let command = if is_configured {
        format!("jose register {flag}")
    } else {
        format!("jose register {flag} --key {}{how}", spelling::path(path))
    };
    global.typed(&command)
}
