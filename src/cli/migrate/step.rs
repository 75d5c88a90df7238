//! The steps of Wise's migration guide: their names, their order, and what each waits for.

use serde::{Deserialize, Serialize};

use super::evidence::{Client, Evidence, Guide, Start};

/// A step of the guide, in the guide's order.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Step {
    Configuration,
    Credentials,
    Request,
    Certificate,
    Grant,
    Proxy,
    Applications,
    WayBack,
    Handshake,
    Lane,
    Traffic,
    Rehearsal,
    Flows,
    Told,
    Enforced,
    Unused,
    Deleted,
}

impl Step {
    pub(crate) const ALL: [Self; 17] = [
        Self::Configuration,
        Self::Credentials,
        Self::Request,
        Self::Certificate,
        Self::Grant,
        Self::Proxy,
        Self::Applications,
        Self::WayBack,
        Self::Handshake,
        Self::Lane,
        Self::Traffic,
        Self::Rehearsal,
        Self::Flows,
        Self::Told,
        Self::Enforced,
        Self::Unused,
        Self::Deleted,
    ];

    /// The word on the command line and in the list.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Credentials => "credentials",
            Self::Request => "request",
            Self::Certificate => "certificate",
            Self::Grant => "grant",
            Self::Proxy => "proxy",
            Self::Applications => "applications",
            Self::WayBack => "way-back",
            Self::Handshake => "handshake",
            Self::Lane => "lane",
            Self::Traffic => "traffic",
            Self::Rehearsal => "rehearsal",
            Self::Flows => "flows",
            Self::Told => "told",
            Self::Enforced => "enforced",
            Self::Unused => "unused",
            Self::Deleted => "deleted",
        }
    }

    /// What it asks for.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Configuration => "a configuration",
            Self::Credentials => "Wise takes the client id and secret",
            Self::Request => "a private key and a certificate request",
            Self::Certificate => "the client certificate is in place",
            Self::Grant => "every profile is authorised",
            Self::Proxy => "the proxy runs",
            Self::Applications => "a program's requests go through it",
            Self::WayBack => "the way back is open",
            Self::Handshake => "Wise takes the certificate",
            Self::Lane => "requests take lane oauth-mtls",
            Self::Traffic => "programs get answers over mutual TLS",
            Self::Rehearsal => "the way back was tried",
            Self::Flows => "the business flows work",
            Self::Told => "Wise knows that mutual TLS works",
            Self::Enforced => "Wise enforces mutual TLS",
            Self::Unused => "nothing uses the personal token",
            Self::Deleted => "the personal token is deleted",
        }
    }

    /// Whether only a person can know.
    pub(crate) const fn is_confirmed(self) -> bool {
        match self {
            Self::Flows | Self::Told | Self::Enforced | Self::Deleted => true,
            Self::Configuration
            | Self::Credentials
            | Self::Request
            | Self::Certificate
            | Self::Grant
            | Self::Proxy
            | Self::Applications
            | Self::WayBack
            | Self::Handshake
            | Self::Lane
            | Self::Traffic
            | Self::Rehearsal
            | Self::Unused => false,
        }
    }

    /// The steps of one half of the guide.
    pub(super) fn of(guide: Guide, start: Start) -> impl Iterator<Item = Self> {
        let is_in = move |step: &Self| match step {
            Self::Rehearsal | Self::Flows => guide == Guide::Sandbox,
            Self::Told | Self::Enforced => guide == Guide::Production,
            Self::Unused | Self::Deleted => {
                guide == Guide::Production && start == Start::PersonalToken
            }
            Self::Configuration
            | Self::Credentials
            | Self::Request
            | Self::Certificate
            | Self::Grant
            | Self::Proxy
            | Self::Applications
            | Self::WayBack
            | Self::Handshake
            | Self::Lane
            | Self::Traffic => true,
        };
        Self::ALL.into_iter().filter(is_in)
    }

    /// What has to be done before it can be.
    pub(super) fn needs(self, evidence: &Evidence) -> &'static [Self] {
        let unconfigured = matches!(evidence.client, Client::Unconfigured);
        match self {
            Self::Configuration => &[],
            Self::Request if unconfigured => &[Self::Credentials],
            // On its way back alone it needs nothing else.
            Self::Proxy if unconfigured => &[Self::Configuration, Self::WayBack],
            Self::Credentials | Self::WayBack | Self::Request => &[Self::Configuration],
            Self::Certificate => &[Self::Request],
            // Without its certificate a proxy whose configuration names one does not start.
            Self::Grant | Self::Proxy | Self::Handshake => &[Self::Credentials, Self::Certificate],
            Self::Applications => &[Self::Proxy],
            Self::Lane => &[Self::Grant, Self::Proxy, Self::WayBack, Self::Handshake],
            Self::Traffic => &[Self::Applications, Self::Lane],
            Self::Rehearsal | Self::Flows | Self::Told => &[Self::Traffic],
            Self::Enforced => &[Self::Told],
            Self::Unused => &[Self::Enforced],
            Self::Deleted => &[Self::Unused],
        }
    }
}
