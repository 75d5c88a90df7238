//! From the places where settings are written to one [`Config`]: defaults, then the file, then
//! `WISE_PROXY_…` variables, then flags. The only file that reads the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::Config;
use super::check;
use super::error::{ConfigError, Problem, SetBy};
use super::file;
use super::shape::{find, find_mut, secret_keys, shape, spelled};

/// The lowest layer.
/// The lowest layer, as text with its reasons.
pub(crate) const DEFAULTS: &str = include_str!("../../config/default.toml");

const PREFIX: &str = "WISE_PROXY_";

/// Names the configuration file; not a setting.
const FILE_VARIABLE: &str = "WISE_PROXY_CONFIG";

const USUAL_PLACES: [&str; 2] = ["wise-auth-proxy.toml", "/etc/wise-auth-proxy/config.toml"];

/// Which configuration file.
#[derive(Clone, Debug)]
pub enum FileChoice {
    /// This one.
    Path(PathBuf),
    /// The first that exists.
    FirstOf(Vec<PathBuf>),
    /// No file but a text, for a configuration that a program makes.
    Text {
        /// Name in messages.
        name: String,
        /// TOML.
        text: String,
        /// Where relative paths start.
        directory: PathBuf,
    },
}

/// Where settings come from, in full: loading twice from the same sources differs only by what
/// the file holds.
#[derive(Clone)]
pub struct Sources {
    /// Which configuration file.
    pub file: FileChoice,
    /// Environment variables, those without our prefix included.
    ///
    /// `WISE_PROXY_SWITCH__LANE` is `switch.lane`. The text is the value, without quotes; lists
    /// and tables are written as in TOML, and a list replaces the list of the file as a whole.
    pub variables: Vec<(OsString, OsString)>,
    /// `key = value` pairs of flags, with keys such as `switch.lane` and values as in variables.
    pub flags: Vec<(String, String)>,
}

impl fmt::Debug for Sources {
    /// Without values: secrets stand in the environment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl Sources {
    /// The sources of this process: `path` if given, else the file that `WISE_PROXY_CONFIG` names, else
    /// `./wise-auth-proxy.toml` or `/etc/wise-auth-proxy/config.toml`; and its environment.
    pub fn of_process(path: Option<PathBuf>, flags: Vec<(String, String)>) -> Self {
        let named = || variable(FILE_VARIABLE).filter(|value| !value.is_empty());
        let file = match path.or_else(|| named().map(PathBuf::from)) {
            Some(path) => FileChoice::Path(path),
            None => FileChoice::FirstOf(USUAL_PLACES.map(PathBuf::from).to_vec()),
        };
        Self {
            file,
            variables: std::env::vars_os().collect(),
            flags,
        }
    }
}

/// A variable of this process.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
pub(super) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// A checked configuration and where it came from.
#[derive(Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file, absolute; `None` for a text.
    pub path: Option<PathBuf>,
    pub(super) layers: Layers,
    pub(super) tree: Value,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("config", &self.config)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Reads, merges and checks. All problems are reported, not just the first.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let chosen = choose(&sources.file)?;
    let mut layers = Layers::new()?;
    let dict = toml(&chosen.text, &chosen.name)?;
    layers.add(SetBy::File(chosen.name.clone().into()), dict);
    let mut problems = layers.add_variables(&sources.variables);
    problems.extend(layers.add_flags(&sources.flags));

    let mut tree = layers.merged()?;
    layers.choose_secret_sources(&mut tree);

    let (file, misshapen) = shape(&tree, &Value::from(defaults()?));
    // A key that could not be read cannot break a rule as well.
    let silenced: Vec<_> = misshapen
        .iter()
        .map(|finding| finding.key.clone())
        .collect();
    let mut findings = misshapen;
    let config = match file {
        Some(file) => match check::check(&file, &chosen.directory) {
            Ok(config) => Some(config),
            Err(broken) => {
                findings.extend(broken.into_iter().filter(|finding| {
                    !silenced
                        .iter()
                        .any(|key| finding.key.starts_with(key.as_slice()))
                }));
                None
            }
        },
        None => None,
    };
    problems.extend(findings.into_iter().map(|finding| Problem {
        set_by: layers.set_by(&tree, &finding.key),
        key: spelled(&finding.key),
        message: finding.message,
    }));
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded {
            config,
            path: chosen.path,
            layers,
            tree,
        }),
        _ => Err(ConfigError::Invalid(problems)),
    }
}

struct Chosen {
    name: String,
    text: String,
    path: Option<PathBuf>,
    directory: PathBuf,
}

fn choose(choice: &FileChoice) -> Result<Chosen, ConfigError> {
    match choice {
        FileChoice::Path(path) => read(path),
        FileChoice::FirstOf(places) => {
            let found = places.iter().find(|place| place.exists());
            let looked = places.clone();
            read(found.ok_or(ConfigError::Nowhere { looked })?)
        }
        FileChoice::Text {
            name,
            text,
            directory,
        } => Ok(Chosen {
            name: name.clone(),
            text: text.clone(),
            path: None,
            directory: absolute(directory)?,
        }),
    }
}

fn read(path: &Path) -> Result<Chosen, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| unreadable(path, source))?;
    let path = absolute(path)?;
    Ok(Chosen {
        name: path.display().to_string(),
        text,
        directory: path.parent().unwrap_or(&path).to_owned(),
        path: Some(path),
    })
}

fn absolute(path: &Path) -> Result<PathBuf, ConfigError> {
    std::path::absolute(path).map_err(|source| unreadable(path, source))
}

fn unreadable(path: &Path, source: io::Error) -> ConfigError {
    ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    }
}

fn toml(text: &str, name: &str) -> Result<Dict, ConfigError> {
    Toml::from_str(text).map_err(|error| {
        let before = text.get(..error.span().map_or(0, |span| span.start));
        let before = before.unwrap_or(text);
        // The parser's message may quote the text, so it is only used to tell two cases apart.
        let what = if error.message().starts_with("duplicate key") {
            "this key or table stands here a second time"
        } else {
            "this is not TOML"
        };
        ConfigError::Syntax {
            name: name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.chars().rev().take_while(|&c| c != '\n').count() + 1,
            what,
        }
    })
}

/// The defaults as a table.
pub(super) fn defaults() -> Result<Dict, ConfigError> {
    toml(DEFAULTS, "config/default.toml")
}

/// Settings by who set them, lowest first.
#[derive(Clone)]
pub(super) struct Layers {
    figment: Figment,
    names: BTreeMap<String, SetBy>,
}

/// One table of settings for figment.
struct Layer {
    name: String,
    dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

impl Layers {
    fn new() -> Result<Self, ConfigError> {
        let mut layers = Self {
            figment: Figment::new(),
            names: BTreeMap::new(),
        };
        layers.add(SetBy::Default, defaults()?);
        Ok(layers)
    }

    fn add(&mut self, set_by: SetBy, dict: Dict) {
        let name = set_by.to_string();
        self.names.insert(name.clone(), set_by);
        let figment = std::mem::take(&mut self.figment);
        self.figment = figment.merge(Layer { name, dict });
    }

    fn add_variables(&mut self, variables: &[(OsString, OsString)]) -> Vec<Problem> {
        let mut ours: Vec<_> = variables
            .iter()
            .filter_map(|(name, value)| {
                let name = name.to_str()?;
                let key = name.strip_prefix(PREFIX)?;
                (name != FILE_VARIABLE && !is_service_link(key)).then_some((name, key, value))
            })
            .collect();
        ours.sort_unstable();
        let mut problems = Vec::new();
        for (name, key, value) in ours {
            let key = key.to_ascii_lowercase();
            let path: Vec<_> = key.split("__").collect();
            let set_by = SetBy::Variable(name.to_owned());
            problems.extend(self.add_text(set_by, &path, value.to_str()));
        }
        problems
    }

    fn add_flags(&mut self, flags: &[(String, String)]) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (key, value) in flags {
            let path: Vec<_> = key.split('.').collect();
            problems.extend(self.add_text(SetBy::Flag(key.clone()), &path, Some(value)));
        }
        problems
    }

    fn add_text(&mut self, set_by: SetBy, path: &[&str], text: Option<&str>) -> Option<Problem> {
        let value = text.and_then(value_of_text);
        let Some((value, (last, parents))) = value.zip(path.split_last()) else {
            return Some(Problem {
                key: path.join("."),
                set_by: Some(set_by),
                message: "lists and tables must be written as in TOML, other texts in UTF-8"
                    .to_owned(),
            });
        };
        let mut dict = Dict::from([((*last).to_owned(), value)]);
        for parent in parents.iter().rev() {
            dict = Dict::from([((*parent).to_owned(), dict.into())]);
        }
        self.add(set_by, dict);
        None
    }

    fn merged(&self) -> Result<Value, ConfigError> {
        self.figment.find_value("").map_err(|error| {
            let misshapen = file::Misshapen::from(error);
            ConfigError::Invalid(vec![Problem {
                key: spelled(&misshapen.key),
                set_by: None,
                message: "cannot be merged".to_owned(),
            }])
        })
    }

    /// `{ file = … }` below and `{ env = … }` above merge into a table with both; the upper counts.
    fn choose_secret_sources(&self, tree: &mut Value) {
        for path in secret_keys() {
            let Some(Value::Dict(_, sources)) = find_mut(tree, &path) else {
                continue;
            };
            let layer = |value: &Value| self.of_value(value).map(|set_by| set_by.layer());
            let top = sources.values().filter_map(layer).max();
            sources.retain(|_, value| layer(value) == top);
        }
    }

    /// Who set the key; `None` if nobody did.
    pub(super) fn set_by(&self, tree: &Value, path: &[String]) -> Option<SetBy> {
        self.of_value(find(tree, path)?)
    }

    fn of_value(&self, value: &Value) -> Option<SetBy> {
        match value {
            Value::Dict(_, dict) if !dict.is_empty() => {
                let setters = dict.values().filter_map(|value| self.of_value(value));
                setters.max_by_key(SetBy::layer)
            }
            Value::Dict(tag, _)
            | Value::String(tag, _)
            | Value::Char(tag, _)
            | Value::Bool(tag, _)
            | Value::Num(tag, _)
            | Value::Empty(tag, _)
            | Value::Array(tag, _) => {
                let metadata = self.figment.get_metadata(*tag)?;
                self.names.get(metadata.name.as_ref()).cloned()
            }
        }
    }
}

/// Kubernetes gives every container `WISE_PROXY_SERVICE_HOST` and the like as soon as some Service is
/// called `wise-proxy`. None of our keys begins that way.
fn is_service_link(key: &str) -> bool {
    key == "PORT"
        || key.starts_with("PORT_")
        || key == "SERVICE_HOST"
        || key == "SERVICE_PORT"
        || key.starts_with("SERVICE_PORT_")
}

/// The text itself, or the list or table that it spells.
fn value_of_text(text: &str) -> Option<Value> {
    if !text.trim_start().starts_with(['[', '{']) {
        return Some(text.into());
    }
    let mut dict: Dict = Toml::from_str(&format!("value = {text}")).ok()?;
    (dict.len() == 1).then(|| dict.remove("value")).flatten()
}
