//! A new pair takes the place of the one in use, which is kept beside it.
//!
//! Everything is checked, and lies synced beside its place, before anything is touched. After a
//! crash at any moment the pair in use is the old or the new one, the other is still there, and
//! the same command, given again, goes to the end:
//!
//! 1. the new pair waits in `client.pem.next` and `client.key.next`;
//! 2. the pair in use is copied to `client.previous.*`, key first;
//! 3. the new key takes its place, then the new certificate.
//!
//! A rollback is an installation of the previous pair.
//!
//! Two renames are two steps. Whoever reads between them finds the certificate for the new key
//! where it waits (see [`Identity::load`]).

use std::io;
use std::path::Path;

use rustls_pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

use super::identity::{Finding, Identity, Severity};
use super::{Found, Pair, TlsError, chain, files, keys, pkcs12};
use crate::clock::Clock;
use crate::failpoint::{self, Point};
use crate::secret::Secret;

/// A pair that belongs together and is not in its place yet.
#[derive(Debug)]
pub(crate) struct Candidate {
    identity: Identity,
    key: KeyFile,
}

/// The key in PEM, as its file is to hold it.
struct KeyFile(Zeroizing<Vec<u8>>);

/// What [`Candidate::install`] put in place.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) identity: Identity,
    /// Where the pair before is now, if there was one that is another.
    pub(crate) kept: Option<Pair>,
}

impl Candidate {
    /// A certificate in PEM, with its chain, and the file of the key that it was made for.
    ///
    /// `origin` is what to call the certificate in messages.
    pub(crate) fn new(
        certificate: &[u8],
        origin: &Path,
        key: &Path,
        passphrase: Option<&Secret>,
    ) -> Result<Self, TlsError> {
        let key_pem = files::read_key(key)?;
        let identity = Identity::from_pem(certificate, origin, &key_pem, key, passphrase)?;
        let key = KeyFile(key_pem);
        Ok(Self { identity, key })
    }

    /// Certificate, chain and key of a PKCS#12 file; the key is in the clear then.
    pub(crate) fn of_pkcs12(
        archive: &[u8],
        origin: &Path,
        passphrase: &Secret,
    ) -> Result<Self, TlsError> {
        let found = pkcs12::open(archive, origin, passphrase)?;
        let key = Zeroizing::new(found.key.as_bytes().to_vec());
        let identity =
            Identity::from_pem(found.certificates.as_bytes(), origin, &key, origin, None)?;
        let key = KeyFile(key);
        Ok(Self { identity, key })
    }

    /// The pair that `place` held before its last installation.
    ///
    /// Where an exchange was interrupted after the pair in use was copied there, it is the one
    /// that still waits for its place.
    pub(crate) fn previous_of(place: &Pair, passphrase: Option<&Secret>) -> Result<Self, TlsError> {
        let previous = place.previous();
        let missing = |path: &Path| matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound);
        if missing(&previous.certificate) && missing(&previous.key) {
            return Err(TlsError::NoPrevious {
                path: previous.certificate,
            });
        }
        finish(&previous, passphrase)?;
        let read = |pair: &Pair| {
            let pem = files::read(&pair.certificate)?;
            Self::new(&pem, &pair.certificate, &pair.key, passphrase)
        };
        let found = read(&previous)?;
        if !is_in_use(place, &found.identity) {
            return Ok(found);
        }
        let waiting = [
            Pair {
                certificate: files::waiting(&place.certificate),
                key: files::waiting(&place.key),
            },
            Pair {
                certificate: files::waiting(&place.certificate),
                key: place.key.clone(),
            },
        ];
        waiting
            .iter()
            .filter_map(|pair| read(pair).ok())
            .find(|waiting| !is_in_use(place, &waiting.identity))
            .ok_or(TlsError::PreviousInUse {
                path: previous.certificate,
            })
    }

    #[cfg(test)]
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether the key's file will want a passphrase.
    pub(crate) fn is_encrypted(&self) -> bool {
        keys::is_encrypted(&self.key.0, Path::new(""))
    }

    /// Has the key's file encrypted under `under`; `opens` is what it is encrypted under now.
    pub(crate) fn seal(&mut self, opens: Option<&Secret>, under: &Secret) -> Result<(), TlsError> {
        // Opened before: its bytes are a key in a form that can be put into PKCS#8 or is.
        let key = keys::open(&self.key.0, Path::new("the key"), opens)?;
        let PrivateKeyDer::Pkcs8(key) = key else {
            return Err(TlsError::Seal);
        };
        let sealed = keys::seal(&key, under)?;
        self.key = KeyFile(Zeroizing::new(sealed.as_bytes().to_vec()));
        Ok(())
    }

    /// Checks it against the clock and the client id. Returns warnings; an error stops here.
    pub(crate) fn check(
        &self,
        clock: &dyn Clock,
        client_id: Option<&str>,
    ) -> Result<Vec<Finding>, TlsError> {
        let mut findings = self.identity.check(clock, client_id);
        let grave = findings
            .iter()
            .position(|finding| finding.severity() == Severity::Error);
        match grave {
            Some(at) => Err(TlsError::Unfit {
                finding: findings.swap_remove(at),
            }),
            None => Ok(findings),
        }
    }

    /// Puts it in the place of the pair there, which is kept as the previous one.
    ///
    /// `passphrase` opens that pair's key, if it is encrypted.
    pub(crate) fn install(
        self,
        place: &Pair,
        passphrase: Option<&Secret>,
    ) -> Result<Installed, TlsError> {
        if is_one_file(place) {
            return Err(TlsError::OneFile {
                path: place.key.clone(),
            });
        }
        finish(place, passphrase)?;
        let chain = self.identity.chain_pem();
        files::stage(&place.certificate, chain.as_bytes(), 0o644)?;
        let same_key = files::read_key(&place.key).is_ok_and(|there| *there == *self.key.0);
        if same_key {
            files::discard(&place.key)?;
        } else {
            files::stage(&place.key, &self.key.0, 0o600)?;
        }
        failpoint::pass(Point::PairStaged);
        let kept = keep(place, &self.identity, passphrase)?;
        failpoint::pass(Point::PairKept);
        if !same_key {
            files::publish(&place.key)?;
        }
        failpoint::pass(Point::PairHalf);
        files::publish(&place.certificate)?;
        Ok(Installed {
            identity: self.identity,
            kept,
        })
    }
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyFile(..)")
    }
}

/// Copies the pair in `place` to where the previous one is kept, unless it is the new one already
/// or no pair at all.
fn keep(
    place: &Pair,
    new: &Identity,
    passphrase: Option<&Secret>,
) -> Result<Option<Pair>, TlsError> {
    let is_pair = match Identity::load_placed(&place.certificate, &place.key, passphrase) {
        // Without its passphrase one cannot tell; it may well be a pair.
        Ok(_) | Err(TlsError::WrongPassphrase { .. }) => true,
        Err(TlsError::Content { found, .. }) => found == Found::EncryptedPkcs8,
        Err(_) => false,
    };
    if !is_pair || is_in_use(place, new) {
        return Ok(None);
    }
    let previous = place.previous();
    finish(&previous, passphrase)?;
    let (certificate, key) = (
        files::read(&place.certificate)?,
        files::read_key(&place.key)?,
    );
    files::stage_like(&previous.certificate, &certificate, 0o600, &place.key)?;
    files::stage_like(&previous.key, &key, 0o600, &place.key)?;
    files::publish(&previous.key)?;
    failpoint::pass(Point::PairKeptHalf);
    files::publish(&previous.certificate)?;
    Ok(Some(previous))
}

/// Completes an exchange that a crash stopped half-way; `None`: there is none.
pub(crate) fn complete(
    place: &Pair,
    passphrase: Option<&Secret>,
) -> Result<Option<Identity>, TlsError> {
    if !Identity::is_half_installed(&place.certificate, &place.key, passphrase) {
        return Ok(None);
    }
    files::publish(&place.certificate)?;
    Identity::load_placed(&place.certificate, &place.key, passphrase).map(Some)
}

/// Makes a pair whole that a crash stopped between the key and its certificate: that one must not
/// be written over, it is the only one for the key.
fn finish(pair: &Pair, passphrase: Option<&Secret>) -> Result<(), TlsError> {
    complete(pair, passphrase).map(drop)
}

/// Whether the certificate in its place is this one.
fn is_in_use(place: &Pair, identity: &Identity) -> bool {
    let leaf = &identity.certificate().fingerprint;
    chain::inspect(&place.certificate).is_ok_and(|chain| {
        chain
            .first()
            .is_some_and(|there| there.fingerprint == *leaf)
    })
}

/// Whether certificate and key are named as one file, of which an installation would leave half.
fn is_one_file(pair: &Pair) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    pair.certificate == pair.key
        || real(&pair.certificate).is_some_and(|path| real(&pair.key) == Some(path))
}
