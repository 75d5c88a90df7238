//! What can be wrong with a configuration, said without repeating what was found.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Who set a value. Later ones win over earlier ones.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum SetBy {
    /// `config/default.toml`, or a rule written there.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable, by name.
    Variable(String),
    /// A flag, by the key it names.
    Flag(String),
}

impl SetBy {
    /// Position in the order of layers; two variables stand on the same one.
    pub(super) fn layer(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File(_) => 1,
            Self::Variable(_) => 2,
            Self::Flag(_) => 3,
        }
    }
}

impl fmt::Display for SetBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => path.display().fmt(f),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(key) => write!(f, "--set {key}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The key, such as `door[0].address`.
    pub key: String,
    /// Who set it; `None`: nobody.
    pub set_by: Option<SetBy>,
    /// What would be right. Never the value found.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.set_by {
            Some(set_by) => write!(f, "{} ({set_by}): {}", self.key, self.message),
            None => write!(f, "{} (not set): {}", self.key, self.message),
        }
    }
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no configuration file.
    #[error("there is no configuration file; looked for {}", list(looked))]
    Nowhere {
        /// Where one was looked for.
        looked: Vec<PathBuf>,
    },
    /// The file is there, or named, and cannot be read.
    #[error("the configuration file {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no TOML. The line is not quoted: a secret may stand in it.
    #[error("{name}, line {line}, column {column}: {what}")]
    Syntax {
        /// The file.
        name: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong, in general words.
        what: &'static str,
    },
    /// Keys or values are wrong; all of them.
    #[error("{}", problems(.0))]
    Invalid(Vec<Problem>),
}

impl ConfigError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Nowhere { .. } => {
                "name one with --config or WISE_PROXY_CONFIG, or see it work without any: \
                 `wise-auth-proxy demo`"
            }
            Self::Unreadable { .. } => {
                "check that the path is right and that the proxy's user may read it"
            }
            Self::Syntax { .. } => {
                "texts stand in quotes, tables open with [name], lists of tables with [[name]]"
            }
            Self::Invalid(_) => {
                "correct them and run `wise-auth-proxy config check`; \
                 `wise-auth-proxy config schema` describes every key"
            }
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(" and ")
}

fn problems(problems: &[Problem]) -> String {
    use fmt::Write as _;

    let mut text = match problems {
        [_] => "the configuration has a problem".to_owned(),
        several => format!("the configuration has {} problems", several.len()),
    };
    for problem in problems {
        // Writing to a String cannot fail.
        let _ok = write!(text, "\n  {problem}");
    }
    text
}
