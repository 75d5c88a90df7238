use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use zeroize::Zeroizing;

use super::TlsError;

/// What a file was opened for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Expected {
    Certificate,
    PrivateKey,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "a certificate in PEM (`-----BEGIN CERTIFICATE-----`)",
            Self::PrivateKey => "one private key in PEM (`-----BEGIN PRIVATE KEY-----`)",
        })
    }
}

/// What it held instead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Found {
    Empty,
    /// Binary DER where PEM text is wanted.
    Der,
    /// Certificate and key in one encrypted file, `.p12` or `.pfx` (RFC 7292).
    Pkcs12,
    /// Text without any PEM block.
    NoPem,
    /// PEM lines that do not start at the margin, as pasted from YAML.
    Indented,
    /// A block without its end line, or with letters that are no base64.
    Broken,
    Csr,
    Certificate,
    PublicKey,
    PrivateKey,
    /// `-----BEGIN ENCRYPTED PRIVATE KEY-----` (RFC 7468 §11).
    EncryptedPkcs8,
    /// `Proc-Type: 4,ENCRYPTED` (RFC 1421 §4.6.1.1).
    LegacyEncrypted,
    SeveralKeys(usize),
    /// PEM, but nothing that is of use here.
    OtherPem,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::Der => f.write_str("it is binary (DER)"),
            Self::Pkcs12 => f.write_str("it is a PKCS#12 file"),
            Self::NoPem => f.write_str("it is text without a PEM block"),
            Self::Indented => f.write_str("its PEM lines are indented"),
            Self::Broken => f.write_str("its PEM block is cut short or damaged"),
            Self::Csr => f.write_str("it holds a certificate signing request"),
            Self::Certificate => f.write_str("it holds a certificate"),
            Self::PublicKey => f.write_str("it holds a public key"),
            Self::PrivateKey => f.write_str("it holds a private key"),
            Self::EncryptedPkcs8 => f.write_str("its key is encrypted (PKCS#8)"),
            Self::LegacyEncrypted => f.write_str("its key is encrypted (`Proc-Type: 4,ENCRYPTED`)"),
            Self::SeveralKeys(count) => write!(f, "it holds {count} private keys"),
            Self::OtherPem => f.write_str("its PEM blocks are of another kind"),
        }
    }
}

impl Found {
    /// What to do about it.
    pub(super) fn hint(self, expected: Expected) -> &'static str {
        match (self, expected) {
            (Self::Empty, _) => "write the file again",
            (Self::Der, Expected::Certificate) => {
                "convert it: `openssl x509 -inform DER -in FILE -out FILE.pem`"
            }
            (Self::Der, Expected::PrivateKey) => {
                "convert it: `openssl pkey -inform DER -in FILE -out FILE.key`"
            }
            (Self::Pkcs12, _) => "take it apart: `wise-auth-proxy cert install FILE.p12`",
            (Self::NoPem | Self::Broken, _) => {
                "copy it again from `-----BEGIN` to `-----END …-----`"
            }
            (Self::Indented, _) => "start every line at the margin",
            (Self::Csr, _) => {
                "paste the CSR into Wise's Developer Hub and save the certificate that comes back"
            }
            (
                Self::PrivateKey | Self::EncryptedPkcs8 | Self::LegacyEncrypted,
                Expected::Certificate,
            )
            | (Self::Certificate, Expected::PrivateKey) => {
                "have certificate and key, which are two settings, changed places?"
            }
            (Self::EncryptedPkcs8, Expected::PrivateKey) => {
                "say where its passphrase is: `key_passphrase = { file = \"path\" }` under [mtls]"
            }
            (Self::LegacyEncrypted, Expected::PrivateKey) => {
                "convert it to PKCS#8, which keeps a passphrase: `(umask 077 && openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out FILE.pkcs8)`"
            }
            (Self::SeveralKeys(_), _) => "leave only the key whose CSR was signed",
            (Self::PublicKey | Self::OtherPem | Self::PrivateKey | Self::Certificate, _) => {
                "name the right file"
            }
        }
    }
}

/// Every certificate of a PEM text, in its order; at least one.
pub(super) fn certificates(
    pem: &[u8],
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = || {
        // Labelled as a certificate and yet none came out.
        let found = sniff(pem);
        let found = if found == Found::Certificate {
            Found::Broken
        } else {
            found
        };
        content(path, Expected::Certificate, found)
    };
    let mut chain = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        // A key that shares the file with its certificate is common and harms nobody here, but
        // its decoded bytes must not stay in memory.
        match section.map_err(|_| wrong())? {
            (SectionKind::Certificate, der) => chain.push(CertificateDer::from(der)),
            (_, other) => drop(Zeroizing::new(other)),
        }
    }
    if chain.is_empty() {
        return Err(wrong());
    }
    Ok(chain)
}

/// The one private key of a PEM text.
pub(super) fn private_key(pem: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let wrong = |found| content(path, Expected::PrivateKey, found);
    let found = sniff(pem);
    if found != Found::PrivateKey {
        return Err(wrong(found));
    }
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        match section.map_err(|_| wrong(Found::Broken))? {
            (SectionKind::PrivateKey, der) => return Ok(PrivatePkcs8KeyDer::from(der).into()),
            (SectionKind::RsaPrivateKey, der) => return Ok(PrivatePkcs1KeyDer::from(der).into()),
            (SectionKind::EcPrivateKey, der) => return Ok(PrivateSec1KeyDer::from(der).into()),
            (_, other) => drop(other),
        }
    }
    Err(wrong(Found::Broken))
}

/// The bytes of the one encrypted private key of a PEM text (RFC 7468 §11).
///
/// `None` where its block is cut short or damaged. Not for a text with other keys: see [`sniff`].
pub(super) fn encrypted_key(pem: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(pem).ok()?;
    let mut lines = text.lines().map(str::trim_end);
    lines.find(|line| *line == "-----BEGIN ENCRYPTED PRIVATE KEY-----")?;
    let mut base64 = String::with_capacity(text.len());
    for line in lines {
        if line == "-----END ENCRYPTED PRIVATE KEY-----" {
            return STANDARD.decode(base64).ok();
        }
        base64.push_str(line);
    }
    None
}

/// One certificate in PEM (RFC 7468 §5.1).
pub(super) fn encode_certificate(der: &[u8]) -> String {
    encode("CERTIFICATE", der)
}

/// One block of PEM. What it holds may be a key: the base64 between is wiped, the result is the
/// caller's to wipe.
pub(super) fn encode(label: &str, der: &[u8]) -> String {
    let text = Zeroizing::new(STANDARD.encode(der));
    let frame = 2 * (label.len() + "-----BEGIN -----\n".len());
    let mut pem = String::with_capacity(text.len() + text.len() / 64 + 1 + frame);
    pem.extend(["-----BEGIN ", label, "-----\n"]);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.extend(["-----END ", label, "-----\n"]);
    pem
}

fn content(path: &Path, expected: Expected, found: Found) -> TlsError {
    TlsError::Content {
        path: path.to_owned(),
        expected,
        found,
    }
}

/// Names what a file holds by its labels, before a parser turns the answer into "no items".
///
/// A private key beats a certificate beside it: `private_key` asks for the one and
/// `certificates` only calls here when there is none of the other.
fn sniff(bytes: &[u8]) -> Found {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Found::Empty;
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return if is_pkcs12(bytes) {
            Found::Pkcs12
        } else {
            Found::Der
        };
    };
    let labels: Vec<&str> = text
        .lines()
        .filter_map(|line| {
            line.strip_prefix("-----BEGIN ")?
                .trim_end()
                .strip_suffix("-----")
        })
        .collect();
    if labels.is_empty() {
        // DER of a certificate or key opens with a SEQUENCE of long form, never with text.
        return match bytes {
            _ if is_pkcs12(bytes) => Found::Pkcs12,
            [0x30, 0x80..=0x8f, ..] => Found::Der,
            _ if text.contains("-----BEGIN ") => Found::Indented,
            _ => Found::NoPem,
        };
    }
    let has = |label: &str| labels.contains(&label);
    let keys = labels
        .iter()
        .filter(|label| {
            matches!(
                **label,
                "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" | "ENCRYPTED PRIVATE KEY"
            )
        })
        .count();
    if keys == 1 && has("ENCRYPTED PRIVATE KEY") {
        return Found::EncryptedPkcs8;
    }
    if keys > 0 && text.contains("Proc-Type: 4,ENCRYPTED") {
        return Found::LegacyEncrypted;
    }
    match keys {
        0 => {}
        1 => return Found::PrivateKey,
        several => return Found::SeveralKeys(several),
    }
    if has("CERTIFICATE REQUEST") || has("NEW CERTIFICATE REQUEST") {
        return Found::Csr;
    }
    if has("PUBLIC KEY") || has("RSA PUBLIC KEY") {
        return Found::PublicKey;
    }
    if has("CERTIFICATE") {
        return Found::Certificate;
    }
    Found::OtherPem
}

/// Whether it begins as a PKCS#12 file does: `SEQUENCE { INTEGER 3, … }` (RFC 7292 §4).
pub(crate) fn is_pkcs12(bytes: &[u8]) -> bool {
    let [0x30, length, rest @ ..] = bytes else {
        return false;
    };
    // A length of 0x80 is BER's "until the end"; above it, so many bytes say the length.
    let long = usize::from(length.saturating_sub(0x80));
    rest.get(long..)
        .is_some_and(|rest| rest.starts_with(&[0x02, 0x01, 0x03]))
}
