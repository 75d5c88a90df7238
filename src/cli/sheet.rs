//! The configuration file with something else in it; everything else, comments included, stays as a
//! person wrote it.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use toml_edit::{DocumentMut, Item, Table, Value};

use super::args::Global;
use super::failure::{Exit, Failure};
use crate::config::{ConfigError, FileChoice, Loaded, Sources, load};
use crate::durable;

/// The file as it will be.
pub(super) struct Sheet {
    sources: Sources,
    pub(super) path: PathBuf,
    pub(super) document: DocumentMut,
}

/// What came of it.
pub(super) struct Written {
    pub(super) path: PathBuf,
    pub(super) reload_interval: Duration,
}

impl Sheet {
    /// Reads the file. It need not be a configuration that can be used: perhaps it only wants the
    /// caller that is to be added.
    pub(super) fn open(global: &Global) -> Result<Self, Failure> {
        let sources = global.sources()?;
        let path = match &sources.file {
            FileChoice::Path(path) => path.clone(),
            FileChoice::FirstOf(places) => {
                let found = places.iter().find(|place| place.exists()).cloned();
                let looked = places.clone();
                found.ok_or(ConfigError::Nowhere { looked })?
            }
            FileChoice::Text { name, .. } => name.into(),
        };
        // Where the name is a link, what it leads to is replaced.
        let real = fs::canonicalize(&path);
        let text = real.and_then(|real| Ok((fs::read_to_string(&real)?, real)));
        let (text, path) = text.map_err(|source| ConfigError::Unreadable { path, source })?;
        let document = text.parse().map_err(|_not_quoted| {
            let error = anyhow!("{} is not TOML", path.display());
            let check = global.spell("config check");
            Failure::new(Exit::Config, error).hint(format!("{check} says where"))
        })?;
        Ok(Self {
            sources,
            path,
            document,
        })
    }

    /// Writes the file if the proxy can use it; as a whole, or not at all.
    pub(super) fn write(self) -> Result<Written, Failure> {
        let loaded = self.try_out()?;
        replace(&self.path, self.document.to_string().as_bytes()).map_err(|error| {
            let error = anyhow!(error).context(format!("cannot write {}", self.path.display()));
            Failure::new(Exit::Failed, error)
                .hint("ask as its owner, or as root; nothing was changed")
        })?;
        Ok(Written {
            path: self.path,
            reload_interval: loaded.config.runtime.reload_interval,
        })
    }

    /// The configuration that the file would make; writes nothing.
    pub(super) fn try_out(&self) -> Result<Loaded, Failure> {
        let text = self.document.to_string();
        let directory = self.path.parent().unwrap_or(Path::new("/")).to_owned();
        let tried = Sources {
            file: FileChoice::Text {
                name: self.path.display().to_string(),
                text,
                directory,
            },
            ..self.sources.clone()
        };
        load(&tried).map_err(|error| {
            let mut failure = Failure::from(error);
            failure.error = failure.error.context("nothing was written");
            failure
        })
    }
}

/// Puts a file in another's place, with that one's mode and owner: the proxy must be able to read
/// it, and nobody else who could not before.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let before = fs::metadata(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let passing = path.with_file_name(format!(".{name}.sheet"));
    durable::stage(&passing, bytes)?;
    let moved = || {
        let file = OpenOptions::new().write(true).open(&passing)?;
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (before.uid(), before.gid()) {
            fchown(&file, Some(before.uid()), Some(before.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(before.mode() & 0o7777))?;
        file.sync_all()?;
        fs::rename(&passing, path)?;
        durable::sync_parent(path)
    };
    moved().inspect_err(|_| {
        let _ = fs::remove_file(&passing);
    })
}

/// Sets a key of a table, which is made at the end where it is missing.
pub(super) fn put(document: &mut DocumentMut, section: &str, key: &str, value: impl Into<Value>) {
    if !document.get(section).is_some_and(Item::is_table) {
        // Written in one line; it stands there in full then.
        let whole = document.remove(section);
        let whole = whole.and_then(|item| item.into_table().ok());
        document.insert(section, Item::Table(whole.unwrap_or_default()));
    }
    if let Some(table) = document.get_mut(section).and_then(Item::as_table_mut) {
        set(table, key, value.into());
    }
}

/// Sets a key, unless it says the same already.
pub(super) fn set(table: &mut Table, key: &str, value: Value) {
    let same = table.get(key).and_then(Item::as_value);
    if same.is_some_and(|same| plain(same) == plain(&value)) {
        return;
    }
    let mut value = value;
    if let Some(before) = same {
        // A comment behind the value stays.
        *value.decor_mut() = before.decor().clone();
    }
    match table.get_mut(key) {
        Some(item) => *item = Item::Value(value),
        None => drop(table.insert(key, Item::Value(value))),
    }
}

/// Without the spaces and comments around it.
fn plain(value: &Value) -> String {
    let mut value = value.clone();
    value.decor_mut().clear();
    let text = value.to_string();
    text.split_whitespace().collect()
}
