//! What a simulator is started with.

use std::net::Ipv4Addr;
use std::net::SocketAddr;

use serde::Deserialize;
use serde::Deserializer;

use super::faults::Faults;
use crate::secret::Secret;

/// Where a simulator listens and whom it knows.
///
/// Everything has a default, so that `Options::default()` starts a usable Wise on free ports.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// The plain API host; also serves the authorise page.
    pub plain: SocketAddr,
    /// The API host that asks for a client certificate.
    pub mtls: SocketAddr,
    /// The control API. Whoever reaches it owns the simulator: keep it on loopback.
    pub control: SocketAddr,
    /// The partner's client id, also the CN of its certificates.
    pub client_id: String,
    /// The partner's client secret.
    #[serde(deserialize_with = "secret")]
    pub client_secret: Secret,
    /// Redirect addresses Wise has on file for the partner.
    pub redirect_uris: Vec<String>,
    /// The account's personal token.
    #[serde(deserialize_with = "secret")]
    pub personal_token: Secret,
    /// Business profiles of the account, beside its one personal profile.
    pub business_profiles: Vec<u64>,
    /// Names for the server certificates, beside `localhost` and `127.0.0.1`.
    pub names: Vec<String>,
    /// Whether the plain host speaks TLS, as Wise's does; otherwise bare HTTP.
    pub tls_plain: bool,
    /// How many requests the recorder keeps.
    pub recorder_capacity: usize,
    /// The switches at start.
    pub faults: Faults,
}

impl Default for Options {
    fn default() -> Self {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            plain: anywhere,
            mtls: anywhere,
            control: anywhere,
            client_id: "simulated-client".to_owned(),
            client_secret: Secret::new("simulated-client-secret"),
            redirect_uris: vec!["http://127.0.0.1/callback".to_owned()],
            personal_token: Secret::new("00000000-1111-4222-8333-444444444444"),
            business_profiles: vec![30_000_000],
            names: Vec::new(),
            tls_plain: true,
            recorder_capacity: 10_000,
            faults: Faults::default(),
        }
    }
}

fn secret<'de, D: Deserializer<'de>>(input: D) -> Result<Secret, D::Error> {
    String::deserialize(input).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_never_print_their_secrets() {
        let options: Options =
            serde_json::from_str(r#"{"client-secret":"marker-1","personal-token":"marker-2"}"#)
                .unwrap();
        let printed = format!("{options:?}");
        assert!(!printed.contains("marker-"), "secrets in Debug: {printed}");
        assert_eq!(options.client_secret.expose(), "marker-1");
    }
}
