//! What to do next, for every state of every step: one sentence, with its command in backticks.

use std::path::Path;
use std::time::SystemTime;

use super::super::spelling::{self, word};
use super::evidence::{Certificate, Evidence, Guide, Rehearsal, Request, Start, Typed};
use super::step::Step;
use super::words::rfc3339;
use crate::config::Lane;

/// What to do next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Next {
    /// As a person reads it; commands stand in backticks.
    pub(super) text: String,
    /// The command to type, where there is one.
    pub(super) command: Option<String>,
    /// Wise was not asked: it is not known whether anything is to be done.
    pub(super) is_question: bool,
}

impl Next {
    /// A command, and what it does.
    fn run(command: String, why: &str) -> Self {
        Self {
            text: format!("`{command}`: {why}"),
            command: Some(command),
            is_question: false,
        }
    }

    /// A person's part, and the command after it.
    fn then(what: &str, command: String) -> Self {
        Self {
            text: format!("{what}; then `{command}`"),
            command: Some(command),
            is_question: false,
        }
    }
}

impl Typed {
    /// A command of ours for this configuration.
    fn command(&self, rest: &str) -> String {
        spelling::command(self.config.as_deref(), rest)
    }

    fn csr(&self) -> String {
        let organisation = self.organisation.as_deref().unwrap_or("Your company");
        let mut words = format!("csr --organisation {}", word(organisation));
        if let Some(country) = &self.country {
            words.push_str(" --country ");
            words.push_str(&word(country));
        }
        self.command(&words)
    }
}

pub(super) fn init(typed: &Typed) -> Next {
    Next::run(
        typed.command("init"),
        "asks what it needs to know and writes the configuration",
    )
}

/// Wise hands credentials out by hand.
pub(super) fn apply(evidence: &Evidence) -> Next {
    let who = match evidence.guide {
        Guide::Sandbox => "your sandbox user ids",
        Guide::Production => "your membership numbers (they begin with P)",
    };
    Next::then(
        &format!(
            "ask your Customer Success Manager at Wise for {} client credentials: they want {who} \
             and the redirect address {}",
            evidence.guide.name(),
            evidence.typed.redirect
        ),
        evidence.typed.command("init"),
    )
}

/// A secret that is not there.
pub(super) fn fill(typed: &Typed, what: &str, file: Option<&Path>) -> Next {
    match file {
        Some(file) => {
            let file = spelling::path(file);
            Next::run(
                format!("(umask 077; cat > {file})"),
                &format!(
                    "paste the {what}, press Enter and Ctrl-D; the file is then yours alone (0600)"
                ),
            )
        }
        None => Next::then(
            &format!("put the {what} where the configuration says that it is"),
            typed.command("config check --secrets"),
        ),
    }
}

pub(super) fn correct_client(typed: &Typed) -> Next {
    Next::then(
        "compare oauth.client_id and the client secret with what Wise gave you for this environment",
        typed.command("migrate status"),
    )
}

pub(super) fn again(typed: &Typed) -> Next {
    let command = typed.command("migrate status");
    Next {
        is_question: true,
        ..Next::run(command, "asks Wise, where Wise can be reached")
    }
}

/// A renewal is the running proxy's alone.
pub(super) fn renew(typed: &Typed) -> Next {
    let command = typed.command("run");
    Next {
        is_question: true,
        ..Next::run(command, "starts the proxy, which renews the token")
    }
}

pub(super) fn csr(typed: &Typed) -> Next {
    Next::run(
        typed.csr(),
        "makes the private key, which stays here, and the request",
    )
}

pub(super) fn csr_anew(typed: &Typed, key: &Path) -> Next {
    let old = spelling::path(key);
    Next::run(
        format!("mv {old} {old}.old && {}", typed.csr()),
        "makes both anew; the old key is kept aside",
    )
}

pub(super) fn certificate(evidence: &Evidence) -> Next {
    let typed = &evidence.typed;
    let csr = match &evidence.request {
        Request::Made { csr } => csr.display().to_string(),
        Request::None { key } | Request::KeyOnly { key } => {
            key.with_extension("csr").display().to_string()
        }
        Request::Unconfigured => "the request".to_owned(),
    };
    Next::then(
        &format!(
            "open {}, Authentication > Generate certificate, paste {csr} and save what it gives \
             to a file",
            typed.hub
        ),
        typed.command("cert install FILE"),
    )
}

pub(super) fn login(typed: &Typed, grant: Option<&str>) -> Next {
    let mut words = "login".to_owned();
    if let Some(grant) = grant {
        words.push_str(" --grant ");
        words.push_str(&word(grant));
    }
    if typed.paste {
        words.push_str(" --paste");
    }
    Next::run(
        typed.command(&words),
        "opens Wise's page, where you pick the business profile and approve",
    )
}

pub(super) fn run(typed: &Typed) -> Next {
    Next::run(
        typed.command("run"),
        "starts the proxy, in a terminal of its own or as a service",
    )
}

pub(super) fn first_request(typed: &Typed) -> Next {
    Next::run(
        curl(typed),
        "a first request; then give your programs that address in the place of Wise's",
    )
}

pub(super) fn request(typed: &Typed) -> Next {
    Next::run(
        curl(typed),
        "a request on the new lane, or let a program make one",
    )
}

fn curl(typed: &Typed) -> String {
    match typed.door.as_deref().unwrap_or("127.0.0.1:8080") {
        socket if socket.starts_with('/') => format!(
            "curl -sS --unix-socket {} http://localhost/v2/profiles",
            word(socket)
        ),
        address => format!("curl -sS http://{address}/v2/profiles"),
    }
}

pub(super) fn way_back(evidence: &Evidence, file: Option<&Path>) -> Next {
    let typed = &evidence.typed;
    match (file, evidence.start) {
        (Some(_), _) => fill(typed, "personal token", file),
        (None, Start::PersonalToken) if !evidence.personal.configured => Next::run(
            typed.command("init --personal-token yes"),
            "adds the personal token to the configuration, as the way back",
        ),
        (None, _) => Next::then(
            &format!(
                "let lane {} be taken: see switch.allow",
                evidence.way_back.lane
            ),
            typed.command("config check --secrets"),
        ),
    }
}

pub(super) fn handshake(evidence: &Evidence) -> Next {
    let typed = &evidence.typed;
    match &evidence.certificate {
        Certificate::Installed(_) => Next::run(
            typed.command("cert show"),
            "compare it with the certificates that Wise's Developer Hub lists as active",
        ),
        Certificate::Unconfigured | Certificate::Missing { .. } | Certificate::Unusable(_) => {
            certificate(evidence)
        }
    }
}

pub(super) fn switch(typed: &Typed, lane: Lane, reason: &str) -> Next {
    Next::run(
        typed.command(&format!("switch {lane} --reason {}", word(reason))),
        "every new request takes that lane, at once",
    )
}

/// There, a request, and back again.
pub(super) fn rehearse(evidence: &Evidence) -> Next {
    let typed = &evidence.typed;
    match evidence.rehearsal {
        Rehearsal::Taken { answered: false } => Next::run(
            curl(typed),
            "a request on the way back, as if it were needed",
        ),
        Rehearsal::Taken { answered: true } => switch(typed, Lane::OAuthMtls, "rehearsal over"),
        Rehearsal::None | Rehearsal::Idle | Rehearsal::Over(_) => {
            switch(typed, evidence.way_back.lane, "rehearsal")
        }
    }
}

pub(super) fn wait(typed: &Typed, over: Option<SystemTime>) -> Next {
    let when = over.map_or_else(String::new, |over| format!(", {}", rfc3339(over)));
    Next::then(
        &format!("wait until a week has passed without it{when}"),
        typed.command("migrate status"),
    )
}

/// What a person does before their word is written down.
pub(super) fn confirm(step: Step, evidence: &Evidence) -> Next {
    let typed = &evidence.typed;
    let what = if step == Step::Flows {
        format!(
            "run the business flows that you live by, and look for the integration on {}",
            typed.settings
        )
    } else if step == Step::Told {
        "tell your Customer Success Manager at Wise that mutual TLS works for you".to_owned()
    } else {
        "wait for Wise's word that mutual TLS is enforced: from then on the other host, and with it \
         the way back, is closed"
            .to_owned()
    };
    Next::then(
        &what,
        typed.command(&format!("migrate confirm {}", step.name())),
    )
}

pub(super) fn delete(evidence: &Evidence) -> Next {
    let typed = &evidence.typed;
    let personal = &evidence.personal;
    if personal.configured {
        return Next::run(
            typed.command("init --personal-token no"),
            "takes it out of the configuration; then restart the proxy",
        );
    }
    match &personal.file {
        Some(file) => Next::run(
            format!("rm {}", spelling::path(file)),
            "removes the file that it is in",
        ),
        None => Next::then(
            "revoke it at Wise, under Settings > Connect and manage apps > API tokens",
            typed.command("migrate confirm deleted"),
        ),
    }
}
