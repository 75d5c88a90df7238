//! Whether a record is as it was written: line by line, in one pass.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::chain::{AT, Hash, Head, KIND, Link};

/// Read at once.
const PIECE: usize = 1024 * 1024;

/// What is wrong with a line, or with the whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Flaw {
    /// Its text is not what its hash was made of.
    Changed,
    /// It has not the form of a record.
    Garbled,
    /// Lines before it are missing.
    TakenOut,
    /// It does not belong there, or the one before it does not.
    Inserted,
    /// Lines have changed places.
    Reordered,
    /// The line before it is another than the one that it was written behind.
    Replaced,
    /// The last lines are missing: the store knows of later ones.
    CutOff,
    /// A noted line is not in the record: it was written anew.
    Rewritten,
}

/// The first thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Broken {
    pub(crate) file: PathBuf,
    /// Counted in the file, from 1; `None`: it is about the whole.
    pub(crate) line: Option<u64>,
    /// The number that the line says it has.
    pub(crate) sequence: Option<u64>,
    pub(crate) flaw: Flaw,
    pub(crate) text: String,
}

/// What a record holds.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// Lines that are as they were written.
    pub(crate) lines: u64,
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
    pub(crate) last_hash: String,
    /// RFC 3339.
    pub(crate) from: String,
    /// RFC 3339.
    pub(crate) to: String,
    /// Records of what could not be recorded, and how much that was.
    pub(crate) gaps: u64,
    pub(crate) lost: u64,
    /// Ends that a crash tore.
    pub(crate) recoveries: u64,
    /// Starts at which the record was not as the store knew it.
    pub(crate) mismatches: u64,
    /// Files whose last line is not whole: it is being written, or a crash tore it.
    pub(crate) unfinished: u64,
}

/// Goes through a record of one or several files.
#[derive(Debug, Default)]
pub(crate) struct Verifier {
    summary: Summary,
    head: Option<Head>,
    /// The line before the last.
    before: Option<Head>,
    /// Hashes that must be in it, and those that were.
    wanted: Vec<Hash>,
    seen: BTreeSet<String>,
    /// What the store knows as the last line, and what the record has in its place.
    known: Option<Head>,
    of_known: Option<Hash>,
}

impl Verifier {
    /// `wanted`: hashes that were noted elsewhere. `known`: the end as the store knows it.
    pub(crate) fn new(wanted: Vec<Hash>, known: Option<Head>) -> Self {
        Self {
            wanted,
            known: known.filter(|head| head.seq > 0),
            ..Self::default()
        }
    }

    /// Takes the next file, to its end or to the first line that is wrong.
    pub(crate) fn file(&mut self, path: &Path) -> io::Result<Option<Broken>> {
        let mut reader = BufReader::with_capacity(PIECE, File::open(path)?);
        let (mut line, mut number) = (Vec::new(), 0);
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            number += 1;
            if line.last() != Some(&b'\n') {
                self.summary.unfinished += 1;
                return Ok(None);
            }
            let Err((sequence, flaw, text)) = self.line(&line) else {
                continue;
            };
            let mut broken = Broken {
                file: path.to_owned(),
                line: Some(number),
                sequence,
                flaw,
                text,
            };
            if let (Flaw::TakenOut, Some(sequence)) = (flaw, sequence) {
                let first = self.head.map_or(0, |head| head.seq) + 1;
                look_for(&mut reader, first..sequence, &mut broken)?;
            }
            return Ok(Some(broken));
        }
    }

    /// What is wrong with the whole, after the last file, which is named.
    pub(crate) fn end(&self, last: &Path) -> Option<Broken> {
        let broken = |flaw, sequence, text| {
            let file = last.to_owned();
            Some(Broken {
                file,
                line: None,
                sequence,
                flaw,
                text,
            })
        };
        if let Some(known) = self.known {
            let last = self.summary.last_sequence;
            if last < known.seq {
                let text = format!(
                    "the store knows line {}, and the last one here is {last}: lines at the end are \
                     missing",
                    known.seq
                );
                return broken(Flaw::CutOff, Some(known.seq), text);
            }
            if self.of_known.is_some_and(|hash| hash != known.hash) {
                let text = format!(
                    "line {} has another hash than the store knows: the record was written anew",
                    known.seq
                );
                return broken(Flaw::Rewritten, Some(known.seq), text);
            }
        }
        let missing = |hash: &&Hash| !self.seen.contains(hash.as_str());
        let missing = self.wanted.iter().find(missing)?;
        let text = format!(
            "no line here has the hash {missing}: the record was written anew, or the file that has \
             the line is not among these"
        );
        broken(Flaw::Rewritten, None, text)
    }

    /// What was found to be as it was written.
    pub(crate) fn summary(&self) -> Summary {
        let mut summary = self.summary.clone();
        summary.last_hash = self
            .head
            .map(|head| head.hash.to_string())
            .unwrap_or_default();
        summary
    }

    fn line(&mut self, text: &[u8]) -> Result<(), (Option<u64>, Flaw, String)> {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let Some(link) = Link::parse(text) else {
            return Err((None, Flaw::Garbled, "it is not a record".into()));
        };
        let seq = link.seq;
        if !link.is_whole() {
            let text = "its text is not what its hash was made of: it was changed";
            return Err((Some(seq), Flaw::Changed, text.into()));
        }
        if let Some(head) = self.head {
            self.place(head, &link)
                .map_err(|(flaw, text)| (Some(seq), flaw, text))?;
        } else if seq == 1 && link.prev != Hash::NONE {
            let text = "it says that it is the first line, and names one before it";
            return Err((Some(seq), Flaw::Inserted, text.into()));
        }
        self.count(&link, text);
        Ok(())
    }

    /// Whether a whole line belongs behind the last.
    fn place(&self, head: Head, link: &Link<'_>) -> Result<(), (Flaw, String)> {
        let next = head.seq + 1;
        if link.seq > next {
            let count = link.seq - next;
            let text = format!("{count} lines before it were taken out, from number {next} on");
            return Err((Flaw::TakenOut, text));
        }
        if link.seq == next && link.prev == head.hash {
            return Ok(());
        }
        if link.seq == next {
            let text = "the line before it is not the one that it was written behind: that one was \
                        replaced";
            return Err((Flaw::Replaced, text.into()));
        }
        let of_before = self.before.is_some_and(|before| before.hash == link.prev);
        let text = if link.seq == head.seq && of_before && link.hash != head.hash {
            format!(
                "two lines say they are number {}: one of them was inserted",
                link.seq
            )
        } else {
            format!("number {} was there already: it was inserted", link.seq)
        };
        Err((Flaw::Inserted, text))
    }

    fn count(&mut self, link: &Link<'_>, text: &[u8]) {
        self.before = self.head;
        self.head = Some(link.head());
        if self.known.is_some_and(|known| known.seq == link.seq) {
            self.of_known = Some(link.hash);
        }
        if self.wanted.contains(&link.hash) {
            self.seen.insert(link.hash.to_string());
        }
        let summary = &mut self.summary;
        summary.to.clear();
        summary.to.push_str(link.word(AT).unwrap_or_default());
        if summary.lines == 0 {
            summary.first_sequence = link.seq;
            summary.from.clone_from(&summary.to);
        }
        summary.lines += 1;
        summary.last_sequence = link.seq;
        match link.word(KIND) {
            Some("gap") => {
                let record: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
                summary.gaps += 1;
                summary.lost += record["lost"].as_u64().unwrap_or(0);
            }
            Some("recovered") => summary.recoveries += 1,
            Some("mismatch") => summary.mismatches += 1,
            _ => {}
        }
    }
}

/// Whether the missing lines stand further below: then none was taken out.
fn look_for(
    reader: &mut impl BufRead,
    missing: std::ops::Range<u64>,
    broken: &mut Broken,
) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let link = Link::parse(line.strip_suffix(b"\n").unwrap_or(&line));
        if let Some(link) = link.filter(|link| missing.contains(&link.seq) && link.is_whole()) {
            broken.flaw = Flaw::Reordered;
            broken.text = format!(
                "number {} stands further below: lines have changed places",
                link.seq
            );
            return Ok(());
        }
    }
}

/// The number of a file's first line, by which files of one record are put in order.
pub(crate) fn first_line(path: &Path) -> io::Result<Option<u64>> {
    let mut line = Vec::new();
    BufReader::new(File::open(path)?).read_until(b'\n', &mut line)?;
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    Ok(Link::parse(line).map(|link| link.seq))
}

#[cfg(test)]
mod tests;
