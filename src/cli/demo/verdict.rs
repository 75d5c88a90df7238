//! What was promised, what was found, and whether the two agree.

use std::fmt::Display;

use serde_json::{Value, json};

/// One promise held against what happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Check {
    pub(super) promise: String,
    pub(super) expected: String,
    pub(super) found: String,
}

impl Check {
    pub(super) fn passed(&self) -> bool {
        self.expected == self.found
    }
}

/// One step of the story.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) number: usize,
    pub(super) title: &'static str,
    /// Captions, each with the block below it.
    pub(super) figures: Vec<(String, String)>,
    pub(super) checks: Vec<Check>,
}

impl Step {
    pub(super) fn new(number: usize, title: &'static str) -> Self {
        Self {
            number,
            title,
            figures: Vec::new(),
            checks: Vec::new(),
        }
    }

    /// Shows a block of text under a caption.
    pub(super) fn show(&mut self, caption: impl Into<String>, block: impl Into<String>) {
        self.figures.push((caption.into(), block.into()));
    }

    /// Holds a promise against what was found.
    pub(super) fn check(
        &mut self,
        promise: &str,
        expected: impl Display,
        found: impl Display,
    ) -> &Check {
        self.checks.push(Check {
            promise: promise.to_owned(),
            expected: expected.to_string(),
            found: found.to_string(),
        });
        &self.checks[self.checks.len() - 1]
    }

    /// A step that checked nothing has shown nothing.
    pub(super) fn passed(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(Check::passed)
    }
}

/// All steps.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    pub(super) steps: Vec<Step>,
}

impl Verdict {
    pub(super) fn passed(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().all(Step::passed)
    }

    /// Titles of the steps that failed.
    pub(super) fn failed(&self) -> Vec<&'static str> {
        let failed = self.steps.iter().filter(|step| !step.passed());
        failed.map(|step| step.title).collect()
    }

    pub(super) fn json(&self) -> Value {
        let check = |check: &Check| {
            json!({
                "promise": check.promise,
                "expected": check.expected,
                "found": check.found,
                "passed": check.passed(),
            })
        };
        let step = |step: &Step| {
            json!({
                "number": step.number,
                "title": step.title,
                "passed": step.passed(),
                "checks": step.checks.iter().map(check).collect::<Vec<_>>(),
            })
        };
        json!({
            "passed": self.passed(),
            "steps": self.steps.iter().map(step).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(found: u16) -> Verdict {
        let mut step = Step::new(1, "A request");
        step.check("the application gets 200", 200, found);
        Verdict { steps: vec![step] }
    }

    #[test]
    fn a_step_passes_when_every_promise_is_kept() {
        assert!(verdict(200).passed());
        assert!(verdict(200).failed().is_empty());
    }

    #[test]
    fn one_broken_promise_fails_its_step_and_the_whole() {
        let mut verdict = verdict(401);
        verdict.steps[0].check("Wise saw one request", 1, 1);
        verdict.steps.push(Step {
            number: 2,
            title: "Another",
            ..self::verdict(200).steps.remove(0)
        });
        assert!(!verdict.passed());
        assert_eq!(verdict.failed(), ["A request"]);
    }

    #[test]
    fn a_step_without_a_check_has_not_passed() {
        let steps = vec![Step::new(1, "Nothing")];
        assert!(!Verdict { steps }.passed());
        assert!(!Verdict::default().passed());
    }

    #[test]
    fn the_json_says_what_was_expected_and_what_was_found() {
        let check = &verdict(401).json()["steps"][0]["checks"][0];
        assert_eq!(
            *check,
            json!({
                "promise": "the application gets 200",
                "expected": "200",
                "found": "401",
                "passed": false,
            })
        );
    }
}
