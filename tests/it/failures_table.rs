//! `docs/failures.md`: what goes wrong, and what everybody sees of it.
//!
//! The rows are data, and the tests assert through them: a test takes its row by its id, and says
//! what it saw. So a test whose outcome differs from its row fails there, a row that no test takes
//! fails here, and so does a page that is not what the rows say. `UPDATE=1` writes the page.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use crate::failures_hooks::{HOOK_ROWS, HookRow};
use crate::failures_rows::ROWS;
use crate::house::{Answer, House};

/// One failure.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub id: &'static str,
    pub part: Part,
    /// What goes wrong.
    pub fault: &'static str,
    /// What the application gets; where that changes with time, each with its when.
    pub told: &'static [(&'static str, Told)],
    pub again: Again,
    /// A line of the log holds this. Empty: nothing at the default level.
    pub log: &'static str,
    /// A counter that moves: name and label. Empty: none, or that of the problem.
    pub metric: (&'static str, &'static str),
    /// What `/readyz` and `status` give as reason. Empty: it stays ready.
    pub unready: &'static str,
    /// `last_error` of the grant in `status`. Empty: none of it.
    pub result: &'static str,
}

/// Sections of the page.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Part {
    Door,
    Way,
    Answer,
    Http1,
    Http2,
    Token,
}

#[derive(Clone, Copy, Debug)]
pub enum Told {
    /// A problem document of ours: status, type, error of `Proxy-Status`.
    Problem(u16, &'static str, &'static str),
    /// Wise's own answer, whole and untouched.
    Wise(u16),
    /// The head of Wise's answer, and a body that breaks off where Wise's did.
    Cut(u16),
}

/// What is sent a second time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Again {
    /// Nothing was sent at all.
    NotSent,
    /// Sent once, whatever came of it.
    Never,
    /// The first was not processed, and Wise says so.
    Disclaimed,
    /// Disclaimed each time, until our tries are over.
    DisclaimedTwice,
    /// Wise has refused the token before it did anything.
    NewToken,
    /// Wise wants strong customer authentication before it does anything.
    OneTimeToken,
    /// An exchange: soon, with back-off.
    Exchange,
    /// An exchange: every half minute to five minutes, for an operator has to act.
    RareExchange,
    /// An exchange, when the rest that was asked for is over.
    RestedExchange,
    /// No exchange ever again.
    NoExchange,
    /// Exchanges go on as planned, a second apart at the least.
    OnSchedule,
}

/// The row of a failure, to be filled by the test that brings the failure about.
pub fn row(id: &str) -> Case {
    let row = ROWS.iter().find(|row| row.id == id);
    let row = row.unwrap_or_else(|| panic!("no row is called {id}"));
    Case {
        row,
        told: Cell::new(0),
        sent: Cell::new(false),
        read: Cell::new(false),
    }
}

/// A row and how much of it has been seen. Dropping it with something unseen is a failed test.
#[must_use = "a row is there to be asserted"]
pub struct Case {
    pub row: &'static Row,
    told: Cell<usize>,
    sent: Cell<bool>,
    read: Cell<bool>,
}

impl Case {
    /// All at once: the answer, how often the request arrived at Wise, and the operator's view.
    pub async fn shown(&self, house: &House, answer: &Answer, arrived: usize) {
        self.told(answer);
        self.sent(arrived, arrived.min(1));
        self.operator(house).await;
    }

    /// The application has got the next thing that it is told.
    #[track_caller]
    pub fn told(&self, answer: &Answer) {
        match self.next() {
            Told::Problem(status, kind, error) => {
                assert_eq!(answer.status, status, "{}: {answer:?}", self.row.id);
                assert_eq!(answer.problem(), kind, "{}", self.row.id);
                let said = answer.headers["proxy-status"].to_str().unwrap();
                let wanted = format!("wise-auth-proxy; error={error}; details=\"{kind}\"");
                assert_eq!(said, wanted, "{}", self.row.id);
            }
            Told::Wise(status) => {
                assert_eq!(answer.status, status, "{}: {answer:?}", self.row.id);
                let ours = answer.headers.contains_key("proxy-status");
                assert!(!ours, "{}: it is ours: {answer:?}", self.row.id);
            }
            Told::Cut(_) => panic!("{}: it was whole: {answer:?}", self.row.id),
        }
    }

    /// The application has got the head of an answer, and the body broke off.
    #[track_caller]
    pub fn cut(&self, status: http::StatusCode) {
        let Told::Cut(wanted) = self.next() else {
            panic!("{}: it broke off", self.row.id)
        };
        assert_eq!(status, wanted, "{}", self.row.id);
    }

    /// The request has arrived and was acted on so often.
    #[track_caller]
    pub fn sent(&self, arrived: usize, acted_on: usize) {
        let wanted = match self.row.again {
            Again::NotSent => (0, 0),
            Again::Never => (1, acted_on.min(1)),
            Again::Disclaimed | Again::NewToken | Again::OneTimeToken => (2, 1),
            Again::DisclaimedTwice => (2, 0),
            Again::Exchange
            | Again::RareExchange
            | Again::RestedExchange
            | Again::NoExchange
            | Again::OnSchedule => {
                panic!("{}: this row is about exchanges", self.row.id)
            }
        };
        assert_eq!((arrived, acted_on), wanted, "{}", self.row.id);
        self.sent.set(true);
    }

    /// The token endpoint was asked so often while nothing else happened, and the next try comes in
    /// so many seconds.
    #[track_caller]
    pub fn exchanged(&self, tries: usize, next: Option<u64>) {
        let about = format!("{}: {tries} tries, the next in {next:?} s", self.row.id);
        match self.row.again {
            Again::Exchange => {
                assert!(tries >= 2, "{about}");
                assert!(next.is_some_and(|next| next <= 24), "{about}");
            }
            Again::RareExchange => {
                assert_eq!(tries, 1, "{about}");
                assert!(
                    next.is_some_and(|next| (15..=360).contains(&next)),
                    "{about}"
                );
            }
            // Two minutes were asked for.
            Again::RestedExchange => {
                assert_eq!(tries, 1, "{about}");
                assert!(
                    next.is_some_and(|next| (110..=120).contains(&next)),
                    "{about}"
                );
            }
            Again::NoExchange => assert_eq!((tries, next), (1, None), "{about}"),
            Again::OnSchedule => assert!(tries <= 4, "{about}"),
            Again::NotSent
            | Again::Never
            | Again::Disclaimed
            | Again::DisclaimedTwice
            | Again::NewToken
            | Again::OneTimeToken => panic!("{}: this row is not about exchanges", self.row.id),
        }
        self.sent.set(true);
    }

    /// Log, metrics, readiness and status say what the row says.
    pub async fn operator(&self, house: &House) {
        let Row { id, log, .. } = self.row;
        if !log.is_empty() {
            house.logs(log).await;
        }
        if let Some((name, label)) = self.row.counter() {
            assert!(
                house.metric(name, &label).await >= 1.0,
                "{id}: {name}{{{label}}}"
            );
        }
        let status = house.status().await;
        let ready = house.admin("/readyz").await.status == 200;
        let reasons = status["reasons"].to_string();
        assert_eq!(ready, self.row.unready.is_empty(), "{id}: {reasons}");
        assert!(reasons.contains(self.row.unready), "{id}: {reasons}");
        if !self.row.result.is_empty() {
            let error = &status["tokens"][0]["last_error"];
            assert_eq!(error["result"], self.row.result, "{id}: {error}");
        }
        self.read.set(true);
    }

    /// As [`Case::operator`], of a proxy that takes no more questions.
    pub async fn farewell(&self, house: &House) {
        house.logs(self.row.log).await;
        self.read.set(true);
    }

    #[track_caller]
    fn next(&self) -> Told {
        let at = self.told.get();
        let told = self.row.told.get(at);
        self.told.set(at + 1);
        told.unwrap_or_else(|| panic!("{}: told too often", self.row.id))
            .1
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let Row { id, told, .. } = self.row;
        assert_eq!(
            self.told.get(),
            told.len(),
            "{id}: what is told was not looked at"
        );
        assert!(self.sent.get(), "{id}: what was sent was not looked at");
        assert!(
            self.read.get(),
            "{id}: what the operator reads was not looked at"
        );
    }
}

impl Row {
    fn counter(&self) -> Option<(&'static str, String)> {
        let problem = self.told.iter().find_map(|(_, told)| match told {
            Told::Problem(_, kind, _) => Some(kind),
            Told::Wise(_) | Told::Cut(_) => None,
        });
        let (name, label) = self.metric;
        if !name.is_empty() {
            return Some((name, label.to_owned()));
        }
        problem.map(|kind| ("wise_proxy_faults_total", format!("type=\"{kind}\"")))
    }

    fn render(&self, tests: &BTreeSet<String>) -> String {
        let told: Vec<String> = self
            .told
            .iter()
            .map(|(when, told)| told.render(when))
            .collect();
        let mut reads = Vec::new();
        if !self.log.is_empty() {
            reads.push(format!("log: `{}`", self.log.replace('`', "'")));
        }
        if let Some((name, label)) = self.counter() {
            reads.push(format!("`{name}{{{label}}}`"));
        }
        if !self.result.is_empty() {
            reads.push(format!("status: `{}`", self.result));
        }
        if !self.unready.is_empty() {
            reads.push(format!("not ready: `{}`", self.unready.replace('`', "'")));
        }
        let tests: Vec<String> = tests.iter().map(|test| format!("`{test}`")).collect();
        format!(
            "| {} | {} | {} | {} | {} |\n",
            self.fault,
            told.join("; "),
            self.again.render(),
            reads.join("; "),
            tests.join(", ")
        )
    }
}

impl Told {
    fn render(self, when: &str) -> String {
        let what = match self {
            Self::Problem(status, kind, error) => format!("{status} `{kind}`, error `{error}`"),
            Self::Wise(200) => "200, Wise's".to_owned(),
            Self::Wise(status) => format!("Wise's {status}"),
            Self::Cut(status) => format!("Wise's {status}, cut where Wise's was"),
        };
        if when.is_empty() {
            what
        } else {
            format!("{when}: {what}")
        }
    }
}

impl Again {
    fn render(self) -> &'static str {
        match self {
            Self::NotSent => "nothing had been sent",
            Self::Never | Self::NoExchange => "no",
            Self::Disclaimed => "once; Wise said it did nothing",
            Self::DisclaimedTwice => "once; Wise said twice that it did nothing",
            Self::NewToken => "once, with the newer token",
            Self::OneTimeToken => "once, under Wise's one-time token",
            Self::Exchange => "the exchange: from 1 s, doubling",
            Self::RareExchange => "the exchange: from 30 s, doubling to 5 min",
            Self::RestedExchange => "the exchange: after the rest, of 5 min at most",
            Self::OnSchedule => "exchanges go on, a second apart at the least",
        }
    }
}

impl Part {
    const ALL: [Self; 6] = [
        Self::Door,
        Self::Way,
        Self::Answer,
        Self::Http1,
        Self::Http2,
        Self::Token,
    ];

    fn heading(self) -> &'static str {
        match self {
            Self::Door => "At the door",
            Self::Way => "On the way to Wise",
            Self::Answer => "Wise's answers",
            Self::Http1 => "HTTP/1.1 from Wise",
            Self::Http2 => "HTTP/2 from Wise",
            Self::Token => "The token endpoint",
        }
    }
}

const INTRODUCTION: &str = "\
# Failures

What goes wrong, what the application gets, what is sent again, and what the operator reads. Written by
`tests/it/failures_table.rs` from the rows in `tests/it/failures_rows.rs`; every row is asserted by the tests
beside it (`cargo nextest run --test it -E 'test(NAME)'`), and `UPDATE=1` writes this page anew.

Our own answers are `application/problem+json`; the word in the second column ends the document's `type`, and
`error` is the one in `Proxy-Status` (RFC 9209). They say what to do in `hint`. What is called Wise's passes
untouched. A payment is sent a second time only when Wise has provably not acted on the first: it was never
sent, Wise refused its stream or its token, asked for strong customer authentication instead, or ended the
connection without error before it (`tests/it/replay.rs` counts). A request is never sent in another lane than its own.

Every request whose head could be read leaves an access line, with `problem=` where the answer is ours and
`complete=false` where the body broke off.
";

/// The sources of the tests, each with the name of its module.
fn sources() -> Vec<(String, std::path::PathBuf)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let within = |directory: &Path| -> Vec<_> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let stem = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut found = Vec::new();
    for path in within(&directory) {
        if path.is_dir() {
            let room = stem(&path);
            let files = within(&path).into_iter();
            let files = files.filter(|path| path.extension().is_some_and(|it| it == "rs"));
            found.extend(files.map(|path| (format!("{room}::{}", stem(&path)), path)));
        } else {
            found.push((stem(&path), path));
        }
    }
    found.retain(|(module, _)| !["failures_rows", "failures_hooks"].contains(&module.as_str()));
    found
}

/// Test functions and the ids of rows in them, from the sources.
fn tests() -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut found: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
    let ids = ROWS.iter().map(|row| row.id);
    let ids: Vec<_> = ids.chain(HOOK_ROWS.iter().map(|row| row.id)).collect();
    for (module, path) in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut test: Option<String> = None;
        let mut marked = false;
        for line in text.lines() {
            if line.starts_with("#[tokio::test") || line.starts_with("#[test]") {
                marked = true;
            } else if let Some((_, rest)) = line.split_once("fn ").filter(|(before, _)| {
                before.is_empty() || *before == "async " || before.starts_with("pub")
            }) {
                let name = rest.split(['(', '<']).next().unwrap();
                test = marked.then(|| format!("{module}::{name}"));
                marked = false;
            }
            let Some(test) = &test else { continue };
            for id in &ids {
                if line.contains(&format!("\"{id}\"")) {
                    found.entry(*id).or_default().insert(test.clone());
                }
            }
        }
    }
    found
}

#[test]
fn the_page_of_failures_is_what_the_tests_show() {
    let tests = tests();
    let mut ids = BTreeSet::new();
    let mut page = INTRODUCTION.to_owned();
    for part in Part::ALL {
        write!(
            page,
            "\n## {}\n\n\
             | what goes wrong | the application gets | sent again | the operator reads | shown by |\n\
             |---|---|---|---|---|\n",
            part.heading()
        )
        .unwrap();
        for row in ROWS.iter().filter(|row| row.part == part) {
            assert!(ids.insert(row.id), "two rows are called {}", row.id);
            let shown_by = tests.get(row.id);
            let shown_by = shown_by.unwrap_or_else(|| panic!("no test shows {}", row.id));
            page.push_str(&row.render(shown_by));
        }
    }
    page.push_str(HookRow::HEADING);
    for row in HOOK_ROWS {
        assert!(ids.insert(row.id), "two rows are called {}", row.id);
        let shown_by = tests.get(row.id);
        let shown_by = shown_by.unwrap_or_else(|| panic!("no test shows {}", row.id));
        page.push_str(&row.render(shown_by));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/failures.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == committed,
        "docs/failures.md is not what the rows say; UPDATE=1 writes it"
    );
}
