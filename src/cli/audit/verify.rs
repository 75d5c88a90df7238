use std::path::{Path, PathBuf};

use serde_json::json;

use super::{VerifyArgs, files, unreadable};
use crate::audit::{Broken, Hash, Head, HeadFile, Summary, Verifier};
use crate::cli::args::Global;
use crate::cli::failure::{Exit, Failure};
use crate::cli::report;
use crate::config::Loaded;

pub(super) fn run(global: &Global, args: &VerifyArgs) -> Result<(), Failure> {
    let expected = args.expect.iter().map(|typed| hash(typed));
    let expected = expected.collect::<Result<Vec<_>, _>>()?;
    let loaded = match global.try_load()? {
        Ok(loaded) => Some(loaded),
        // Files can be verified where there is no proxy.
        Err(_) if !args.files.is_empty() => None,
        Err(error) => return Err(error.into()),
    };
    // Before the files: a running proxy goes on writing, and its store is never ahead of them.
    let end = loaded
        .as_ref()
        .map_or(End::Elsewhere, |loaded| End::of(loaded, &args.files));
    let files = files(&args.files, loaded.as_ref())?;
    let mut verifier = Verifier::new(expected, end.head());
    let broken =
        report::Progress::new().during("reading the record", || read(&mut verifier, &files))?;
    let summary = verifier.summary();
    if args.json {
        report::json(&json!({
            "intact": broken.is_none(),
            "files": files,
            "summary": summary,
            "store": end.word(),
            "broken": broken,
        }))?;
    } else {
        report::data(&words(&summary, &end))?;
    }
    broken.map_or(Ok(()), |broken| Err(failure(&broken, &summary)))
}

fn read(verifier: &mut Verifier, files: &[PathBuf]) -> Result<Option<Broken>, Failure> {
    for path in files {
        let broken = verifier
            .file(path)
            .map_err(|error| unreadable(path, error))?;
        if broken.is_some() {
            return Ok(broken);
        }
    }
    Ok(files.last().and_then(|last| verifier.end(last)))
}

fn hash(typed: &str) -> Result<Hash, Failure> {
    Hash::parse(typed.trim().as_bytes()).ok_or_else(|| {
        Failure::usage("--expect wants a hash of 64 lower-case hexadecimal digits")
            .hint("copy it from `wise-auth-proxy status`, or from the end of a line")
    })
}

/// What the store knows of the end of these files.
enum End {
    /// They are those of no proxy here.
    Elsewhere,
    /// It cannot be read.
    Hidden(String),
    /// Nothing was recorded yet.
    Nothing,
    Known(Head),
}

impl End {
    fn of(loaded: &Loaded, named: &[PathBuf]) -> Self {
        let config = &loaded.config;
        let Some(file) = &config.audit.file else {
            return Self::Elsewhere;
        };
        let is_it = |path: &PathBuf| same(path, file);
        if !named.is_empty() && !named.iter().any(is_it) {
            return Self::Elsewhere;
        }
        match HeadFile::new(&config.store.path, file).load() {
            Ok(None) => Self::Nothing,
            Ok(Some(head)) => Self::Known(head),
            Err(error) => Self::Hidden(error.to_string()),
        }
    }

    fn head(&self) -> Option<Head> {
        match self {
            Self::Known(head) => Some(*head),
            Self::Elsewhere | Self::Hidden(_) | Self::Nothing => None,
        }
    }

    /// For programs.
    fn word(&self) -> &'static str {
        match self {
            Self::Elsewhere => "not_compared",
            Self::Hidden(_) => "unreadable",
            Self::Nothing => "empty",
            Self::Known(_) => "compared",
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Elsewhere => {
                "not compared: these files are of no proxy that is configured here".into()
            }
            Self::Hidden(why) => format!("not compared: it cannot be read ({why})"),
            Self::Nothing => "knows nothing of this record".into(),
            Self::Known(head) => format!("knows line {}", head.seq),
        }
    }
}

fn same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    one == other || real(one).is_some_and(|one| real(other) == Some(one))
}

fn words(summary: &Summary, end: &End) -> String {
    let row = |name: &str, text: String| vec![name.to_owned(), text];
    let mut rows = Vec::new();
    if summary.lines > 0 {
        let (first, last) = (summary.first_sequence, summary.last_sequence);
        rows.push(row(
            "lines",
            format!("{}, number {first} to {last}", summary.lines),
        ));
        rows.push(row("from", summary.from.clone()));
        rows.push(row("to", summary.to.clone()));
        rows.push(row("hash", summary.last_hash.clone()));
        if first > 1 {
            rows.push(row(
                "before",
                format!("{} lines that are not in these files", first - 1),
            ));
        }
    } else {
        rows.push(row("lines", "none".into()));
    }
    let counted = [
        (
            "gaps",
            summary.gaps,
            format!("{} records were lost", summary.lost),
        ),
        (
            "recoveries",
            summary.recoveries,
            "ends that a crash tore were set aside".into(),
        ),
        (
            "mismatches",
            summary.mismatches,
            "starts at which the record was not as the store knew it".into(),
        ),
        (
            "unfinished",
            summary.unfinished,
            "files end in the middle of a line".into(),
        ),
    ];
    let counted = counted.into_iter().filter(|(_, count, _)| *count > 0);
    rows.extend(counted.map(|(name, count, what)| row(name, format!("{count} ({what})"))));
    rows.push(row("store", end.words()));
    report::table(&rows)
}

fn failure(broken: &Broken, summary: &Summary) -> Failure {
    let place = broken.file.display();
    let line = broken
        .line
        .map(|line| format!(", line {line}"))
        .unwrap_or_default();
    let number = broken.sequence.filter(|_| broken.line.is_some());
    let number = number
        .map(|number| format!(" (number {number})"))
        .unwrap_or_default();
    let error = format!("{place}{line}{number}: {}", broken.text);
    let kept = match summary.lines {
        0 => "no line before it can be trusted".to_owned(),
        _ => format!(
            "the lines up to number {} are as they were written",
            summary.last_sequence
        ),
    };
    Failure::new(Exit::Broken, anyhow::Error::msg(error)).hint(format!(
        "{kept}; keep the files as they are, and compare them with a copy taken earlier"
    ))
}
