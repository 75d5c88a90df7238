//! Certificates, keys and whom to believe: everything about TLS that is decided before a socket
//! opens, and the reading of what went wrong after one did.
//!
//! This room never opens a connection, never turns verification off and never prints a key.
//! rustls types may leave it only towards `upstream` and the simulator.

mod authority;
mod chain;
mod client;
mod csr;
mod expiry;
mod failure;
mod files;
mod identity;
mod install;
mod keys;
mod observed;
mod pair;
mod pem;
mod pkcs12;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
mod roots;
mod server;
mod sessions;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

pub(crate) use authority::{Authority, NewAuthority, Tunnels, Vouching};
pub(crate) use chain::{Certificate, inspect};
pub(crate) use client::client_config;
pub(crate) use csr::{KeyType, Request, Subject};
pub(crate) use expiry::Reminder;
pub(crate) use failure::HandshakeFailure;
pub(crate) use identity::{Finding, Identity, Severity};
pub(crate) use install::{Candidate, complete};
pub(crate) use observed::{Shown, Watch, watched_config};
pub(crate) use pair::Pair;
pub(crate) use pem::{Expected, Found, is_pkcs12};
pub(crate) use pkcs12::ArchiveProblem;
pub(crate) use roots::RootSet;
pub(crate) use server::{Acceptor, ClientCertificate, Clients, HANDSHAKE, ServerStream};
pub(crate) use sessions::Tickets;

/// Why a certificate, a key or a set of roots cannot be used.
///
/// Every message names the file and ends in what to do next; none holds a byte of a key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read {}: {source}; check the path and who may read it", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}; check that the directory exists and is yours", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "{} is there already and is never overwritten; name another file, or move it away if no certificate belongs to it",
        path.display()
    )]
    Exists { path: PathBuf },
    #[error(
        "{} holds a private key and has mode {mode:04o}, so others on this machine may read it; run `chmod 600 {}`",
        path.display(), path.display()
    )]
    KeyTooOpen { path: PathBuf, mode: u32 },
    #[error("{} should hold {expected}, but {found}; {}", path.display(), found.hint(*expected))]
    Content {
        path: PathBuf,
        expected: Expected,
        found: Found,
    },
    #[error(
        "block {position} of {} is labelled as a certificate but is not one (X.509); copy it again as a whole",
        path.display()
    )]
    NotX509 { path: PathBuf, position: usize },
    #[error(
        "the private key in {} is damaged or of a kind that TLS here cannot use; RSA 2048 to 4096, P-256 and P-384 work, and `csr` makes one",
        path.display()
    )]
    UnusableKey { path: PathBuf },
    #[error(
        "the private key in {} belongs to none of the certificates in {}; pair the certificate with the key whose CSR was signed",
        key.display(), certificate.display()
    )]
    KeyMismatch { certificate: PathBuf, key: PathBuf },
    #[error("the passphrase does not open {}; name the one that it was encrypted with", path.display())]
    WrongPassphrase { path: PathBuf },
    #[error(
        "the private key in {} is damaged, or encrypted in a way that is not known here; convert it: `(umask 077 && openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out FILE.pkcs8)`",
        path.display()
    )]
    SealedKey { path: PathBuf },
    #[error("{} cannot be used: {problem}", path.display())]
    Archive {
        path: PathBuf,
        problem: ArchiveProblem,
    },
    #[error(
        "{} is named as the certificate and as its key, and an installation would lose the key; give each a file of its own under [mtls]",
        path.display()
    )]
    OneFile { path: PathBuf },
    #[error(
        "there is no pair to go back to: {} does not exist; `cert install` keeps the pair that it replaces",
        path.display()
    )]
    NoPrevious { path: PathBuf },
    #[error(
        "there is no pair to go back to: {} is the certificate in use; see `wise-auth-proxy cert show`",
        path.display()
    )]
    PreviousInUse { path: PathBuf },
    #[error("{finding}")]
    Unfit { finding: Finding },
    #[error(
        "the system's store of certificate authorities is empty ({reason}); install the `ca-certificates` package, or choose `roots = \"bundled\"`, or `roots = \"only-extra\"` with `extra_ca`"
    )]
    NoSystemRoots { reason: String },
    #[error(
        "no certificate authority is trusted: `roots = \"only-extra\"` needs `extra_ca` to name a PEM file"
    )]
    NoRoots,
    #[error("{} cannot serve as a certificate authority: block {position}: {reason}; put the CA's certificate there", path.display())]
    UnusableRoot {
        path: PathBuf,
        position: usize,
        reason: String,
    },
    #[error("{field} {problem}; Wise reads it from the CSR's subject")]
    Subject {
        field: &'static str,
        problem: &'static str,
    },
    #[error("the key or CSR could not be made: {0}; this is a fault of the program or the machine")]
    Generate(#[source] rcgen::Error),
    #[error("the key could not be encrypted; this is a fault of the program or the machine")]
    Seal,
    #[error(
        "others may put files into {}, mode {mode:04o}, and an authority there would be theirs; run `chmod go-w {}`",
        path.display(), path.display()
    )]
    LooseDirectory { path: PathBuf, mode: u32 },
    #[error(
        "{} is not the certificate of an authority; make one with `wise-auth-proxy ca init`, and put a door's certificate elsewhere",
        path.display()
    )]
    NoAuthority { path: PathBuf },
    #[error(
        "the local authority may not vouch for `{host}`: it was made for other hosts; make another with `wise-auth-proxy ca init --force`, and have applications trust that"
    )]
    NotCovered { host: String },
    #[error("TLS could not be set up: {0}; this is a fault of the program")]
    Setup(#[source] rustls::Error),
}

/// Has the first randomness gathered by a thread of its own, while the start goes on.
///
/// AWS-LC wants two sources that would both have to fail, the system's and the jitter of the
/// processor; the second takes it tens of milliseconds, which the first handshake would wait for.
pub(crate) fn gather_randomness() {
    let gather = || {
        // Whoever needs some later hears of a failure.
        let _ = aws_lc_rs::rand::fill(&mut [0; 32]);
    };
    // Without the thread, the first handshake gathers it.
    let _ = std::thread::Builder::new()
        .name("randomness".into())
        .spawn(gather);
}
