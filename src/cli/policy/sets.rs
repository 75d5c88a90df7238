//! What is in each set.

use serde_json::{Value, json};

use super::super::failure::Failure;
use super::super::report;
use crate::wise::operations::{OPERATIONS, Operation, Set};

pub(super) fn run(set: Option<&str>, as_json: bool) -> Result<(), Failure> {
    let Some(name) = set else {
        let sets = Set::all();
        if as_json {
            let sets = sets
                .into_iter()
                .map(|set| (set.name().to_owned(), in_json(set)));
            return report::json(&sets.collect::<serde_json::Map<_, _>>().into());
        }
        let row = |set: Set| {
            let count = members(set).count().to_string();
            vec![set.name().to_owned(), count, about(set).to_owned()]
        };
        return report::data(&report::table(
            &sets.into_iter().map(row).collect::<Vec<_>>(),
        ));
    };
    let Some(set) = Set::named(name) else {
        return Err(Failure::usage("there is no such set of operations")
            .hint("`wise-auth-proxy policy sets` lists them"));
    };
    if as_json {
        return report::json(&in_json(set));
    }
    let row = |operation: &Operation| {
        let why = operation.funds.unwrap_or_default().to_owned();
        vec![operation.method.to_owned(), operation.path.to_owned(), why]
    };
    report::data(&report::table(&members(set).map(row).collect::<Vec<_>>()))
}

fn members(set: Set) -> impl Iterator<Item = &'static Operation> {
    let members = set.operations();
    let all = OPERATIONS.iter().enumerate();
    all.filter(move |(position, _)| members.contains(*position))
        .map(|(_, operation)| operation)
}

fn about(set: Set) -> &'static str {
    match set {
        Set::Reads => "GET, HEAD and OPTIONS, known or not, but for those that change something",
        Set::Funding => "whatever makes money leave, or pays for what does",
        Set::EverythingKnown => "every operation below",
        Set::Subject(_) => "",
    }
}

fn in_json(set: Set) -> Value {
    members(set)
        .map(|operation| {
            json!({
                "method": operation.method,
                "path": operation.path,
                "subject": operation.subject,
                "reads": operation.reads(),
                "funds": operation.funds,
            })
        })
        .collect()
}
