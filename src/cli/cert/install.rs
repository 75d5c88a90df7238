//! `cert install`: what Wise gave out, or a PKCS#12 file, takes the place of the pair in use.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::super::args::{Global, InstallArgs};
use super::super::csr::no_mtls;
use super::super::failure::{Exit, Failure};
use super::super::report;
use super::opening::{Passphrases, Unopened};
use super::{client_id, date, outcome, tell, tell_when, warn};
use crate::clock::{Clock as _, System};
use crate::config::Mtls;
use crate::tls::{Candidate, Pair, TlsError, inspect, is_pkcs12};

/// No certificate with its chain is longer.
const LONGEST: u64 = 1 << 20;

pub(super) fn run(global: &Global, args: &InstallArgs) -> Result<(), Failure> {
    let config = match global.load() {
        Ok(loaded) => Some(loaded.config),
        // Everything is said on the command line; a broken configuration need not stop it.
        Err(_) if args.key.is_some() && args.certificate.is_some() => {
            report::say(
                "warning: the configuration cannot be used, so the common name is not compared \
                 with oauth.client_id",
            );
            None
        }
        Err(failure) => return Err(failure),
    };
    let mtls = config.as_ref().and_then(|config| config.mtls.as_ref());
    let named = |named: &Option<PathBuf>, own: fn(&Mtls) -> &PathBuf| {
        let named = named.clone().or_else(|| mtls.map(own).cloned());
        named.ok_or_else(no_mtls)
    };
    let made_with = named(&args.key, |mtls| &mtls.key)?;
    let place = Pair {
        certificate: named(&args.certificate, |mtls| &mtls.certificate)?,
        key: mtls.map_or(&made_with, |mtls| &mtls.key).clone(),
    };
    let passphrases = Passphrases::gather(mtls, &args.passphrase)?;
    let (file, origin) = read(&args.file)?;
    let (candidate, from) = if is_pkcs12(&file) {
        let is_piped = args.file == Path::new("-");
        let opened = passphrases.open_archive(&file, &origin, is_piped)?;
        (opened, Source::Archive)
    } else if args.key.is_some() {
        let opened = passphrases.open(|it| Candidate::new(&file, &origin, &made_with, it))?;
        (opened, Source::Key)
    } else {
        of_our_keys(&passphrases, &place, &file, &origin)?
    };

    let findings = candidate.check(&System, config.as_ref().and_then(client_id))?;
    let encrypted = candidate.is_encrypted();
    let installed = candidate.install(&place, passphrases.of_the_one_in_use())?;
    if from == Source::Next {
        clear_away(&place.next(), &args.file);
    }
    warn(&findings);
    tell(&installed.identity, &place.certificate);
    if from == Source::Archive {
        let (key, how) = (
            place.key.display(),
            if encrypted {
                "encrypted under mtls.key_passphrase"
            } else {
                "in the clear and for its owner alone; mtls.key_passphrase would have it encrypted"
            },
        );
        report::say(&format!("its private key is in {key}, {how}"));
    }
    if let Some(kept) = &installed.kept {
        report::say(&kept_until(global, kept));
    }
    tell_when(global, config.as_ref());
    if !args.json {
        return Ok(());
    }
    let (identity, kept) = (&installed.identity, &installed.kept);
    let outcome = outcome(global, identity, &place, &findings, kept.as_ref());
    report::json(&outcome)
}

/// Where the key came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Source {
    /// It was named, or is the one in use.
    Key,
    /// `csr --renew` made it.
    Next,
    Archive,
}

/// With the key in use, or with the one that `csr --renew` made: whichever the certificate is for.
fn of_our_keys(
    passphrases: &Passphrases<'_>,
    place: &Pair,
    pem: &[u8],
    origin: &Path,
) -> Result<(Candidate, Source), Failure> {
    let with = |key: &Path| passphrases.open(|it| Candidate::new(pem, origin, key, it));
    let in_use = match with(&place.key) {
        Ok(candidate) => return Ok((candidate, Source::Key)),
        Err(unopened) => unopened,
    };
    let next = place.next().key;
    if next.symlink_metadata().is_err() {
        return Err(in_use.into());
    }
    match (with(&next), in_use) {
        (Ok(candidate), _) => Ok((candidate, Source::Next)),
        (
            Err(Unopened::Tls(TlsError::KeyMismatch { .. })),
            Unopened::Tls(TlsError::KeyMismatch { certificate, key }),
        ) => {
            let text = format!(
                "the certificate in {} belongs neither to {} nor to {}",
                certificate.display(),
                key.display(),
                next.display()
            );
            Err(Failure::new(Exit::Failed, anyhow::Error::msg(text))
                .hint("name the key whose CSR was signed with --key"))
        }
        // What is wrong with the certificate is wrong with either key.
        (Err(unopened), Unopened::Tls(TlsError::KeyMismatch { .. } | TlsError::Read { .. })) => {
            Err(unopened.into())
        }
        (Err(_), in_use) => Err(in_use.into()),
    }
}

/// Removes what `csr --renew` made, which is in its place now; the file that Wise gave out too, if
/// it was saved where the command had asked for it.
fn clear_away(next: &Pair, file: &Path) {
    let mut done = vec![next.request(), next.key.clone()];
    let real = |path: &Path| path.canonicalize().ok();
    if real(file).is_some_and(|file| real(&next.certificate) == Some(file)) {
        done.push(next.certificate.clone());
    }
    for path in done {
        // What stays is found and told by the next renewal.
        let _gone = std::fs::remove_file(path);
    }
}

/// How long one could go back.
fn kept_until(global: &Global, kept: &Pair) -> String {
    let file = kept.certificate.display();
    let chain = inspect(&kept.certificate).unwrap_or_default();
    match chain.first() {
        Some(leaf) if leaf.not_after > System.wall() => format!(
            "the pair before is kept in {file}: until {} {} goes back to it",
            date(leaf.not_after),
            global.spell("cert rollback")
        ),
        Some(_) | None => format!("the pair before is kept in {file}"),
    }
}

fn read(file: &Path) -> Result<(Zeroizing<Vec<u8>>, PathBuf), Failure> {
    let failed = |error: io::Error, name: &str| {
        let error = anyhow::Error::new(error).context(format!("cannot read {name}"));
        Failure::new(Exit::Failed, error)
            .hint("name the file that Wise's Developer Hub gave you, or `-` for standard input")
    };
    // A PKCS#12 file and some PEM files hold a key.
    let mut bytes = Zeroizing::new(Vec::with_capacity(64 * 1024));
    if file == Path::new("-") {
        let name = "standard input";
        let read = io::stdin().take(LONGEST).read_to_end(&mut bytes);
        read.map_err(|error| failed(error, name))?;
        return Ok((bytes, name.into()));
    }
    let name = file.display().to_string();
    let opened = std::fs::File::open(file).map_err(|error| failed(error, &name))?;
    let read = opened.take(LONGEST).read_to_end(&mut bytes);
    read.map_err(|error| failed(error, &name))?;
    Ok((bytes, file.to_owned()))
}
