//! How the fake Wise behaves with signed and encrypted bodies, where its pages leave it open or a
//! test wants trouble.

use serde::Deserialize;
use serde::Serialize;

use crate::jose::Algorithm;
use crate::simulator::faults::use_up;

/// Signed and encrypted bodies.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch that is on or off"
)]
pub struct JoseFaults {
    /// The paths where nothing else is taken; the first that fits counts.
    pub required: Vec<JoseRoute>,
    /// What a request's `url` has to repeat.
    pub url: UrlClaim,
    /// Whether a request's `typ` has to be `JWT`. Wise's pages have it in every header, and do not
    /// say that it is looked at.
    pub typ: bool,
    /// Whether encrypted answers use the request's content key, as on the playground's own path.
    pub direct: bool,
    /// Whether refusals are signed and encrypted too; Wise shows none that is.
    pub errors: bool,
    /// Which algorithm signs answers; absent means the request's own, and ES512 for none.
    pub answer_algorithm: Option<SigningAlgorithm>,
    /// Whether bodies encrypted to an earlier version of Wise's key can still be read.
    pub earlier_keys: bool,
    /// How answers are spoilt.
    pub tamper: Option<Tampering>,
}

impl Default for JoseFaults {
    fn default() -> Self {
        Self {
            required: Vec::new(),
            url: UrlClaim::Path,
            typ: true,
            direct: false,
            errors: false,
            answer_algorithm: None,
            earlier_keys: true,
            tamper: None,
        }
    }
}

impl JoseFaults {
    /// The method without which this path refuses.
    pub(super) fn required(&self, path: &str) -> Option<JoseMethod> {
        self.required
            .iter()
            .find(|route| path.starts_with(route.prefix.as_str()))
            .map(|route| route.method)
    }
}

/// Paths that take signed or encrypted bodies only.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct JoseRoute {
    /// How they begin, with the version: `/v3/profiles/`.
    pub prefix: String,
    /// How their bodies have to be.
    pub method: JoseMethod,
}

/// How bodies are protected: the word of `X-TW-JOSE-Method`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum JoseMethod {
    /// Signed.
    #[serde(rename = "jws")]
    Jws,
    /// Encrypted.
    #[serde(rename = "jwe")]
    Jwe,
    /// Signed, then encrypted.
    #[serde(rename = "jws+jwe")]
    JwsJwe,
}

impl JoseMethod {
    pub(super) fn read(word: &str) -> Option<Self> {
        match word {
            "jws" => Some(Self::Jws),
            "jwe" => Some(Self::Jwe),
            "jws+jwe" => Some(Self::JwsJwe),
            _ => None,
        }
    }

    pub(super) fn signs(self) -> bool {
        self != Self::Jwe
    }

    pub(super) fn encrypts(self) -> bool {
        self != Self::Jws
    }
}

/// What the `url` of a signed request has to be.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UrlClaim {
    /// The path as it was sent, without the query: all that Wise's pages show.
    Path,
    /// The path with its query.
    Target,
    /// Whatever it likes.
    Anything,
}

/// The algorithms of RFC 7518 that Wise takes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "the names are RFC 7518's")]
pub enum SigningAlgorithm {
    Es256,
    Es384,
    Es512,
    Ps256,
    Ps384,
    Ps512,
}

impl From<SigningAlgorithm> for Algorithm {
    fn from(algorithm: SigningAlgorithm) -> Self {
        match algorithm {
            SigningAlgorithm::Es256 => Self::Es256,
            SigningAlgorithm::Es384 => Self::Es384,
            SigningAlgorithm::Es512 => Self::Es512,
            SigningAlgorithm::Ps256 => Self::Ps256,
            SigningAlgorithm::Ps384 => Self::Ps384,
            SigningAlgorithm::Ps512 => Self::Ps512,
        }
    }
}

/// One way to spoil answers, a number of times.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tampering {
    /// What happens to the answer.
    pub kind: Tamper,
    /// How often; absent means until it is taken away.
    #[serde(default)]
    pub times: Option<u32>,
}

impl Tampering {
    /// Spoils it once; `None` when nothing is to be spoilt any more.
    pub(super) fn take(slot: &mut Option<Self>) -> Option<Tamper> {
        let kind = slot.as_ref()?.kind;
        use_up(slot, |tampering| &mut tampering.times).then_some(kind)
    }
}

/// What an attacker on the way, or a Wise with a defect, could do to an answer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tamper {
    /// Another content under the same signature or tag.
    Content,
    /// A signature, or a tag, with one bit turned.
    Signature,
    /// Signed by, or encrypted to, a key that nobody knows.
    WrongKey,
    /// Signed with the algorithm `none`; what is encrypted only is spoilt as by `signature`.
    NoAlgorithm,
    /// Plain JSON.
    Plain,
}
