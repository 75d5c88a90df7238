//! `csr`: a private key, and the request that has Wise sign it.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde_json::json;
use zeroize::Zeroizing;

use super::args::{CsrArgs, Global};
use super::failure::{Exit, Failure};
use super::report::{self, Progress};
use super::{passphrase, spelling};
use crate::clock::System;
use crate::config::Mtls;
use crate::secret::Secret;
use crate::tls::{Certificate, KeyType, Pair, Request, Subject, TlsError, inspect};

pub(crate) fn run(global: &Global, args: &CsrArgs) -> Result<(), Failure> {
    let plan = Plan::of(global, args)?;
    if plan.key.symlink_metadata().is_ok() {
        // Before the seconds that a key of 4096 bits takes.
        return Err(plan.in_the_way(global));
    }
    let subject = plan.subject(args)?;
    let key_type = plan.key_type(args);
    let passphrase = plan.passphrase(args)?;
    let made = || Request::generate(key_type, &subject);
    let mut request = Progress::new().during(&format!("making a key of type {key_type}"), made)?;
    if let Some(passphrase) = &passphrase {
        request.seal(passphrase)?;
    }
    request.write(&plan.key, &plan.csr)?;
    if args.out.is_none() && !args.json {
        report::data(request.csr_pem().trim_end())?;
    }
    let install = plan.tell(global, args, key_type, passphrase.is_some());
    if !args.json {
        return Ok(());
    }
    let leaf = plan.renewal.as_ref().and_then(|it| it.leaf.as_ref());
    report::json(&json!({
        "key": plan.key,
        "request": plan.csr,
        "request_pem": request.csr_pem(),
        "key_type": key_type.name(),
        "encrypted": passphrase.is_some(),
        "follows": leaf.map(|leaf| json!({
            "common_name": leaf.common_name,
            "organisation": leaf.organisation,
            "not_after": super::cert::date(leaf.not_after),
            "days_left": leaf.days_left(&System),
        })),
        "next": { "command": install },
    }))
}

/// What is to be made, and where.
struct Plan {
    key: PathBuf,
    csr: PathBuf,
    mtls: Option<Mtls>,
    renewal: Option<Renewal>,
}

/// The pair that is to be followed.
struct Renewal {
    place: Pair,
    /// `None`: it cannot be read.
    leaf: Option<Certificate>,
}

impl Plan {
    fn of(global: &Global, args: &CsrArgs) -> Result<Self, Failure> {
        let mtls = if args.key.is_none() || args.renew {
            Some(global.load()?.config.mtls.ok_or_else(no_mtls)?)
        } else {
            None
        };
        let place = mtls.as_ref().map(Pair::from);
        let renewal = match &place {
            Some(place) if args.renew => Some(Renewal::of(place, args)?),
            Some(_) | None => None,
        };
        let usual = place.map(|place| {
            if args.renew {
                place.next().key
            } else {
                place.key
            }
        });
        let key = args.key.clone().or(usual).ok_or_else(no_mtls)?;
        let csr = args.out.clone();
        Ok(Self {
            csr: csr.unwrap_or_else(|| key.with_extension("csr")),
            key,
            mtls,
            renewal,
        })
    }

    /// A key is there already.
    fn in_the_way(&self, global: &Global) -> Failure {
        let path = self.key.clone();
        let Some(renewal) = &self.renewal else {
            let failure = Failure::from(TlsError::Exists { path });
            return if self.mtls.is_some() {
                failure.hint(format!(
                    "once it has its certificate, {} makes the next beside it",
                    global.spell("csr --renew")
                ))
            } else {
                failure
            };
        };
        let error = anyhow!("a renewal is under way: {} is there", path.display());
        Failure::new(Exit::Failed, error).hint(format!(
            "have Wise sign {} and run {}; to begin anew, remove key and request",
            self.csr.display(),
            global.spell(&format!(
                "cert install {}",
                spelling::path(&renewal.place.next().certificate)
            )),
        ))
    }

    fn subject(&self, args: &CsrArgs) -> Result<Subject, Failure> {
        let leaf = self.renewal.as_ref().and_then(|it| it.leaf.as_ref());
        let organisation = args.organisation.as_ref();
        let organisation = organisation.or(leaf.and_then(|leaf| leaf.organisation.as_ref()));
        let organisation = organisation.ok_or_else(|| {
            Failure::usage("the certificate in use names no organisation (O)")
                .hint("say it with --organisation; Wise wants one in the request")
        })?;
        let country = args.country.as_ref();
        let country = country.or(leaf.and_then(|leaf| leaf.country.as_ref()));
        Ok(Subject::new(
            organisation,
            country.map(String::as_str),
            None,
        )?)
    }

    fn key_type(&self, args: &CsrArgs) -> KeyType {
        let leaf = self.renewal.as_ref().and_then(|it| it.leaf.as_ref());
        args.key_type
            .or(leaf.and_then(|leaf| KeyType::of(&leaf.key_kind)))
            .unwrap_or(KeyType::Rsa4096)
    }

    /// What the key is to be encrypted under, if at all.
    fn passphrase(&self, args: &CsrArgs) -> Result<Option<Secret>, Failure> {
        let named = args.passphrase.is_given();
        let source = self.mtls.as_ref().and_then(|it| it.key_passphrase.as_ref());
        let source = match source {
            Some(source) if !named => source,
            _ if named || args.encrypt => {
                let given = passphrase::obtain(&args.passphrase.source(), true)?;
                return long_enough(given).map(Some);
            }
            _ => return Ok(None),
        };
        let read = source.read().map_err(|error| {
            let error = anyhow::Error::new(error).context("mtls.key_passphrase");
            Failure::new(Exit::Config, error)
                .hint("run it as the proxy's user, or give the passphrase with --passphrase-file")
        });
        read.map(Some)
    }

    /// Says what was made; the command that is next.
    fn tell(&self, global: &Global, args: &CsrArgs, key_type: KeyType, encrypted: bool) -> String {
        let (key, csr) = (self.key.display(), self.csr.display());
        let how = if encrypted { ", encrypted" } else { "" };
        report::say(&format!(
            "the private key is in {key}{how}: it stays on this machine\nthe request is in {csr}"
        ));
        if let Some(leaf) = self.renewal.as_ref().and_then(|it| it.leaf.as_ref()) {
            let of = leaf.organisation.as_deref().unwrap_or("nobody");
            report::say(&format!(
                "it follows the certificate of {of}, with a key of type {key_type}; the one in \
                 use goes on until {}",
                super::cert::date(leaf.not_after)
            ));
        }
        let source = self.mtls.as_ref().and_then(|it| it.key_passphrase.as_ref());
        if encrypted && source.is_none() {
            report::say(
                "the proxy needs the passphrase too: put `key_passphrase = { file = \"path\" }` \
                 under [mtls]",
            );
        }
        let (save, install) = match &self.renewal {
            Some(renewal) if args.key.is_none() => {
                let file = renewal.place.next().certificate;
                (format!("as {}", file.display()), spelling::path(&file))
            }
            Some(_) | None => ("to a file".to_owned(), "FILE".to_owned()),
        };
        let with = args.key.as_ref();
        let with = with.map_or_else(String::new, |key| format!(" --key {}", spelling::path(key)));
        let install = global.typed(&format!("cert install {install}{with}"));
        report::say(&format!(
            "next: in Wise's Developer Hub, Authentication > Generate certificate, paste the \
             request; save what it gives {save} and run `{install}`"
        ));
        install
    }
}

impl Renewal {
    fn of(place: &Pair, args: &CsrArgs) -> Result<Self, Failure> {
        let leaf = match inspect(&place.certificate) {
            Ok(chain) => chain.into_iter().next(),
            Err(_) if args.organisation.is_some() => None,
            Err(error) => {
                return Err(Failure::from(error)
                    .hint("without it, say what it would tell: --organisation and --country"));
            }
        };
        let next = place.next();
        let of_an_older = [&place.key, &place.previous().key];
        if args.key.is_none() && of_an_older.iter().any(|key| are_alike(key, &next.key)) {
            // An installation ended before it could clear away what it had put in place.
            for left in [next.request(), next.key] {
                let _gone = std::fs::remove_file(left);
            }
        }
        let place = place.clone();
        Ok(Self { place, leaf })
    }
}

fn are_alike(one: &Path, other: &Path) -> bool {
    let read = |path| std::fs::read(path).map(Zeroizing::new);
    matches!((read(one), read(other)), (Ok(one), Ok(other)) if one == other)
}

/// A key file travels: what is easily guessed is no passphrase for it.
fn long_enough(passphrase: Secret) -> Result<Secret, Failure> {
    if passphrase.expose().chars().count() >= SHORTEST {
        return Ok(passphrase);
    }
    let error = anyhow!("the passphrase is shorter than {SHORTEST} characters");
    Err(Failure::new(Exit::Failed, error).hint("make one with: head -c 24 /dev/urandom | base64"))
}

/// As for export files.
const SHORTEST: usize = 12;

/// A command wants the client certificate's place, and there is none.
pub(super) fn no_mtls() -> Failure {
    Failure::new(Exit::Config, anyhow!("the configuration has no [mtls]"))
        .hint("add [mtls] with `certificate` and `key`, or name the files on the command line")
}

impl From<&Mtls> for Pair {
    fn from(files: &Mtls) -> Self {
        Self {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
        }
    }
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        let exit = match &error {
            TlsError::Subject { .. } => Exit::Usage,
            TlsError::OneFile { .. } => Exit::Config,
            TlsError::Read { .. }
            | TlsError::Write { .. }
            | TlsError::Exists { .. }
            | TlsError::KeyTooOpen { .. }
            | TlsError::Content { .. }
            | TlsError::NotX509 { .. }
            | TlsError::UnusableKey { .. }
            | TlsError::KeyMismatch { .. }
            | TlsError::WrongPassphrase { .. }
            | TlsError::SealedKey { .. }
            | TlsError::Archive { .. }
            | TlsError::NoPrevious { .. }
            | TlsError::PreviousInUse { .. }
            | TlsError::Unfit { .. }
            | TlsError::NoSystemRoots { .. }
            | TlsError::LooseDirectory { .. }
            | TlsError::NoAuthority { .. }
            | TlsError::NotCovered { .. }
            | TlsError::NoRoots
            | TlsError::UnusableRoot { .. }
            | TlsError::Generate(_)
            | TlsError::Seal
            | TlsError::Setup(_) => Exit::Failed,
        };
        Self::advised(exit, &error, "mend the file and try again")
    }
}
