use std::path::Path;

use super::identity::{Finding, Identity, Severity};
use super::{TlsError, files};
use crate::clock::Clock;
use crate::failpoint::{self, Point};

/// Where the proxy reads its identity from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub certificate: &'a Path,
    pub key: &'a Path,
}

/// What [`install`] put in place.
#[derive(Debug)]
pub(crate) struct Installed {
    pub identity: Identity,
    /// Warnings; errors would have stopped the installation.
    pub findings: Vec<Finding>,
}

/// Checks a certificate against its key, the clock and the client id, then puts it in place.
///
/// `pem` is what the operator gave, `origin` what to call it in messages, `key` the key it was
/// made for. When `key` is not the target's key it moves in as well. Nothing is touched before
/// everything is checked and lies synced beside its place. Two renames are two steps: whoever reads
/// between them, or after a crash there, finds the certificate for the new key where it waits (see
/// [`Identity::load`]).
pub(crate) fn install(
    pem: &[u8],
    origin: &Path,
    key: &Path,
    target: Target<'_>,
    clock: &dyn Clock,
    client_id: Option<&str>,
) -> Result<Installed, TlsError> {
    let key_pem = files::read_key(key)?;
    let identity = Identity::from_pem(pem, origin, &key_pem, key)?;
    let mut findings = identity.check(clock, client_id);
    if let Some(at) = findings
        .iter()
        .position(|finding| finding.severity() == Severity::Error)
    {
        return Err(TlsError::Unfit {
            finding: findings.swap_remove(at),
        });
    }
    finish(target)?;
    files::stage(target.certificate, identity.chain_pem().as_bytes(), 0o644)?;
    if key != target.key {
        files::stage(target.key, &key_pem, 0o600)?;
        files::publish(target.key)?;
    }
    failpoint::pass(Point::PairHalf);
    files::publish(target.certificate)?;
    Ok(Installed { identity, findings })
}

/// Makes an installation whole that a crash stopped between the key and its certificate: that one
/// must not be written over, it is the only one for the key.
fn finish(target: Target<'_>) -> Result<(), TlsError> {
    if Identity::is_half_installed(target.certificate, target.key) {
        files::publish(target.certificate)?;
    }
    Ok(())
}
