use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A certificate and its key, by their files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pair {
    /// The pair that is to follow this one: `client.next.pem` and `client.next.key`.
    pub(crate) fn next(&self) -> Self {
        self.called("next")
    }

    /// The pair that this one has replaced: `client.previous.pem` and `client.previous.key`.
    pub(crate) fn previous(&self) -> Self {
        self.called("previous")
    }

    /// Where the request made with this key lies: `client.csr`.
    pub(crate) fn request(&self) -> PathBuf {
        self.key.with_extension("csr")
    }

    fn called(&self, word: &str) -> Self {
        Self {
            certificate: called(&self.certificate, word, "pem"),
            key: called(&self.key, word, "key"),
        }
    }
}

/// `dir/client.key` as `dir/client.<word>.key`. A name without an ending gets one: `dir/client.next`
/// is where an installation stages what becomes `dir/client`.
fn called(path: &Path, word: &str, otherwise: &str) -> PathBuf {
    let ending = path.extension().unwrap_or(otherwise.as_ref());
    let mut name = path.file_stem().map(OsString::from).unwrap_or_default();
    for part in [".".as_ref(), word.as_ref(), ".".as_ref(), ending] {
        name.push(part);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_neighbours_of_a_pair_are_beside_it_under_its_name() {
        for (path, next) in [
            ("secrets/client.key", "secrets/client.next.key"),
            ("/etc/wise/acme.v2.pem", "/etc/wise/acme.v2.next.pem"),
            ("client", "client.next.key"),
            (".key", ".key.next.key"),
        ] {
            assert_eq!(called(Path::new(path), "next", "key"), Path::new(next));
            assert_ne!(
                called(Path::new(path), "next", "key"),
                super::super::files::waiting(Path::new(path)),
                "what is staged has a name of its own"
            );
        }
    }
}
