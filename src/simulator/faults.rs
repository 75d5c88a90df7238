//! Every switch of the fake Wise in one serde shape, so that a test, a file and the control API
//! set them the same way. Each default is what Wise documents; where it documents nothing, the
//! stricter reading.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::str::FromStr;

use http::Method;
use serde::Deserialize;
use serde::Serialize;

use super::jose::JoseFaults;
use super::webhooks::WebhookFaults;
use super::world::ScaFaults;

/// All switches. Missing keys keep their defaults; unknown keys are an error.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Faults {
    /// The token endpoint.
    pub token: TokenFaults,
    /// The connections and who may use which host.
    pub tls: TlsFaults,
    /// The personal token and its account.
    pub personal: PersonalFaults,
    /// Everything behind a valid token.
    pub resource: ResourceFaults,
    /// What the Developer Hub issues.
    pub hub: HubFaults,
    /// How strong customer authentication goes; `resource.sca` says where.
    pub sca: ScaFaults,
    /// Signed and encrypted bodies.
    pub jose: JoseFaults,
    /// Webhooks on their way to the receiver.
    pub webhook: WebhookFaults,
}

/// How the token endpoint behaves.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch that is on or off"
)]
pub struct TokenFaults {
    /// Seconds an access token lives.
    pub lifetime: u32,
    /// Seconds a refresh token lives.
    pub refresh_lifetime: u32,
    /// Seconds an authorisation code can be used.
    pub code_lifetime: u32,
    /// Whether a registered loopback redirect address may come with any port (RFC 8252 §7.3).
    /// Wise compares exactly.
    pub any_loopback_port: bool,
    /// Whether and how the refresh token's value changes.
    pub rotation: Rotation,
    /// Whether a rotated refresh token stops working; only read when `rotation` is `always`.
    pub old_refresh_dies: bool,
    /// Whether a refresh ends the previous access token at once.
    pub previous_access_dies: bool,
    /// What a user's access token looks like.
    pub form: TokenForm,
    /// What a client-credentials token looks like.
    pub client_form: TokenForm,
    /// Whether answers carry `expires_at` and `refresh_token_expires_at`.
    pub expires_at: bool,
    /// Whether a refresh answer repeats the refresh token when it did not change.
    pub repeat_refresh_token: bool,
    /// 400 or 401: Wise shows both for `invalid_grant`.
    pub invalid_grant_status: InvalidGrantStatus,
    /// Milliseconds before anything is done.
    pub delay: u64,
    /// Milliseconds before the answer, after the token was minted.
    pub latency: u64,
    /// What the endpoint does instead of its work.
    pub disturb: Option<Disturb>,
}

impl Default for TokenFaults {
    fn default() -> Self {
        Self {
            lifetime: 43_199,
            refresh_lifetime: 630_720_000,
            code_lifetime: 1_800,
            any_loopback_port: false,
            rotation: Rotation::Always,
            old_refresh_dies: true,
            previous_access_dies: true,
            form: TokenForm::Uuid,
            client_form: TokenForm::Jwe,
            expires_at: true,
            repeat_refresh_token: true,
            invalid_grant_status: InvalidGrantStatus::BadRequest,
            delay: 0,
            latency: 0,
            disturb: None,
        }
    }
}

/// What a refresh does to the refresh token.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rotation {
    /// The value never changes.
    Never,
    /// A new value each time; using an old one ends the whole grant.
    Always,
    /// A new value each time; one repeat of the previous one is forgiven, a second ends the grant.
    Grace,
}

/// The shape of an access token.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenForm {
    /// A lower-case UUID.
    Uuid,
    /// Five base64url parts, 800 characters.
    Jwe,
    /// Five base64url parts, 4096 characters.
    FourKib,
}

/// The status of `invalid_grant`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InvalidGrantStatus {
    /// 400, as RFC 6749 has it.
    BadRequest,
    /// 401, as Wise's reference has it.
    Unauthorized,
}

/// One misbehaviour, a number of times.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Disturb {
    /// What happens.
    pub kind: Disturbance,
    /// How often; absent means until it is taken away.
    #[serde(default)]
    pub times: Option<u32>,
    /// Only for paths that start with this.
    #[serde(default)]
    pub prefix: Option<String>,
    /// Only for requests of this method.
    #[serde(default)]
    pub method: Option<String>,
    /// Seconds in `Retry-After` of a 429.
    #[serde(default = "five")]
    pub retry_after: u32,
}

impl Disturb {
    /// This misbehaviour, `times` times.
    pub fn times(kind: Disturbance, times: u32) -> Self {
        Self {
            kind,
            times: Some(times),
            prefix: None,
            method: None,
            retry_after: five(),
        }
    }

    /// This misbehaviour until it is taken away.
    pub fn always(kind: Disturbance) -> Self {
        Self {
            kind,
            times: None,
            prefix: None,
            method: None,
            retry_after: five(),
        }
    }

    /// Uses it up once for a request; `None` when it does not apply or is used up.
    pub(super) fn take(slot: &mut Option<Self>, method: &Method, path: &str) -> Option<Self> {
        let disturb = slot.as_mut()?;
        if disturb
            .method
            .as_ref()
            .is_some_and(|only| only != method.as_str())
        {
            return None;
        }
        if disturb
            .prefix
            .as_ref()
            .is_some_and(|prefix| !path.starts_with(prefix.as_str()))
        {
            return None;
        }
        let taken = disturb.clone();
        use_up(slot, |disturb| &mut disturb.times).then_some(taken)
    }
}

/// Counts one use of a switch down, and empties its slot with the last; whether there was one.
/// Without a count it goes on until it is taken away.
pub(super) fn use_up<T>(slot: &mut Option<T>, times: impl Fn(&mut T) -> &mut Option<u32>) -> bool {
    let Some(switch) = slot.as_mut() else {
        return false;
    };
    let Some(left) = times(switch) else {
        return true;
    };
    let there = *left > 0;
    *left = left.saturating_sub(1);
    if *left == 0 {
        *slot = None;
    }
    there
}

fn five() -> u32 {
    5
}

/// What can go wrong instead of an answer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disturbance {
    /// 429 with `Retry-After` and `X-Rate-Limited-By`.
    TooManyRequests,
    /// 500 with a JSON body.
    ServerError,
    /// 503 with an HTML page, as an edge sends.
    Html,
    /// 302 to another host.
    Redirect,
    /// 200 with a body that is not JSON.
    Garbage,
    /// The connection ends before anything was done.
    DropBefore,
    /// Everything is done, then the connection ends without an answer.
    LoseAnswer,
    /// Nothing is ever answered.
    Hang,
    /// 401 `invalid_token` although the token is good; the token stays good.
    FalseUnauthorized,
}

/// Connections and hosts.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch that is on or off"
)]
pub struct TlsFaults {
    /// What the mTLS listener does without a client certificate.
    pub missing_certificate: MissingCertificate,
    /// Whether the certificate's CN must be the client id (403 otherwise).
    pub check_common_name: bool,
    /// Whether a token works only with the certificate it was fetched with.
    pub bound_tokens: bool,
    /// Whether mTLS is enforced: the plain host then answers 403 to everything.
    pub enforced: bool,
    /// Whether to offer no HTTP/2.
    pub http1_only: bool,
    /// Which TLS versions to speak.
    pub versions: TlsVersions,
}

impl Default for TlsFaults {
    fn default() -> Self {
        Self {
            missing_certificate: MissingCertificate::Alert,
            check_common_name: true,
            bound_tokens: false,
            enforced: false,
            http1_only: false,
            versions: TlsVersions::Both,
        }
    }
}

/// The mTLS listener's answer to a caller without a certificate.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingCertificate {
    /// The TLS alert `certificate_required`.
    Alert,
    /// 400 with nginx's page.
    BadRequest,
    /// 403 with a JSON body.
    Forbidden,
}

/// TLS versions on offer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    Both,
    /// 1.2 only.
    Tls12,
    /// 1.3 only.
    Tls13,
}

/// The personal token and the account behind it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch that is on or off"
)]
pub struct PersonalFaults {
    /// Whether the token was revoked.
    pub revoked: bool,
    /// Whether PSD2 applies: funding and statements are then refused.
    pub psd2: bool,
    /// Whether the token may only read.
    pub read_only: bool,
    /// Addresses it may be used from (IPv4, or CIDR); empty allows any.
    pub allowed_addresses: Vec<AddressRange>,
    /// What the mTLS host says to it.
    pub on_mtls: PersonalOnMtls,
    /// Whether it may use quotes and recipients, where Wise's pages contradict each other.
    pub quotes_and_recipients: bool,
}

impl Default for PersonalFaults {
    fn default() -> Self {
        Self {
            revoked: false,
            psd2: false,
            read_only: false,
            allowed_addresses: Vec::new(),
            on_mtls: PersonalOnMtls::Forbidden,
            quotes_and_recipients: true,
        }
    }
}

/// The mTLS host's answer to a personal token.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PersonalOnMtls {
    /// 403.
    Forbidden,
    /// 401.
    Unauthorized,
    /// As on the plain host.
    Accepted,
}

/// An IPv4 address or network, as `192.0.2.7` or `192.0.2.0/24`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange {
    network: Ipv4Addr,
    prefix: u8,
}

impl AddressRange {
    pub(super) fn contains(self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address.to_canonical() else {
            return false;
        };
        let mask = u32::MAX
            .checked_shl(u32::from(32 - self.prefix))
            .unwrap_or(0);
        address.to_bits() & mask == self.network.to_bits() & mask
    }
}

impl FromStr for AddressRange {
    type Err = NotAnAddressRange;

    fn from_str(text: &str) -> Result<Self, NotAnAddressRange> {
        let (network, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let network = network.parse().map_err(|_| NotAnAddressRange)?;
        let prefix = prefix
            .parse()
            .ok()
            .filter(|prefix| *prefix <= 32)
            .ok_or(NotAnAddressRange)?;
        Ok(Self { network, prefix })
    }
}

impl TryFrom<String> for AddressRange {
    type Error = NotAnAddressRange;

    fn try_from(text: String) -> Result<Self, NotAnAddressRange> {
        text.parse()
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        format!("{}/{}", range.network, range.prefix)
    }
}

/// The text is neither an IPv4 address nor a network.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an IPv4 address or CIDR network; write 192.0.2.7 or 192.0.2.0/24")]
pub struct NotAnAddressRange;

/// Everything behind a valid token.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ResourceFaults {
    /// How a dead token is answered.
    pub unauthorized: UnauthorizedShape,
    /// Which calls are answered with an SCA challenge.
    pub sca: Sca,
    /// Whether that 403 has a body.
    pub sca_body: bool,
    /// How funding without enough money is answered.
    pub insufficient_funds: InsufficientFunds,
    /// Milliseconds before every answer.
    pub latency: u64,
    /// Bytes a PDF statement is padded to.
    pub pdf_bytes: u64,
    /// Seconds by which the `Date` of every answer is off, as seen from a wrong clock.
    pub date_offset: i32,
    /// What happens instead of an answer.
    pub disturb: Option<Disturb>,
}

impl Default for ResourceFaults {
    fn default() -> Self {
        Self {
            unauthorized: UnauthorizedShape::InvalidToken,
            sca: Sca::Off,
            sca_body: false,
            insufficient_funds: InsufficientFunds::Created,
            latency: 0,
            pdf_bytes: 4_096,
            date_offset: 0,
            disturb: None,
        }
    }
}

/// Shapes of a 401 that Wise's services show.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnauthorizedShape {
    /// `invalid_token`, "Invalid token".
    InvalidToken,
    /// `invalid_token` with the token itself as description.
    EchoesToken,
    /// `UNAUTHORIZED` with a timestamp and a path.
    UpperCase,
    /// No body.
    Empty,
}

/// Which calls need strong customer authentication.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sca {
    /// None.
    Off,
    /// Funding.
    Funding,
    /// Statements.
    Statements,
    /// Every operation the reference marks.
    All,
}

/// How funding without enough money is answered.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InsufficientFunds {
    /// 201 with `status: REJECTED`, as the reference has it.
    Created,
    /// 422 with `status: REJECTED`, as the errors page has it.
    Unprocessable,
}

/// What the Developer Hub issues.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct HubFaults {
    /// Seconds a client certificate is valid.
    pub certificate_lifetime: u32,
    /// A CN to put in instead of the client id, to play another client.
    pub common_name: Option<String>,
}

impl Default for HubFaults {
    fn default() -> Self {
        Self {
            certificate_lifetime: 31_536_000,
            common_name: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_document_keeps_every_other_default() {
        let faults: Faults =
            serde_json::from_str(r#"{"token":{"lifetime":3,"form":"four-kib"}}"#).unwrap();
        assert_eq!(faults.token.lifetime, 3);
        assert_eq!(faults.token.form, TokenForm::FourKib);
        assert!(
            faults.token.previous_access_dies,
            "a refresh kills the previous token by default"
        );
    }

    #[test]
    fn a_misspelt_switch_is_an_error() {
        assert!(serde_json::from_str::<Faults>(r#"{"token":{"lifetimes":3}}"#).is_err());
    }

    #[test]
    fn a_disturbance_is_used_up_and_then_gone() {
        let mut slot = Some(Disturb::times(Disturbance::Html, 2));
        assert!(Disturb::take(&mut slot, &Method::GET, "/").is_some());
        assert!(Disturb::take(&mut slot, &Method::GET, "/").is_some());
        assert!(Disturb::take(&mut slot, &Method::GET, "/").is_none());
    }

    #[test]
    fn an_address_range_contains_its_network_only() {
        let range: AddressRange = "192.0.2.0/24".parse().unwrap();
        assert!(range.contains("192.0.2.77".parse().unwrap()));
        assert!(!range.contains("192.0.3.1".parse().unwrap()));
        assert!(
            "0.0.0.0/0"
                .parse::<AddressRange>()
                .unwrap()
                .contains("8.8.8.8".parse().unwrap())
        );
        assert_eq!(
            "192.0.2.0/33".parse::<AddressRange>(),
            Err(NotAnAddressRange)
        );
    }
}
