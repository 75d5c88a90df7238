//! Where the store remembers how far a record has come, so that a tail cut off is noticed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::chain::{Hash, Head};
use crate::durable;

/// The end of the chain in one file of records, durable: the file is never behind it.
#[derive(Clone, Debug)]
pub(crate) struct HeadFile {
    path: PathBuf,
    /// The file of records that it is about.
    of: PathBuf,
}

#[derive(Deserialize, Serialize)]
struct Stored {
    file: PathBuf,
    seq: u64,
    hash: String,
}

impl HeadFile {
    /// Two proxies with one store may have a record each, so the name goes with the record's.
    pub(crate) fn new(store: &Path, record: &Path) -> Self {
        let of = std::path::absolute(record).unwrap_or_else(|_| record.to_owned());
        let hash = Hash::of(&[of.as_os_str().as_encoded_bytes()]);
        Self {
            path: store.join(format!("audit-head-{}.json", &hash.as_str()[..8])),
            of,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// `None`: nothing was recorded there yet.
    pub(crate) fn load(&self) -> io::Result<Option<Head>> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let stored = serde_json::from_slice::<Stored>(&bytes).ok();
        let head = stored.and_then(|stored| {
            let hash = Hash::parse(stored.hash.as_bytes())?;
            (stored.file == self.of).then_some(Head {
                seq: stored.seq,
                hash,
            })
        });
        let garbled = || io::Error::new(io::ErrorKind::InvalidData, "it is no end of a record");
        head.map(Some).ok_or_else(garbled)
    }

    /// Remembers it, durable on return.
    pub(crate) fn save(&self, head: Head) -> io::Result<()> {
        let stored = Stored {
            file: self.of.clone(),
            seq: head.seq,
            hash: head.hash.as_str().to_owned(),
        };
        // The type holds nothing that JSON cannot, but for paths that are no text.
        let bytes = serde_json::to_vec(&stored).map_err(io::Error::other)?;
        durable::replace(&self.path, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_has_an_end_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] =
            ["a/audit.log", "b/audit.log"].map(|name| HeadFile::new(dir.path(), Path::new(name)));
        let head = Head {
            seq: 7,
            hash: Hash::of(&[b"x"]),
        };
        assert_eq!(one.load().unwrap(), None);
        one.save(head).unwrap();
        assert_eq!(one.load().unwrap(), Some(head));
        assert_eq!(other.load().unwrap(), None);

        fs::copy(one.path(), other.path()).unwrap();
        assert!(other.load().is_err(), "it is about another file");
    }
}
