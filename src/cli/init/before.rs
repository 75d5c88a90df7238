//! What an earlier `init` or a person wrote, as the defaults of today's questions.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item};

use super::super::args::Global;
use super::super::failure::{Exit, Failure};
use super::super::migrate::{Begun, begun};
use super::answers::{Grant, Source};
use crate::config::{FileChoice, Lane};

/// Defaults of config/default.toml: what a file says that does not say it.
pub(super) const DOOR: &str = "127.0.0.1:8080";
pub(super) const STATE: &str = "state";

/// The file in question, and what is in it.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// Where it goes.
    pub(super) path: PathBuf,
    /// Its directory, absolute: relative paths start there.
    pub(super) base: PathBuf,
    /// `None`: there is none yet.
    pub(super) text: Option<String>,
    document: DocumentMut,
    pub(super) begun: Option<Begun>,
}

impl Before {
    /// Looks where every command would.
    pub(super) fn look(global: &Global) -> Result<Self, Failure> {
        let path = match global.sources()?.file {
            FileChoice::Path(path) => path,
            FileChoice::FirstOf(places) => {
                let there = places.iter().find(|place| place.exists());
                let place = there.or(places.first()).cloned();
                place.unwrap_or_default()
            }
            FileChoice::Text {
                directory, name, ..
            } => directory.join(name),
        };
        let failed = |error: io::Error| {
            let text = format!("cannot read {}", path.display());
            Failure::new(Exit::Failed, anyhow::Error::new(error).context(text))
                .hint("name another place with --config, or run it as the file's owner")
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        let mut before = Self::of(&path, text)?;
        // Only what it tells is lost if it cannot be read.
        let store = before.base.join(before.state().as_deref().unwrap_or(STATE));
        before.begun = begun(&store).ok().flatten();
        Ok(before)
    }

    /// What there is at a path.
    pub(super) fn of(path: &Path, text: Option<String>) -> Result<Self, Failure> {
        let whole = std::path::absolute(path);
        let whole = whole.map_err(|error| {
            Failure::new(Exit::Failed, error)
                .hint("go to a directory that is there, or name the file whole with --config")
        })?;
        let document = text.as_deref().unwrap_or_default().parse::<DocumentMut>();
        let document = document.map_err(|_| {
            // The parser's message quotes the text, in which a secret may stand.
            let text = format!("{} is not TOML", path.display());
            Failure::new(Exit::Config, anyhow::Error::msg(text)).hint(
                "`wise-auth-proxy config check` says where; mend it, or move it away and run \
                 `init` again",
            )
        })?;
        Ok(Self {
            path: path.to_owned(),
            base: whole.parent().unwrap_or(&whole).to_owned(),
            text,
            document,
            begun: None,
        })
    }

    pub(super) fn document(&self) -> &DocumentMut {
        &self.document
    }

    fn text_at(&self, keys: [&str; 2]) -> Option<String> {
        let table = self.document.get(keys[0])?;
        table.get(keys[1])?.as_str().map(str::to_owned)
    }

    pub(super) fn environment(&self) -> Option<&str> {
        self.document.get("environment")?.as_str()
    }

    pub(super) fn client_id(&self) -> Option<String> {
        self.text_at(["oauth", "client_id"])
    }

    pub(super) fn redirect(&self) -> Option<String> {
        self.text_at(["oauth", "redirect_uri"])
    }

    pub(super) fn client_secret(&self) -> Option<Source> {
        source(self.document.get("oauth")?.get("client_secret")?)
    }

    pub(super) fn personal(&self) -> Option<Source> {
        source(self.document.get("personal")?.get("token")?)
    }

    pub(super) fn state(&self) -> Option<String> {
        self.text_at(["store", "path"])
    }

    pub(super) fn lane(&self) -> Option<Lane> {
        self.text_at(["switch", "lane"])?.parse().ok()
    }

    pub(super) fn door(&self) -> Option<String> {
        let doors = self.document.get("door")?.as_array_of_tables()?;
        doors.get(0)?.get("address")?.as_str().map(str::to_owned)
    }

    pub(super) fn grants(&self) -> Vec<Grant> {
        let grants = self.document.get("grant");
        let grants = grants.and_then(Item::as_array_of_tables);
        let grants = grants.into_iter().flatten().filter_map(|grant| {
            let profile = grant.get("profile").and_then(Item::as_value);
            Some(Grant {
                name: grant.get("name")?.as_str()?.to_owned(),
                profile: profile.map(|id| match id.as_str() {
                    Some(text) => text.to_owned(),
                    None => id.to_string().trim().to_owned(),
                }),
            })
        });
        grants.collect()
    }

    /// Whether there is something at a path of the configuration's.
    pub(super) fn has(&self, path: &str) -> bool {
        fs::metadata(self.base.join(path)).is_ok_and(|file| file.len() > 0)
    }

    /// The file's name without its ending, where it is not one of the usual ones: two
    /// configurations in a directory must not share secrets and state.
    pub(super) fn stem(&self) -> Option<&str> {
        let stem = self.path.file_stem().and_then(|stem| stem.to_str())?;
        (!["wise-auth-proxy", "config"].contains(&stem)).then_some(stem)
    }

    /// A name of this configuration's own.
    pub(super) fn own(&self, name: &str) -> String {
        match self.stem() {
            Some(stem) => format!("{name}-{stem}"),
            None => name.to_owned(),
        }
    }

    /// Whether it lies where systems keep configuration.
    pub(super) fn is_of_system(&self) -> bool {
        self.base.starts_with(Path::new("/etc"))
    }
}

fn source(item: &Item) -> Option<Source> {
    let table = item.as_table_like()?;
    let text = |key| table.get(key).and_then(Item::as_str).map(str::to_owned);
    if let Some(path) = text("file") {
        return Some(Source::File(path));
    }
    if let Some(name) = text("env") {
        return Some(Source::Env(name));
    }
    if let Some(name) = text("credential") {
        return Some(Source::Credential(name));
    }
    let words = table.get("exec")?.as_array()?.iter();
    let words = words.filter_map(|word| word.as_str().map(str::to_owned));
    Some(Source::Exec(words.collect()))
}
