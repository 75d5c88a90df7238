//! `sca keygen`: a private key in a file, its public half on standard output.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde_json::json;

use super::super::args::Global;
use super::super::failure::{Exit, Failure};
use super::super::keys::put_down;
use super::super::report::{self, Progress};
use super::super::sheet::{Sheet, put};
use super::super::spelling;
use super::args::KeygenArgs;
use crate::config::Sca;
use crate::jose::pem;
use crate::sca::SigningKey;

/// Where Wise takes public keys.
const PAGE: &str = "Settings, API tokens, Manage public keys";

pub(super) fn run(global: &Global, args: &KeygenArgs) -> Result<(), Failure> {
    // A key can be made before there is a configuration.
    let sca = match (&args.out, args.write, global.try_load()?) {
        (_, _, Ok(loaded)) => Some(loaded.config.sca),
        (Some(_), false, Err(_)) => None,
        (_, _, Err(error)) => return Err(error.into()),
    };
    let path = place(args, sca.as_ref())?;
    if path.symlink_metadata().is_ok() {
        // Before the second that a key takes.
        return Err(in_the_way(&path));
    }
    let absolute = std::path::absolute(&path);
    let absolute = absolute.map_err(|error| {
        Failure::new(Exit::Failed, error)
            .hint("go to a directory that is there, or name --out whole")
    })?;
    let making = || SigningKey::generate(args.bits);
    let pkcs8 = Progress::new().during("making an RSA key", making)?;
    let key = SigningKey::from_pkcs8(&pkcs8)?;
    let public = key.public_pem()?;
    put_down(&path, pem(&pkcs8).as_bytes(), false, in_the_way)?;
    report::say(&format!(
        "the private key is in {}: it stays on this machine",
        path.display()
    ));
    let is_configured = sca.is_some_and(|sca| sca.key.as_deref() == Some(&*absolute));
    let entered = (args.write && !is_configured)
        .then(|| enter(global, &absolute))
        .transpose()?;
    if let Some(file) = &entered {
        report::say(&format!("{} names it, as sca.key", file.display()));
    } else if !is_configured {
        let value = toml_edit::Value::from(absolute.display().to_string());
        report::say(&format!(
            "the configuration does not name it yet: write `key ={value}` under [sca]"
        ));
    }
    report::say(&format!(
        "next: paste the public key into Wise's page ({PAGE}), and then {}",
        global.spell("sca test")
    ));
    if args.json {
        return report::json(&json!({
            "key": path,
            "bits": key.bits(),
            "public_key": public,
            "public_key_sha256": key.fingerprint()?,
            "file": entered,
            "next": { "page": PAGE, "command": global.typed("sca test") },
        }));
    }
    report::data(&public)
}

fn place(args: &KeygenArgs, sca: Option<&Sca>) -> Result<PathBuf, Failure> {
    let configured = sca.and_then(|sca| sca.key.as_ref());
    args.out.as_ref().or(configured).cloned().ok_or_else(|| {
        let error = anyhow!("the configuration names no sca.key");
        Failure::new(Exit::Usage, error)
            .hint("say where the new one goes, such as --out secrets/sca.key")
    })
}

fn in_the_way(path: &Path) -> Failure {
    let error = anyhow!("{} is there already", path.display());
    Failure::new(Exit::Failed, error).hint(format!(
        "name another file with --out: the key in use must go on until Wise has the new one; `rm {}` \
         takes it away for ever",
        spelling::path(path)
    ))
}

/// Writes the key's file into the configuration.
fn enter(global: &Global, key: &Path) -> Result<PathBuf, Failure> {
    let mut sheet = Sheet::open(global)?;
    let inside = sheet
        .path
        .parent()
        .and_then(|base| key.strip_prefix(base).ok());
    let Some(spelled) = inside.unwrap_or(key).to_str() else {
        return Err(Failure::usage("the file's name is not UTF-8").hint("give it another name"));
    };
    put(&mut sheet.document, "sca", "key", spelled);
    let written = sheet.write().map_err(|failure| {
        failure.hint("the key is made: write it under [sca] of the configuration by hand")
    })?;
    Ok(written.path)
}
