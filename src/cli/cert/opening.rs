//! What opens a private key: nothing, the passphrase that the configuration names, or one that is
//! given with the command. And how it is to lie there, so that the proxy can open it.

use std::path::Path;

use anyhow::anyhow;

use super::super::args::KeyPassphraseArgs;
use super::super::failure::{Exit, Failure};
use super::super::{passphrase, report};
use crate::config::{Mtls, SecretError};
use crate::secret::Secret;
use crate::tls::{Candidate, Found, TlsError};

pub(super) struct Passphrases<'a> {
    /// `None`: the configuration names none, or there is no configuration.
    configured: Option<Result<Secret, SecretError>>,
    /// Whether the proxy has a configuration that could name one.
    is_ruled: bool,
    given: Option<Secret>,
    flags: &'a KeyPassphraseArgs,
}

/// Why there is no candidate.
pub(super) enum Unopened {
    Tls(TlsError),
    /// Its key stays shut.
    Shut(Failure),
}

impl<'a> Passphrases<'a> {
    pub(super) fn gather(
        mtls: Option<&Mtls>,
        flags: &'a KeyPassphraseArgs,
    ) -> Result<Self, Failure> {
        Ok(Self {
            configured: mtls.and_then(|mtls| mtls.passphrase().transpose()),
            is_ruled: mtls.is_some(),
            given: passphrase::named(&flags.source()).transpose()?,
            flags,
        })
    }

    /// What opens the key in use, as far as one can tell.
    pub(super) fn of_the_one_in_use(&self) -> Option<&Secret> {
        self.configured().or(self.given.as_ref())
    }

    fn configured(&self) -> Option<&Secret> {
        self.configured.as_ref()?.as_ref().ok()
    }

    /// Makes a candidate with whatever opens its key.
    pub(super) fn open(
        &self,
        make: impl Fn(Option<&Secret>) -> Result<Candidate, TlsError>,
    ) -> Result<Candidate, Unopened> {
        let shut = match make(self.configured()) {
            Ok(candidate) => return Ok(candidate),
            Err(error) if is_shut(&error) => error,
            Err(error) => return Err(Unopened::Tls(error)),
        };
        let Some(given) = &self.given else {
            return Err(Unopened::Shut(self.unopened(shut)));
        };
        let mut candidate = make(Some(given)).map_err(Unopened::Tls)?;
        match &self.configured {
            Some(Ok(under)) => {
                let sealed = candidate.seal(Some(given), under);
                sealed.map_err(Unopened::Tls)?;
            }
            Some(Err(_)) => report::say(
                "warning: mtls.key_passphrase cannot be read here; the proxy opens the key only \
                 if it is the passphrase that was given",
            ),
            None if self.is_ruled => return Err(Unopened::Shut(unnamed())),
            None => {}
        }
        Ok(candidate)
    }

    /// Opens a PKCS#12 file. Its key is then encrypted as the configuration wants it.
    pub(super) fn open_archive(
        &self,
        archive: &[u8],
        origin: &Path,
        is_piped: bool,
    ) -> Result<Candidate, Failure> {
        // Some have an empty one, and nobody should be asked for that.
        let mut candidate = match Candidate::of_pkcs12(archive, origin, &Secret::new("")) {
            Err(TlsError::WrongPassphrase { .. }) => {
                let passphrase = match &self.given {
                    Some(given) => given.clone(),
                    None if is_piped => {
                        return Err(Failure::usage("standard input is the file already").hint(
                            "give its passphrase with --passphrase-file or --passphrase-env",
                        ));
                    }
                    None => passphrase::obtain(&self.flags.source(), false)?,
                };
                Candidate::of_pkcs12(archive, origin, &passphrase)?
            }
            opened => opened?,
        };
        match &self.configured {
            Some(Ok(under)) => candidate.seal(None, under)?,
            Some(Err(error)) => return Err(unread(error)),
            None => {}
        }
        Ok(candidate)
    }

    /// The key is encrypted, and nothing that there is opens it.
    fn unopened(&self, shut: TlsError) -> Failure {
        match &self.configured {
            Some(Err(error)) => unread(error),
            Some(Ok(_)) => Failure::from(shut)
                .hint("with --passphrase-file it is opened, and encrypted anew for the proxy"),
            None => Failure::from(shut),
        }
    }
}

fn is_shut(error: &TlsError) -> bool {
    matches!(
        error,
        TlsError::WrongPassphrase { .. }
            | TlsError::Content {
                found: Found::EncryptedPkcs8,
                ..
            }
    )
}

fn unread(error: &SecretError) -> Failure {
    let error = anyhow!("mtls.key_passphrase: {error}");
    Failure::new(Exit::Config, error)
        .hint("run it as the proxy's user, or give the passphrase with --passphrase-file")
}

fn unnamed() -> Failure {
    let error = anyhow!("the key is encrypted, and the proxy would not know its passphrase");
    Failure::new(Exit::Config, error)
        .hint("put `key_passphrase = { file = \"path\" }` under [mtls] first")
}

impl From<Unopened> for Failure {
    fn from(unopened: Unopened) -> Self {
        match unopened {
            Unopened::Tls(error) => error.into(),
            Unopened::Shut(failure) => failure,
        }
    }
}
