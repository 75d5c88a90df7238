//! The steps of Wise's migration guide, judged. Evidence in, states out; nothing is asked here.

use std::time::Duration;

use super::evidence::{
    Certificate, Client, Evidence, GrantState, Handshake, Proxy, Rehearsal, Request,
};
use super::next::{self, Next};
use super::step::Step;
use super::words::{moment, since};
use crate::config::Lane;

/// A lane is unused once nothing went over it for so long: a week has every day of the week in it.
pub(super) const UNUSED_FOR: Duration = Duration::from_hours(7 * 24);

/// How far a step is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum State {
    Done,
    ToDo(Next),
    /// By the first step that has to be done before.
    Blocked(Step),
}

/// A step and what speaks for its state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Judged {
    pub(super) step: Step,
    pub(super) state: State,
    pub(super) evidence: String,
}

/// What is found of one step, apart from the others.
enum Finding {
    Done(String),
    /// Not done: what there is instead, and what to do.
    Open(String, Next),
}

/// Judges every step of the guide.
pub(super) fn judge(evidence: &Evidence) -> Vec<Judged> {
    let mut done = Vec::new();
    let judged = Step::of(evidence.guide, evidence.start).map(|step| {
        let missing = step
            .needs(evidence)
            .iter()
            .find(|need| !done.contains(*need));
        let (state, evidence) = match (look(step, evidence), missing) {
            (Finding::Done(seen), _) => {
                done.push(step);
                (State::Done, seen)
            }
            (Finding::Open(seen, _), Some(by)) => (State::Blocked(*by), seen),
            (Finding::Open(seen, next), None) => (State::ToDo(next), seen),
        };
        Judged {
            step,
            state,
            evidence,
        }
    });
    judged.collect()
}

/// The first step that can be done; a question to Wise only where there is nothing else.
pub(super) fn first(steps: &[Judged]) -> Option<(Step, &Next)> {
    let open = steps.iter().filter_map(|judged| match &judged.state {
        State::ToDo(next) => Some((judged.step, next)),
        State::Done | State::Blocked(_) => None,
    });
    // Of equals the first.
    open.min_by_key(|(_, next)| next.is_question)
}

/// What to do for a step, were it not done.
pub(super) fn how(step: Step, evidence: &Evidence) -> Option<Next> {
    match look(step, evidence) {
        Finding::Open(_, next) => Some(next),
        Finding::Done(_) => None,
    }
}

fn look(step: Step, evidence: &Evidence) -> Finding {
    use Finding::{Done, Open};
    let typed = &evidence.typed;
    if step.is_confirmed() && step != Step::Deleted {
        return match evidence.confirmed.get(&step) {
            Some(word) => Done(format!("confirmed {} by {}", word.at, word.by)),
            None => Open(
                "nobody has confirmed it".into(),
                next::confirm(step, evidence),
            ),
        };
    }
    match step {
        Step::Configuration => match &evidence.configuration {
            Some(seen) => Done(seen.clone()),
            None => Open("there is none".into(), next::init(typed)),
        },
        Step::Credentials => match &evidence.client {
            Client::Accepted(how) => Done(how.clone()),
            Client::Unconfigured => Open(
                "the configuration has no client id".into(),
                next::apply(evidence),
            ),
            Client::NoSecret { why, file } => Open(
                why.clone(),
                next::fill(typed, "client secret", file.as_deref()),
            ),
            Client::Refused(why) => Open(why.clone(), next::correct_client(typed)),
            Client::Unasked(why) => Open(why.clone(), next::again(typed)),
        },
        Step::Request => match &evidence.request {
            Request::Made { csr } => Done(csr.display().to_string()),
            // Installed: the request has done its service.
            _ if matches!(evidence.certificate, Certificate::Installed(_)) => {
                Done("its certificate is installed".into())
            }
            Request::Unconfigured => {
                Open("the configuration has no [mtls]".into(), next::init(typed))
            }
            Request::None { key } => {
                Open(format!("{} is not there", key.display()), next::csr(typed))
            }
            Request::KeyOnly { key } => Open(
                format!("{} has no request beside it", key.display()),
                next::csr_anew(typed, key),
            ),
        },
        Step::Certificate => match &evidence.certificate {
            Certificate::Installed(seen) => Done(seen.clone()),
            Certificate::Unconfigured => {
                Open("the configuration has no [mtls]".into(), next::init(typed))
            }
            Certificate::Missing { path } => Open(
                format!("{} is not there", path.display()),
                next::certificate(evidence),
            ),
            Certificate::Unusable(why) => Open(why.clone(), next::certificate(evidence)),
        },
        Step::Grant => grants(evidence),
        Step::Proxy => match &evidence.proxy {
            Proxy::Running { lane, reasons } => Done(if reasons.is_empty() {
                format!("running on lane {lane}, ready")
            } else {
                format!("running on lane {lane}, NOT ready: {}", reasons.join("; "))
            }),
            Proxy::Stopped => Open("it does not run".into(), next::run(typed)),
            Proxy::Silent(why) => Open(why.clone(), next::run(typed)),
        },
        Step::Applications => match evidence.last_used() {
            Some((lane, used)) => Done(format!(
                "{} answered, last on lane {lane}, {}",
                requests(evidence.accepted()),
                since(used.last_accepted.as_deref(), evidence.now),
            )),
            None => Open(
                "no request has been answered yet".into(),
                next::first_request(typed),
            ),
        },
        Step::WayBack => way_back(evidence),
        Step::Handshake => match &evidence.handshake {
            Handshake::Done(how) => Done(how.clone()),
            Handshake::Failed(why) => Open(why.clone(), next::handshake(evidence)),
            Handshake::Unknown(why) => Open(why.clone(), next::again(typed)),
        },
        Step::Lane => match &evidence.lane {
            // Until it has run once, that is an intention.
            Some((_, how)) if matches!(evidence.proxy, Proxy::Stopped) && !evidence.is_turned => {
                Open(format!("{how}, for the first start"), next::run(typed))
            }
            Some((Lane::OAuthMtls, how)) => Done(how.clone()),
            // The way back is being tried: it ends with a request there.
            Some((_, how)) if matches!(evidence.rehearsal, Rehearsal::Taken { .. }) => {
                Open(how.clone(), next::rehearse(evidence))
            }
            Some((_, how)) => Open(
                how.clone(),
                next::switch(typed, Lane::OAuthMtls, "migration"),
            ),
            None => Open("no lane is in use".into(), next::run(typed)),
        },
        Step::Traffic => {
            let used = evidence.usage.of(Lane::OAuthMtls);
            if used.accepted > 0 {
                Done(format!(
                    "{} answered on lane oauth-mtls, last {}",
                    requests(used.accepted),
                    since(used.last_accepted.as_deref(), evidence.now),
                ))
            } else {
                Open(
                    "no request has been answered on lane oauth-mtls".into(),
                    next::request(typed),
                )
            }
        }
        Step::Rehearsal => rehearsal(evidence),
        Step::Unused => unused(evidence),
        Step::Deleted => deleted(evidence),
        Step::Flows | Step::Told | Step::Enforced => {
            Open(String::new(), next::confirm(step, evidence))
        }
    }
}

fn grants(evidence: &Evidence) -> Finding {
    let open = evidence.grants.iter().find_map(|grant| match &grant.state {
        GrantState::Absent => Some((grant, "nobody has logged in".to_owned())),
        GrantState::Broken(why) => Some((grant, why.clone())),
        GrantState::Alive(_) | GrantState::Stored { .. } => None,
    });
    let mut untried = evidence
        .grants
        .iter()
        .filter_map(|grant| match &grant.state {
            GrantState::Stored { seen, access } => Some((grant, seen, access)),
            GrantState::Alive(_) | GrantState::Absent | GrantState::Broken(_) => None,
        });
    let several = evidence.grants.len() > 1;
    match open {
        Some((grant, why)) => Finding::Open(
            format!("{}: {why}", grant.name),
            next::login(&evidence.typed, several.then_some(grant.name.as_str())),
        ),
        None if evidence.grants.is_empty() => Finding::Open(
            "the configuration has no [[grant]]".into(),
            next::init(&evidence.typed),
        ),
        None => match untried.next() {
            Some((grant, seen, Some(_))) => Finding::Open(
                format!(
                    "{}: {seen}; nobody knows whether Wise still takes it",
                    grant.name
                ),
                next::again(&evidence.typed),
            ),
            Some((grant, seen, None)) => Finding::Open(
                format!(
                    "{}: {seen}; its access token has ended, so only a renewal can tell",
                    grant.name
                ),
                next::renew(&evidence.typed),
            ),
            None => {
                let seen = evidence.grants.iter().map(|grant| match &grant.state {
                    GrantState::Alive(who) => format!("{}: {who}", grant.name),
                    GrantState::Stored { .. } | GrantState::Absent | GrantState::Broken(_) => {
                        grant.name.clone()
                    }
                });
                Finding::Done(seen.collect::<Vec<_>>().join("; "))
            }
        },
    }
}

fn way_back(evidence: &Evidence) -> Finding {
    let back = &evidence.way_back;
    // From here on there is none, and none is needed.
    for closed in [Step::Deleted, Step::Enforced] {
        let mut steps = Step::of(evidence.guide, evidence.start);
        let is_asked = steps.any(|step| step == closed);
        if let Some(word) = evidence.confirmed.get(&closed).filter(|_| is_asked) {
            return Finding::Done(format!("closed: {}, {}", closed.title(), word.at));
        }
    }
    match &back.shut {
        None => Finding::Done(format!("lane {} can be taken at any time", back.lane)),
        Some((why, file)) => Finding::Open(why.clone(), next::way_back(evidence, file.as_deref())),
    }
}

fn rehearsal(evidence: &Evidence) -> Finding {
    let back = evidence.way_back.lane;
    let seen = match &evidence.rehearsal {
        Rehearsal::Over(at) => {
            return Finding::Done(format!("lane {back} answered, and was left again {at}"));
        }
        Rehearsal::None => format!("lane {back} was never gone back to"),
        Rehearsal::Idle => format!("no request was answered while lane {back} was gone back to"),
        Rehearsal::Taken { answered: false } => {
            format!("lane {back} is in use, and no request has been answered on it since")
        }
        Rehearsal::Taken { answered: true } => {
            format!("lane {back} is in use, and has answered")
        }
    };
    Finding::Open(seen, next::rehearse(evidence))
}

fn unused(evidence: &Evidence) -> Finding {
    let typed = &evidence.typed;
    if let Some((Lane::Personal, how)) = &evidence.lane {
        return Finding::Open(
            how.clone(),
            next::switch(typed, Lane::OAuthMtls, "migration"),
        );
    }
    if evidence.accepted() == 0 {
        return Finding::Open(
            "no request has gone through this proxy yet".into(),
            next::wait(typed, None),
        );
    }
    let Some(last) = evidence.usage.of(Lane::Personal).last.as_deref() else {
        return Finding::Done("no request through this proxy has carried it".into());
    };
    let ago = since(Some(last), evidence.now);
    let over = moment(last).and_then(|last| last.checked_add(UNUSED_FOR));
    match over {
        Some(over) if over <= evidence.now => Finding::Done(format!("last used {ago}")),
        // A time that cannot be read has not passed.
        over => Finding::Open(format!("last used {ago}"), next::wait(typed, over)),
    }
}

fn deleted(evidence: &Evidence) -> Finding {
    let personal = &evidence.personal;
    let left = if personal.configured {
        Some("the configuration still names it".to_owned())
    } else {
        let file = personal.file.as_ref();
        file.map(|file| format!("{} is still there", file.display()))
    };
    match (left, evidence.confirmed.get(&Step::Deleted)) {
        (Some(left), _) => Finding::Open(left, next::delete(evidence)),
        (None, Some(word)) => Finding::Done(format!("confirmed {} by {}", word.at, word.by)),
        (None, None) => Finding::Open(
            "nobody has confirmed that it is deleted at Wise".into(),
            next::delete(evidence),
        ),
    }
}

fn requests(count: u64) -> String {
    match count {
        1 => "1 request".to_owned(),
        count => format!("{count} requests"),
    }
}
