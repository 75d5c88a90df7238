//! Key files of the configuration beside the client certificate's: each read as a proxy would, and
//! new ones put in place.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::anyhow;
use aws_lc_rs::rsa::PublicEncryptingKey;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;

use super::failure::{Exit, Failure};
use crate::config::{Config, JoseDecrypting, JoseSigning, LaneSet};
use crate::durable;
use crate::jose::{KeyFileError, read_decrypting, read_signing};
use crate::sca;

/// A file with a key, or keys, and what it is for.
#[derive(Clone, Debug)]
pub(super) enum KeyFile {
    Signing(JoseSigning),
    Decrypting(JoseDecrypting),
    /// Signs one-time tokens.
    Approving(PathBuf),
    /// Public keys whose signatures a webhook believes.
    Believed {
        webhook: String,
        path: PathBuf,
    },
}

/// Why a file is of no use. No message has a byte of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    #[error(transparent)]
    Jose(#[from] KeyFileError),
    #[error(transparent)]
    Sca(#[from] sca::KeyError),
    #[error(
        "{} cannot be read: {source}; put Wise's public keys there, and name the file",
        path.display()
    )]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "others may write to {} (permissions {mode:o}) and have their own deliveries believed; run: chmod go-w {}",
        path.display(),
        path.display()
    )]
    Writable { path: PathBuf, mode: u32 },
    #[error(
        "{} holds no public key (`-----BEGIN PUBLIC KEY-----`); put in the keys that Wise signs deliveries with, from its page on webhooks",
        path.display()
    )]
    NoPublic { path: PathBuf },
    #[error(
        "{} holds a public key that is not RSA of 2048 bits or more; Wise signs deliveries with RSA: put its own keys there",
        path.display()
    )]
    NotRsa { path: PathBuf },
}

impl KeyFile {
    /// All that a configuration names.
    pub(super) fn all(config: &Config) -> Vec<Self> {
        let signing = config.jose.signing.iter().cloned().map(Self::Signing);
        let decrypting = config.jose.decrypting.iter().cloned();
        let approving = config.sca.key.iter().cloned();
        let believed = config.webhooks.iter().filter_map(|webhook| {
            Some(Self::Believed {
                webhook: webhook.name.clone(),
                path: webhook.signature_key.clone()?,
            })
        });
        signing
            .chain(decrypting.map(Self::Decrypting))
            .chain(approving.map(Self::Approving))
            .chain(believed)
            .collect()
    }

    /// The configuration's name for it.
    pub(super) fn setting(&self) -> &'static str {
        match self {
            Self::Signing(_) => "jose.signing_key",
            Self::Decrypting(_) => "jose.encryption_key",
            Self::Approving(_) => "sca.key",
            Self::Believed { .. } => "webhook.signature_key",
        }
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Signing(key) => &key.path,
            Self::Decrypting(key) => &key.path,
            Self::Approving(path) | Self::Believed { path, .. } => path,
        }
    }

    /// The lanes whose requests need it; `None`: it has nothing to do with lanes.
    pub(super) fn lanes(&self, config: &Config) -> Option<LaneSet> {
        let routes = config.jose.routes.iter();
        let of = |lanes: Vec<LaneSet>| lanes.into_iter().flat_map(LaneSet::iter).collect();
        match self {
            Self::Signing(_) => {
                let signing = routes.filter(|route| route.method.signs());
                Some(of(signing.map(|route| route.lanes).collect()))
            }
            Self::Decrypting(_) => {
                let encrypting = routes.filter(|route| route.method.encrypts());
                Some(of(encrypting.map(|route| route.lanes).collect()))
            }
            Self::Approving(_) => Some(config.sca.lanes),
            Self::Believed { .. } => None,
        }
    }

    /// Reads it and drops it. Blocks on the file.
    pub(super) fn prove(&self) -> Result<(), KeyError> {
        match self {
            Self::Signing(key) => read_signing(key).map(drop)?,
            Self::Decrypting(key) => read_decrypting(key).map(drop)?,
            Self::Approving(path) => sca::SigningKey::read(path).map(drop)?,
            Self::Believed { path, .. } => believed(path)?,
        }
        Ok(())
    }
}

/// Puts a new key in place, and its directory before it; `force`: over the one that is there, which
/// is otherwise left alone and answered with `in_the_way`.
pub(super) fn put_down(
    path: &Path,
    pem: &[u8],
    force: bool,
    in_the_way: fn(&Path) -> Failure,
) -> Result<(), Failure> {
    let written = || {
        if let Some(directory) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
            durable::make_dir(directory)?;
        }
        if force {
            durable::replace(path, pem)
        } else {
            durable::create_new(path, pem)
        }
    };
    written().map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            return in_the_way(path);
        }
        let error = anyhow!(error).context(format!("cannot write {}", path.display()));
        Failure::new(Exit::Failed, error).hint("check that the directory is yours")
    })
}

fn believed(path: &Path) -> Result<(), KeyError> {
    let path = || path.to_owned();
    let read = || Ok((fs::metadata(path())?.mode() & 0o7777, fs::read(path())?));
    let unreadable = |source| KeyError::Unreadable {
        path: path(),
        source,
    };
    let (mode, text) = read().map_err(unreadable)?;
    // No secret, but whoever may change it may have anything believed.
    if mode & 0o022 != 0 {
        return Err(KeyError::Writable { path: path(), mode });
    }
    let keys: Result<Vec<_>, _> = SubjectPublicKeyInfoDer::pem_slice_iter(&text).collect();
    let keys = keys.ok().filter(|keys| !keys.is_empty());
    let keys = keys.ok_or_else(|| KeyError::NoPublic { path: path() })?;
    let is_long = |key: &SubjectPublicKeyInfoDer<'_>| {
        PublicEncryptingKey::from_der(key).is_ok_and(|key| key.key_size_bits() >= 2048)
    };
    if keys.iter().all(is_long) {
        return Ok(());
    }
    Err(KeyError::NotRsa { path: path() })
}
