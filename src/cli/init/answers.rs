//! What is known once all is answered.

use std::path::{Path, PathBuf};

use super::super::failure::{Exit, Failure};
use super::super::migrate::{Guide, Start};
use super::super::spelling;
use crate::config::{Config, Environment, FileChoice, Lane, SecretSource, Sources, load};

/// Where Wise is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Sandbox,
    Production,
    Simulator(Box<Simulated>),
}

/// A simulator's directory, as a configuration names what is in it.
#[derive(Clone, Debug)]
pub(super) struct Simulated {
    pub(super) plain: String,
    pub(super) mtls: String,
    pub(super) authorise: String,
    pub(super) extra_ca: String,
    pub(super) client_id: String,
    pub(super) client_secret: Source,
    pub(super) personal_token: Source,
}

/// Where a secret is, as it stands in the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Source {
    File(String),
    Env(String),
    Credential(String),
    Exec(Vec<String>),
}

/// How secrets are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Keeping {
    Files,
    Env,
    Systemd,
    Exec,
}

/// The OAuth client and what goes with it.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) secret: Source,
    pub(super) redirect: String,
    pub(super) grants: Vec<Grant>,
}

/// A profile to authorise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Grant {
    pub(super) name: String,
    /// `None`: `login` finds it out.
    pub(super) profile: Option<String>,
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub(super) place: Place,
    pub(super) start: Start,
    /// `None`: Wise has not given one yet.
    pub(super) client: Option<Client>,
    pub(super) personal: Option<Source>,
    pub(super) organisation: Option<String>,
    pub(super) country: Option<String>,
    pub(super) door: String,
    /// As typed: relative to the configuration's directory.
    pub(super) state: String,
    /// Directory of certificate and key, and of secrets in files.
    pub(super) secrets: String,
}

impl Place {
    pub(super) fn environment(&self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Production => "production",
            Self::Simulator(_) => "custom",
        }
    }

    pub(super) fn guide(&self) -> Guide {
        match self {
            Self::Sandbox | Self::Simulator(_) => Guide::Sandbox,
            Self::Production => Guide::Production,
        }
    }
}

impl Keeping {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        match text {
            "files" => Ok(Self::Files),
            "env" => Ok(Self::Env),
            "systemd" => Ok(Self::Systemd),
            "exec" => Ok(Self::Exec),
            _ => Err("say files, env, systemd or exec".to_owned()),
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Env => "env",
            Self::Systemd => "systemd",
            Self::Exec => "exec",
        }
    }
}

impl Source {
    /// The kind that it is of.
    pub(super) const fn keeping(&self) -> Keeping {
        match self {
            Self::File(_) => Keeping::Files,
            Self::Env(_) => Keeping::Env,
            Self::Credential(_) => Keeping::Systemd,
            Self::Exec(_) => Keeping::Exec,
        }
    }
}

impl Answers {
    /// The lane to begin in: where the company is today, as long as that lane can be had.
    /// `before`: the one that the configuration said until now.
    pub(super) fn lane(&self, before: Option<Lane>) -> Lane {
        let can = |lane: &Lane| match lane {
            Lane::Personal => self.personal.is_some(),
            Lane::OAuth | Lane::OAuthMtls => self.client.is_some(),
        };
        let today = if self.personal.is_some() {
            Lane::Personal
        } else if self.start == Start::ClientCredentials {
            Lane::OAuth
        } else {
            Lane::OAuthMtls
        };
        before.filter(can).unwrap_or(today)
    }
}

/// Reads what a simulator left for a proxy beside it. `base`: the configuration's directory.
pub(super) fn simulated(dir: &Path, base: &Path) -> Result<Simulated, Failure> {
    let file = dir.join("proxy.toml");
    let sources = Sources {
        file: FileChoice::Path(file.clone()),
        variables: Vec::new(),
        flags: Vec::new(),
    };
    let failed = |text: String| {
        let dir = spelling::path(dir);
        Failure::new(Exit::Failed, anyhow::Error::msg(text)).hint(format!(
            "start a simulator first, in another terminal: `wise-auth-proxy simulator --dir {dir}`"
        ))
    };
    let config = load(&sources)
        .map_err(|error| failed(error.to_string()))?
        .config;
    let Config {
        environment,
        hosts,
        trust,
        oauth,
        personal,
        ..
    } = config;
    let near = |path: PathBuf| {
        let near = path.strip_prefix(base).map(Path::to_owned);
        near.unwrap_or(path).display().to_string()
    };
    let source = |source: SecretSource| match source {
        SecretSource::File(path) => Some(Source::File(near(path))),
        SecretSource::Env(_) | SecretSource::Exec(_) | SecretSource::Credential(_) => None,
    };
    let parts = (trust.extra_ca, oauth, personal.and_then(source));
    let (Some(extra_ca), Some(oauth), Some(personal_token)) = parts else {
        return Err(failed(format!("{} is no simulator's", file.display())));
    };
    let secret = source(oauth.client_secret);
    let Some(client_secret) = secret.filter(|_| environment == Environment::Custom) else {
        return Err(failed(format!("{} is no simulator's", file.display())));
    };
    Ok(Simulated {
        plain: hosts.plain.to_string(),
        mtls: hosts.mtls.to_string(),
        authorise: hosts.authorise,
        extra_ca: near(extra_ca),
        client_id: oauth.client_id,
        client_secret,
        personal_token,
    })
}
