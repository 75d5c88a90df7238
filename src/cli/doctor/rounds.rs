//! The rounds: one check after the other, each within its time, and none whose ground has gone.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use super::check::{Check, Checked, Finding, State};
use crate::cli::report::Progress;
use crate::clock::{Clock as _, System};
use crate::config::LaneSet;

/// How checks are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Nothing leaves this machine.
    pub(crate) offline: bool,
    /// One check takes no longer.
    pub(crate) limit: Duration,
}

/// Makes checks and remembers what came of them.
#[derive(Debug)]
pub(crate) struct Rounds {
    options: Options,
    progress: Progress,
    /// The lanes that requests take; until they are known every lane counts.
    pub(super) lanes: Option<LaneSet>,
    pub(super) done: Vec<Checked>,
    /// Names and ids that a report leaves out.
    pub(super) private: BTreeSet<String>,
}

impl Rounds {
    pub(super) fn new(options: Options, progress: Progress) -> Self {
        Self {
            options,
            progress,
            lanes: None,
            done: Vec::new(),
            private: BTreeSet::new(),
        }
    }

    /// Makes a check, and hands on what it found for those that come after.
    ///
    /// The work is not begun where something that it needs has failed.
    pub(super) async fn check<T>(
        &mut self,
        check: Check,
        work: impl Future<Output = (Finding, Option<T>)>,
    ) -> Option<T> {
        let began = System.boot();
        let root = self.first_broken(&check.needs);
        let (mut finding, brought, because) = if let Some(root) = root {
            let text = format!("not checked, because {root} failed");
            (Finding::skipped(text), None, Some(root))
        } else if check.network && self.options.offline {
            (Finding::skipped("not checked: --offline"), None, None)
        } else {
            let (finding, brought) = self.timed(&check.doing, work).await;
            (finding, brought, None)
        };
        let broken = finding.state == State::Failed || because.is_some();
        if finding.state == State::Failed && !self.concerns_today(&check) {
            finding.state = State::Warning;
            finding.text.push_str(" (no lane in use needs it)");
        }
        self.done.push(Checked {
            id: check.id,
            group: check.group,
            finding,
            because,
            broken,
            took: System.boot().saturating_sub(began),
        });
        brought
    }

    /// As [`Rounds::check`], for work that blocks and brings nothing else.
    pub(super) async fn look(
        &mut self,
        check: Check,
        work: impl FnOnce() -> Finding + Send + 'static,
    ) {
        let work = move || (work(), Some(()));
        self.fetch(check, work).await;
    }

    /// As [`Rounds::check`], for work that blocks: on files, programs, or a proxy that hangs.
    pub(super) async fn fetch<T: Send + 'static>(
        &mut self,
        check: Check,
        work: impl FnOnce() -> (Finding, Option<T>) + Send + 'static,
    ) -> Option<T> {
        let work = async {
            let done = tokio::task::spawn_blocking(work).await;
            done.unwrap_or_else(|_panicked| {
                let hint = "this is a fault of the program; send the report of --report";
                (Finding::failed("the check itself failed", hint), None)
            })
        };
        self.check(check, work).await
    }

    /// Notes what a report must not show.
    pub(super) fn keep_private(&mut self, words: impl IntoIterator<Item = String>) {
        // Shorter ones would tear holes into everything.
        let words = words.into_iter().filter(|word| word.chars().count() >= 3);
        self.private.extend(words);
    }

    /// Whether a check was made and did not fail.
    pub(super) fn passed(&self, id: &str) -> bool {
        let mut done = self.done.iter();
        done.any(|done| done.id == id && !done.broken && done.state() != State::Skipped)
    }

    pub(super) fn is_offline(&self) -> bool {
        self.options.offline
    }

    fn first_broken(&self, needs: &[String]) -> Option<String> {
        needs.iter().find_map(|need| {
            let done = self.done.iter().find(|done| done.id == *need)?;
            done.broken
                .then(|| done.because.clone().unwrap_or_else(|| need.clone()))
        })
    }

    fn concerns_today(&self, check: &Check) -> bool {
        match (check.serves, self.lanes) {
            (Some(served), Some(taken)) => served.iter().any(|lane| taken.contains(lane)),
            _ => true,
        }
    }

    async fn timed<T>(
        &mut self,
        doing: &str,
        work: impl Future<Output = (Finding, Option<T>)>,
    ) -> (Finding, Option<T>) {
        let limit = self.options.limit;
        let doing = format!("checking {doing}");
        let work = tokio::time::timeout(limit, work);
        let outcome = self.progress.along(&doing, work).await;
        outcome.unwrap_or_else(|_elapsed| {
            let limit = humantime::format_duration(limit);
            let finding = Finding::failed(
                format!("no outcome within {limit}"),
                "see whether it is slow or hangs: give it longer, as `--timeout 60s` does",
            );
            (finding, None)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Group;
    use super::super::grants::OAUTH;
    use super::*;
    use crate::config::Lane;

    fn rounds(offline: bool) -> Rounds {
        let limit = Duration::from_millis(100);
        Rounds::new(Options { offline, limit }, Progress::silent())
    }

    fn check(id: &str) -> Check {
        Check::new(Group::Store, id, id)
    }

    async fn fails(rounds: &mut Rounds, check: Check) {
        let finding = async { (Finding::failed("it is broken", "mend it"), None::<()>) };
        rounds.check(check, finding).await;
    }

    fn states(rounds: &Rounds) -> Vec<(&str, State, Option<&str>)> {
        let done = rounds.done.iter();
        done.map(|done| (done.id(), done.state(), done.because.as_deref()))
            .collect()
    }

    #[tokio::test]
    async fn what_hangs_on_a_failure_is_left_out_and_names_the_first_one() {
        let mut rounds = rounds(false);
        fails(&mut rounds, check("a")).await;
        for (id, need) in [("b", "a"), ("c", "b")] {
            let never = async { unreachable!("its ground has gone") };
            let brought: Option<()> = rounds.check(check(id).after([need]), never).await;
            assert!(brought.is_none());
        }
        let fine = async { (Finding::good("fine"), Some(7)) };
        assert_eq!(rounds.check(check("d"), fine).await, Some(7));
        assert_eq!(
            states(&rounds),
            [
                ("a", State::Failed, None),
                ("b", State::Skipped, Some("a")),
                ("c", State::Skipped, Some("a")),
                ("d", State::Good, None),
            ]
        );
        assert!(rounds.passed("d") && !rounds.passed("b") && !rounds.passed("a"));
    }

    #[tokio::test]
    async fn a_failure_on_a_lane_that_is_not_in_use_is_a_warning_and_holds_up_the_same() {
        let mut rounds = rounds(false);
        // That of the switch, and that of a door with its own.
        rounds.lanes = Some([Lane::Personal, Lane::OAuth].into_iter().collect());
        fails(&mut rounds, check("mtls").serving([Lane::OAuthMtls])).await;
        fails(&mut rounds, check("plain").serving([Lane::Personal])).await;
        fails(&mut rounds, check("grant").serving(OAUTH)).await;
        fails(&mut rounds, check("after").after(["mtls"])).await;
        assert_eq!(
            states(&rounds),
            [
                ("mtls", State::Warning, None),
                ("plain", State::Failed, None),
                ("grant", State::Failed, None),
                ("after", State::Skipped, Some("mtls")),
            ]
        );
    }

    #[tokio::test]
    async fn nothing_leaves_the_machine_offline_and_what_follows_is_left_out_too() {
        let mut rounds = rounds(true);
        fails(&mut rounds, check("tcp").over_network()).await;
        fails(&mut rounds, check("tls").after(["tcp"]).over_network()).await;
        fails(&mut rounds, check("disk")).await;
        assert_eq!(
            states(&rounds),
            [
                ("tcp", State::Skipped, None),
                ("tls", State::Skipped, None),
                ("disk", State::Failed, None),
            ]
        );
    }

    #[tokio::test]
    async fn a_check_that_hangs_fails_in_its_time() {
        let mut rounds = rounds(false);
        let hangs = std::future::pending::<(Finding, Option<()>)>();
        assert!(rounds.check(check("dns"), hangs).await.is_none());
        let done = &rounds.done[0];
        assert_eq!(done.finding.text, "no outcome within 100ms");
        assert!(done.finding.hint.is_some());
    }
}
