//! The `openssl` command is the judge: what it makes must load, what we make it must verify.

mod failing;
mod handshake;
mod identity;
mod keys;
mod making;
mod observed;
mod roots;
mod rotation;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A directory in which openssl makes things.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Writes a file that only its owner may read.
    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        self.chmod(name, 0o600);
        path
    }

    fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Runs openssl in the directory and returns its standard output and error together.
    fn openssl(&self, arguments: &str) -> String {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .expect("the openssl command must be installed");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "openssl {arguments}: {said}");
        said
    }

    /// `ca.pem` and `ca.key`.
    fn authority(&self) -> PathBuf {
        self.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
             -subj /O=Test/CN=Test-CA -keyout ca.key -out ca.pem",
        );
        self.path("ca.pem")
    }

    /// A key `NAME.key` of the given kind and a certificate `NAME.pem` signed by `ca.pem`.
    fn issue(&self, name: &str, new_key: &str, common_name: &str) -> (PathBuf, PathBuf) {
        self.openssl(&format!(
            "req -newkey {new_key} -nodes -subj /C=GB/O=Acme/CN={common_name} -keyout {name}.key -out {name}.csr"
        ));
        // Without an extension openssl makes version 1, which TLS servers refuse.
        self.sign(name, "basicConstraints=CA:FALSE");
        self.chmod(&format!("{name}.key"), 0o600);
        (
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key")),
        )
    }

    /// Signs `NAME.csr` for a year with one extension.
    fn sign(&self, name: &str, extension: &str) {
        self.write("extension", format!("{extension}\n"));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 365 -extfile extension -out {name}.pem"
        ));
    }
}

const P256: &str = "ec -pkeyopt ec_paramgen_curve:P-256";
const P384: &str = "ec -pkeyopt ec_paramgen_curve:P-384";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
