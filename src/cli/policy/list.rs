//! The policies, and where they apply.

use serde_json::{Value, json};

use super::super::args::Global;
use super::super::failure::Failure;
use super::super::report;
use crate::config::{Config, Door, DoorAddress, Lane, Policy, Rule};

pub(super) fn run(global: &Global, as_json: bool) -> Result<(), Failure> {
    let config = global.load()?.config;
    let policies = Policy::built_in()
        .into_iter()
        .chain(config.policies.clone());
    if as_json {
        let policies = policies.map(|policy| in_json(&policy, &config));
        return report::json(&policies.collect());
    }
    let blocks: Vec<_> = policies.map(|policy| block(&policy, &config)).collect();
    report::data(&blocks.join("\n\n"))
}

/// How a door is named on the command line.
pub(super) fn address(door: &Door) -> String {
    match &door.address {
        DoorAddress::Tcp(address) => address.to_string(),
        DoorAddress::Unix { path, .. } => format!("unix:{}", path.display()),
    }
}

fn users(policy: &Policy, config: &Config) -> (Vec<String>, Vec<String>) {
    let applies = |name: &Option<String>| name.as_ref() == Some(&policy.name);
    let doors = config.doors.iter().filter(|door| applies(&door.policy));
    let callers = config
        .callers
        .iter()
        .filter(|caller| applies(&caller.policy));
    (
        doors.map(address).collect(),
        callers.map(|caller| caller.name.clone()).collect(),
    )
}

fn texts(rules: &[Rule]) -> Vec<String> {
    rules.iter().map(ToString::to_string).collect()
}

fn block(policy: &Policy, config: &Config) -> String {
    let (doors, callers) = users(policy, config);
    let built_in = Policy::BUILT_IN.contains(&policy.name.as_str());
    let mode = match (built_in, policy.observe) {
        (_, true) => "only observes",
        (true, false) => "built in",
        (false, false) => "in force",
    };
    let mut rows = vec![vec![policy.name.clone(), mode.to_owned()]];
    let mut row = |name: &str, value: Option<String>| {
        let value = value.filter(|value| !value.is_empty());
        rows.extend(value.map(|value| vec![format!("  {name}"), value]));
    };
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    row(
        "allow",
        policy.allow.as_deref().map(|rules| texts(rules).join(", ")),
    );
    row("deny", Some(texts(&policy.deny).join(", ")));
    row(
        "profiles",
        policy
            .profiles
            .as_ref()
            .map(|it| join(it.iter().map(ToString::to_string))),
    );
    row(
        "lanes",
        policy
            .lanes
            .map(|lanes| join(lanes.iter().map(|lane| lane.to_string()))),
    );
    row(
        "max_body",
        policy.max_body.map(|bytes| format!("{bytes} bytes")),
    );
    row("requests_per_minute", number(policy.requests_per_minute));
    row("concurrent_requests", number(policy.concurrent_requests));
    row("fundings_per_hour", number(policy.fundings_per_hour));
    row("doors", Some(doors.join(", ")));
    row("callers", Some(callers.join(", ")));
    report::table(&rows)
}

fn join(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

fn in_json(policy: &Policy, config: &Config) -> Value {
    let (doors, callers) = users(policy, config);
    let profiles = policy.profiles.as_ref();
    let lanes = policy
        .lanes
        .map(|lanes| lanes.iter().map(Lane::name).collect::<Vec<_>>());
    json!({
        "name": policy.name,
        "built_in": Policy::BUILT_IN.contains(&policy.name.as_str()),
        "observe": policy.observe,
        "allow": policy.allow.as_deref().map(texts),
        "deny": texts(&policy.deny),
        "profiles": profiles.map(|it| it.iter().map(ToString::to_string).collect::<Vec<_>>()),
        "lanes": lanes,
        "max_body": policy.max_body,
        "requests_per_minute": policy.requests_per_minute,
        "concurrent_requests": policy.concurrent_requests,
        "fundings_per_hour": policy.fundings_per_hour,
        "doors": doors,
        "callers": callers,
    })
}
