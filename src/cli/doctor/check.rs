//! One check: what it is called, what it hangs on, and what came of it.

use std::iter;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::cli::spelling;
use crate::config::{Lane, LaneSet};

/// How a check came out.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it should be.
    Good,
    /// It works, and somebody should look; or it fails where no request goes today.
    Warning,
    /// Something that requests need today does not work.
    Failed,
    /// Not made.
    Skipped,
}

/// Where a check stands in the report. In this order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Group {
    Configuration,
    Secrets,
    Keys,
    Clock,
    Names,
    Connections,
    Tls,
    Certificate,
    Client,
    Grants,
    Lanes,
    Store,
    Record,
    Doors,
}

impl Group {
    /// What a person reads above the group.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration",
            Self::Secrets => "Secrets",
            Self::Keys => "Keys",
            Self::Clock => "Clock",
            Self::Names => "Names (DNS)",
            Self::Connections => "Connections (TCP)",
            Self::Tls => "TLS",
            Self::Certificate => "Client certificate",
            Self::Client => "OAuth client",
            Self::Grants => "Grants",
            Self::Lanes => "Lanes",
            Self::Store => "Store",
            Self::Record => "Record of who called what",
            Self::Doors => "Proxy and doors",
        }
    }
}

/// A check to be made.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(super) id: String,
    pub(super) group: Group,
    /// What is shown while it takes long, after "checking".
    pub(super) doing: String,
    /// Ids of checks that must not have failed.
    pub(super) needs: Vec<String>,
    pub(super) network: bool,
    /// The lanes that need it; `None`: everything does.
    pub(super) serves: Option<LaneSet>,
}

impl Check {
    pub(super) fn new(group: Group, id: impl Into<String>, doing: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            group,
            doing: doing.into(),
            needs: Vec::new(),
            network: false,
            serves: None,
        }
    }

    /// It says nothing of its own once one of these has failed.
    pub(super) fn after<T: Into<String>>(mut self, needs: impl IntoIterator<Item = T>) -> Self {
        self.needs.extend(needs.into_iter().map(Into::into));
        self
    }

    /// It leaves this machine.
    pub(super) fn over_network(mut self) -> Self {
        self.network = true;
        self
    }

    /// Its failure is a warning as long as requests take none of these lanes.
    pub(super) fn serving(mut self, lanes: impl IntoIterator<Item = Lane>) -> Self {
        self.serves = Some(lanes.into_iter().collect());
        self
    }
}

/// What a look brought.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(super) state: State,
    pub(super) text: String,
    pub(super) details: Vec<String>,
    pub(super) hint: Option<String>,
    pub(super) facts: Map<String, Value>,
}

impl Finding {
    pub(super) fn good(text: impl Into<String>) -> Self {
        Self::new(State::Good, text)
    }

    pub(super) fn warning(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(State::Warning, text).hint(hint)
    }

    pub(super) fn failed(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(State::Failed, text).hint(hint)
    }

    /// Has every command in its texts mean the configuration that was named.
    pub(super) fn spell(&mut self, named: Option<&Path>) {
        let texts = iter::once(&mut self.text);
        for text in texts.chain(&mut self.details).chain(&mut self.hint) {
            *text = spelling::text(named, text).into_owned();
        }
    }

    pub(super) fn skipped(text: impl Into<String>) -> Self {
        Self::new(State::Skipped, text)
    }

    /// From a message that ends in what to do, after its last semicolon.
    pub(super) fn advised(message: &str, otherwise: &str) -> Self {
        let (text, hint) = message.rsplit_once("; ").unwrap_or((message, otherwise));
        Self::failed(text, hint)
    }

    fn new(state: State, text: impl Into<String>) -> Self {
        Self {
            state,
            text: text.into(),
            details: Vec::new(),
            hint: None,
            facts: Map::new(),
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A line below the text.
    pub(super) fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }

    /// For programs.
    pub(super) fn fact(mut self, name: &str, value: impl Serialize) -> Self {
        self.facts.insert(name.to_owned(), json!(value));
        self
    }
}

/// A check that was made, or had to be left out.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(super) id: String,
    pub(super) group: Group,
    pub(super) finding: Finding,
    /// The check that failed first, for one that was left out because of it.
    pub(super) because: Option<String>,
    /// Whether what hangs on it has to be left out.
    pub(super) broken: bool,
    pub(super) took: Duration,
}

impl Checked {
    pub(crate) fn state(&self) -> State {
        self.finding.state
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}
