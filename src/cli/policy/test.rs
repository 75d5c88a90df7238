//! Whether a request would pass, and which rule says so.

use http::uri::PathAndQuery;
use serde_json::{Value, json};

use super::super::args::{Global, PolicyTestArgs};
use super::super::failure::{Exit, Failure};
use super::super::report;
use super::list::address;
use crate::config::{Config, Door, Lane};
use crate::guard::{
    ActsFor, Asked, Holder, Named, Policies, Policy, Reason, Refusal, doubt_in_query,
    profiles_named,
};
use crate::wise::operations::OPERATIONS;
use crate::wise::{CredentialKind, routes};

/// What one policy says.
struct Word {
    policy: String,
    observe: bool,
    allowed_by: Option<String>,
    refusal: Option<Refusal>,
    /// What only a running proxy knows.
    limits: Vec<String>,
}

pub(super) fn run(global: &Global, args: &PolicyTestArgs) -> Result<(), Failure> {
    let config = global.load()?.config;
    let target: PathAndQuery = (args.path.parse().ok())
        .filter(|target: &PathAndQuery| target.as_str().starts_with('/'))
        .ok_or_else(|| {
            Failure::usage("the path is none")
                .hint("write it as in a request, such as /v1/transfers?profile=30000000")
        })?;
    let entry = Entry::find(&config, args)?;
    let Entry { door, caller, .. } = entry;
    let lane = args.lane.or(config.doors[door].lane);
    let lane = lane.unwrap_or(config.switch.lane);
    let policies = Policies::new(&config, None);
    let mut asked = Asked::new(&args.method, target.path());
    if let Some(why) = doubt_in_query(target.query()) {
        asked.doubt(why);
    }
    // Who is not let in meets no policy.
    let asked_ones = policies.of(door, caller).filter(|_| entry.is_let_in);
    let words: Vec<Word> = asked_ones
        .map(|policy| word(policy, &config, &asked, &target, (door, lane), args))
        .collect();
    let decides = |word: &&Word| word.refusal.is_some() && !word.observe;
    let refused = words
        .iter()
        .find(decides)
        .and_then(|word| word.refusal.clone());
    let holder = policies.holder(caller.map_or(Holder::Door(door), Holder::Caller));
    let allowed = entry.is_let_in && refused.is_none();
    let address = address(&config.doors[door]);
    if args.json {
        let mut outcome = in_json(&words, &asked, lane, holder, allowed);
        outcome["door"] = address.into();
        outcome["let_in"] = entry.is_let_in.into();
        report::json(&outcome)?;
    } else {
        let is_let_in = entry.is_let_in;
        let door = if is_let_in {
            address
        } else {
            format!("{address} does not let it in")
        };
        let rows = [
            ("allowed", if allowed { "yes" } else { "NO" }),
            ("door", &door),
        ];
        let rows = rows.map(|(name, text)| row(name, text)).into_iter();
        let words = shown(&words, &asked, lane, holder).into_iter();
        let words = words.filter(|_| is_let_in);
        report::data(&report::table(&rows.chain(words).collect::<Vec<_>>()))?;
    }
    if !entry.is_let_in {
        return Err(entry.refused(&config, args));
    }
    match refused {
        None => Ok(()),
        Some(refusal) => Err(
            Failure::new(Exit::Refused, anyhow::Error::msg(refusal.to_string())).hint(format!(
                "`wise-auth-proxy policy list` shows the policy `{}`",
                refusal.policy
            )),
        ),
    }
}

fn caller(config: &Config, name: Option<&str>) -> Result<Option<usize>, Failure> {
    let Some(name) = name else { return Ok(None) };
    let found = config.callers.iter().position(|caller| caller.name == name);
    if found.is_some() {
        return Ok(found);
    }
    let names: Vec<_> = config.callers.iter().map(|it| it.name.as_str()).collect();
    let hint = if names.is_empty() {
        "the configuration has no [[caller]]".to_owned()
    } else {
        format!("the callers are {}", names.join(", "))
    };
    Err(Failure::usage("there is no such caller").hint(hint))
}

fn door(config: &Config, named: &str) -> Result<usize, Failure> {
    let doors: Vec<_> = config.doors.iter().map(address).collect();
    doors.iter().position(|door| door == named).ok_or_else(|| {
        Failure::usage("there is no such door").hint(format!("the doors are {}", doors.join(", ")))
    })
}

/// Where a request comes in, and as whom.
#[derive(Clone, Copy)]
struct Entry {
    door: usize,
    /// A door without callers tells nobody apart.
    caller: Option<usize>,
    is_let_in: bool,
}

impl Entry {
    /// At the door that was named, or at the first one that lets it in: one that knows the caller
    /// before one that asks nobody.
    fn find(config: &Config, args: &PolicyTestArgs) -> Result<Self, Failure> {
        let caller = caller(config, args.caller.as_deref())?;
        let knows = |door: &Door| {
            let name = args.caller.as_ref();
            let known = door.callers.as_ref().zip(name);
            known.is_some_and(|(callers, name)| callers.contains(name))
        };
        let asks_nobody = |door: &Door| door.callers.is_none();
        let door = if let Some(named) = args.door.as_deref() {
            door(config, named)?
        } else {
            let known = config.doors.iter().position(knows);
            let open = || config.doors.iter().position(asks_nobody);
            known.or_else(open).unwrap_or_default()
        };
        let at = &config.doors[door];
        Ok(Self {
            door,
            caller: caller.filter(|_| knows(at)),
            is_let_in: knows(at) || asks_nobody(at),
        })
    }

    fn refused(self, config: &Config, args: &PolicyTestArgs) -> Failure {
        let who = match &args.caller {
            Some(name) => format!("caller {name}"),
            None => "somebody who is none of its callers".to_owned(),
        };
        let callers = config.doors[self.door].callers.iter().flatten();
        let callers: Vec<_> = callers.map(String::as_str).collect();
        let (error, hint) = match &args.door {
            Some(door) => (
                format!("the door {door} does not let {who} in"),
                format!("it lets in {}", callers.join(", ")),
            ),
            None => (
                format!("no door lets {who} in"),
                "say who asks with --caller, or add the caller to a door's `callers`".to_owned(),
            ),
        };
        Failure::new(Exit::Refused, anyhow::Error::msg(error)).hint(hint)
    }
}

fn row(name: &str, text: &str) -> Vec<String> {
    vec![name.to_owned(), text.to_owned()]
}

fn word(
    policy: &Policy,
    config: &Config,
    asked: &Asked<'_>,
    target: &PathAndQuery,
    (door, lane): (usize, Lane),
    args: &PolicyTestArgs,
) -> Word {
    let field = args.profile.as_ref().map(|it| Named::plainly(it.as_str()));
    let in_target = || profiles_named(target.path(), target.query());
    let profiles = || field.into_iter().chain(in_target());
    let method = http::Method::from_bytes(args.method.as_bytes()).unwrap_or_default();
    let client = lane.is_oauth()
        && routes::oauth_credential(&method, target.path()) == CredentialKind::Client;
    let judged = policy
        .admit(asked, profiles(), args.body_size)
        .and_then(|()| {
            let named = profiles().next();
            let acts_for = if client {
                ActsFor::Nobody
            } else if lane.is_oauth() {
                let of_door = config.doors[door].grant.as_ref();
                let grant = config.grants.iter().find(|grant| match (named, of_door) {
                    (Some(named), _) => {
                        let profile = grant.profile.as_ref();
                        profile.is_some_and(|profile| named.is(profile.as_str()))
                    }
                    (None, Some(of_door)) => grant.name == *of_door,
                    (None, None) => grant.default,
                });
                // A single grant may learn its profile from a login only.
                let grant = grant.or(config.grants.first());
                ActsFor::One(grant.and_then(|grant| grant.profile.as_ref()))
            } else {
                ActsFor::Any
            };
            policy.send(lane, acts_for, in_target().next().is_some())
        });
    Word {
        policy: policy.name.clone(),
        observe: policy.observe,
        allowed_by: policy.allowed_by(asked),
        refusal: judged.err().map(|reason: Reason| Refusal {
            policy: policy.name.clone(),
            reason,
        }),
        limits: policy.limits(asked.funds()),
    }
}

fn operation(asked: &Asked<'_>) -> Option<String> {
    let operation = &OPERATIONS[asked.operation()?];
    Some(format!("{} {}", operation.method, operation.path))
}

fn shown(words: &[Word], asked: &Asked<'_>, lane: Lane, holder: &str) -> Vec<Vec<String>> {
    let mut rows = vec![
        row(
            "operation",
            &operation(asked).unwrap_or_else(|| "none that is known".to_owned()),
        ),
        row("funding", if asked.funds() { "yes" } else { "no" }),
        row("lane", lane.name()),
        row("counted for", holder),
    ];
    if words.is_empty() {
        rows.push(row("policy", "none: everything is allowed"));
    }
    for word in words {
        let only = if word.observe { " (only observes)" } else { "" };
        rows.push(row("policy", &format!("{}{only}", word.policy)));
        match (&word.refusal, &word.allowed_by) {
            (Some(refusal), _) if word.observe => {
                rows.push(row("", &format!("would refuse: {refusal}")));
            }
            (Some(refusal), _) => rows.push(row("", &format!("refuses: {refusal}"))),
            (None, Some(rule)) => rows.push(row("", &format!("allows it by `{rule}`"))),
            (None, None) => rows.push(row("", "has nothing against it")),
        }
        for limit in word.limits.iter().filter(|_| word.refusal.is_none()) {
            rows.push(row("", &format!("as long as {limit}")));
        }
    }
    rows
}

fn in_json(words: &[Word], asked: &Asked<'_>, lane: Lane, holder: &str, allowed: bool) -> Value {
    let words = words.iter().map(|word| {
        let refusal = word.refusal.as_ref();
        json!({
            "policy": word.policy,
            "observe": word.observe,
            "refuses": refusal.is_some(),
            "reason": refusal.map(|refusal| refusal.reason.name()),
            "detail": refusal.map(ToString::to_string),
            "allowed_by": word.allowed_by,
            "limits": word.limits,
        })
    });
    json!({
        "allowed": allowed,
        "operation": operation(asked),
        "funding": asked.funds(),
        "lane": lane.name(),
        "counted_for": holder,
        "policies": words.collect::<Vec<_>>(),
    })
}
