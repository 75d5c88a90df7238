//! What the fuzzers of `tests/fuzz` call, one function for each target: bytes in, a panic where a
//! promise does not hold.

use crate::config::properties::config;
use crate::credentials::properties::stored_record;
use crate::guard::properties::policy_decision;
use crate::jose::properties::jose_message;
use crate::proxy::properties::{credential_choice, header_policy, introduction, request_target};
use crate::telemetry::properties::access_label;
use crate::tls::properties::pem_bundle;
use crate::upstream::properties::token_response;
use crate::webhook::properties::webhook_signature;
use crate::wise::properties::route_table;

/// A target: its name, which is also that of its corpus, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 13] = [
    ("access_label", access_label),
    ("config", config),
    ("credential_choice", credential_choice),
    ("header_policy", header_policy),
    ("introduction", introduction),
    ("jose_message", jose_message),
    ("pem_bundle", pem_bundle),
    ("policy_decision", policy_decision),
    ("request_target", request_target),
    ("route_table", route_table),
    ("stored_record", stored_record),
    ("token_response", token_response),
    ("webhook_signature", webhook_signature),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn fuzz(below: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fuzz")
            .join(below)
    }

    /// The inputs that the fuzzers kept, and each that once broke something: see `tests/fuzz/run`.
    #[test]
    fn every_promise_holds_for_every_kept_input() {
        for (name, holds) in TARGETS {
            let mut inputs = 0;
            for entry in fs::read_dir(fuzz("corpus").join(name)).unwrap() {
                let path = entry.unwrap().path();
                let input = fs::read(&path).unwrap();
                let outcome = std::panic::catch_unwind(|| holds(&input));
                assert!(outcome.is_ok(), "{} breaks it", path.display());
                inputs += 1;
            }
            assert!(inputs >= 8, "{name} has {inputs} kept inputs");
        }
    }

    #[test]
    fn every_target_has_its_corpus_and_none_is_without_a_target() {
        let listed: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        let names = |directory| {
            let entries = fs::read_dir(fuzz(directory)).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.collect::<BTreeSet<_>>()
        };
        assert_eq!(names("corpus"), listed);
        assert!(names("dictionaries").is_subset(&listed));
    }
}
