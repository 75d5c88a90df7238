//! Which tokens live: access tokens, refresh tokens, codes and grants, and what an exchange does
//! to them. Pure: the clock reading, the rules and the certificate come in as arguments.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::time::Duration;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::simulator::faults::Rotation;
use crate::simulator::faults::TokenFaults;
use crate::simulator::faults::TokenForm;

/// All tokens of this Wise.
#[derive(Default)]
pub(super) struct Tokens {
    access: HashMap<String, Access>,
    refresh: HashMap<String, Refresh>,
    codes: HashMap<String, Code>,
    registrations: HashMap<String, Registration>,
    grants: BTreeMap<u64, Grant>,
    client_generation: u64,
}

/// Whom an access token speaks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Holder {
    /// One user and profile.
    User { grant: u64, profile: u64 },
    /// The partner application.
    Client,
}

/// An access token as presented.
#[derive(Clone, Debug)]
pub(super) struct Presented {
    pub(super) holder: Holder,
    pub(super) generation: u64,
    pub(super) live: bool,
    /// Serial of the certificate it was fetched with.
    pub(super) certificate: Option<String>,
}

struct Access {
    holder: Holder,
    generation: u64,
    expires: SystemTime,
    dead: bool,
    certificate: Option<String>,
}

struct Refresh {
    grant: u64,
    generation: u64,
}

struct Code {
    profile: u64,
    redirect_uri: String,
    expires: SystemTime,
}

struct Registration {
    code: String,
    profile: u64,
    reclaimed: bool,
}

struct Grant {
    profile: u64,
    created: SystemTime,
    refresh_expires: SystemTime,
    generation: u64,
    refresh: String,
    /// The generation whose one repeat was already forgiven.
    forgiven: Option<u64>,
    access: String,
    dead: bool,
}

/// What a token request asks for.
pub(super) enum Ask<'a> {
    ClientCredentials,
    Code {
        code: &'a str,
        redirect_uri: &'a str,
    },
    Registration {
        email: &'a str,
        code: &'a str,
    },
    Refresh {
        token: &'a str,
    },
}

/// A successful exchange.
pub(super) struct Minted {
    pub(super) access: String,
    pub(super) holder: Holder,
    pub(super) generation: u64,
    pub(super) expires: SystemTime,
    pub(super) refresh: Option<MintedRefresh>,
}

/// The refresh half of a successful exchange.
pub(super) struct MintedRefresh {
    pub(super) token: String,
    pub(super) expires: SystemTime,
    pub(super) created: SystemTime,
    pub(super) changed: bool,
}

/// Why an exchange was refused, for the exchange record; the wire says `invalid_grant`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Refused {
    pub(super) reason: &'static str,
    /// Generation of the refresh token presented, when it was one of ours.
    pub(super) presented: Option<u64>,
    pub(super) profile: Option<u64>,
}

impl Tokens {
    /// Looks an access token up.
    pub(super) fn present(&self, token: &str, now: SystemTime) -> Option<Presented> {
        let access = self.access.get(token)?;
        Some(Presented {
            holder: access.holder,
            generation: access.generation,
            live: !access.dead && now < access.expires,
            certificate: access.certificate.clone(),
        })
    }

    /// A person approved: makes a code bound to `redirect_uri`.
    pub(super) fn authorise(
        &mut self,
        profile: u64,
        redirect_uri: &str,
        rules: &TokenFaults,
        now: SystemTime,
    ) -> String {
        let code = random_text(24);
        let expires = now + Duration::from_secs(u64::from(rules.code_lifetime));
        let redirect_uri = redirect_uri.to_owned();
        self.codes.insert(
            code.clone(),
            Code {
                profile,
                redirect_uri,
                expires,
            },
        );
        code
    }

    /// Remembers a user made by API.
    pub(super) fn register(&mut self, email: &str, code: &str, profile: u64) {
        let code = code.to_owned();
        self.registrations.insert(
            email.to_owned(),
            Registration {
                code,
                profile,
                reclaimed: false,
            },
        );
    }

    pub(super) fn is_registered(&self, email: &str) -> bool {
        self.registrations.contains_key(email)
    }

    /// The user took the account over: the registration code is worthless from now on.
    pub(super) fn reclaim(&mut self, email: &str) -> bool {
        self.registrations
            .get_mut(email)
            .is_some_and(|registration| {
                registration.reclaimed = true;
                true
            })
    }

    /// The generation and profile a refresh token belongs to, dead or alive.
    pub(super) fn refresh_origin(&self, token: &str) -> Option<(u64, u64)> {
        let refresh = self.refresh.get(token)?;
        let grant = self.grants.get(&refresh.grant)?;
        Some((refresh.generation, grant.profile))
    }

    /// Does what a POST to the token endpoint asks for.
    pub(super) fn exchange(
        &mut self,
        ask: &Ask<'_>,
        rules: &TokenFaults,
        certificate: Option<&str>,
        now: SystemTime,
    ) -> Result<Minted, Refused> {
        match *ask {
            Ask::ClientCredentials => Ok(self.mint_client(rules, certificate, now)),
            Ask::Code { code, redirect_uri } => {
                // Used up even when the rest is wrong: a code gets one try.
                let code = self
                    .codes
                    .remove(code)
                    .ok_or(refused("unknown or used code"))?;
                if now >= code.expires {
                    return Err(refused("code too old"));
                }
                if code.redirect_uri != redirect_uri {
                    return Err(refused("other redirect_uri"));
                }
                Ok(self.open_grant(code.profile, rules, certificate, now))
            }
            Ask::Registration { email, code } => {
                let registration = self
                    .registrations
                    .get(email)
                    .ok_or(refused("unknown e-mail"))?;
                if registration.reclaimed || registration.code != code {
                    return Err(refused("wrong registration code or reclaimed user"));
                }
                Ok(self.open_grant(registration.profile, rules, certificate, now))
            }
            Ask::Refresh { token } => self.renew(token, rules, certificate, now),
        }
    }

    /// Ends the live access token of `profile` without telling anyone; its grant goes on.
    pub(super) fn revoke_access(&mut self, profile: u64) -> usize {
        self.kill_access(
            |holder| matches!(holder, Holder::User { profile: its, .. } if its == profile),
        )
    }

    /// Ends all client-credentials tokens.
    pub(super) fn revoke_client(&mut self) -> usize {
        self.kill_access(|holder| holder == Holder::Client)
    }

    /// The user disconnects the app: refresh and access tokens of `profile` are dead.
    pub(super) fn disconnect(&mut self, profile: u64) -> usize {
        let mut ended = 0;
        for grant in self
            .grants
            .values_mut()
            .filter(|grant| grant.profile == profile)
        {
            ended += usize::from(!grant.dead);
            grant.dead = true;
        }
        self.revoke_access(profile);
        ended
    }

    /// The live generation of `profile`, if it has a grant.
    pub(super) fn generation(&self, profile: u64) -> Option<u64> {
        self.grants
            .values()
            .rev()
            .find(|grant| grant.profile == profile && !grant.dead)
            .map(|grant| grant.generation)
    }

    /// Profile, generation and liveness of every grant, oldest first.
    pub(super) fn grants(&self) -> impl Iterator<Item = (u64, u64, u64, bool)> {
        self.grants
            .iter()
            .map(|(id, grant)| (*id, grant.profile, grant.generation, !grant.dead))
    }

    fn kill_access(&mut self, of: impl Fn(Holder) -> bool) -> usize {
        let mut ended = 0;
        for access in self.access.values_mut().filter(|access| of(access.holder)) {
            ended += usize::from(!access.dead);
            access.dead = true;
        }
        ended
    }

    fn mint_client(
        &mut self,
        rules: &TokenFaults,
        certificate: Option<&str>,
        now: SystemTime,
    ) -> Minted {
        self.client_generation += 1;
        let generation = self.client_generation;
        let (access, expires) = self.mint_access(
            Holder::Client,
            generation,
            rules.client_form,
            rules,
            certificate,
            now,
        );
        Minted {
            access,
            holder: Holder::Client,
            generation,
            expires,
            refresh: None,
        }
    }

    fn open_grant(
        &mut self,
        profile: u64,
        rules: &TokenFaults,
        certificate: Option<&str>,
        now: SystemTime,
    ) -> Minted {
        // The older refresh token is dead at once; its last access token lives on.
        for grant in self
            .grants
            .values_mut()
            .filter(|grant| grant.profile == profile)
        {
            grant.dead = true;
        }
        let id = self.grants.keys().next_back().map_or(1, |last| last + 1);
        let holder = Holder::User { grant: id, profile };
        let (access, expires) = self.mint_access(holder, 1, rules.form, rules, certificate, now);
        let refresh = Uuid::new_v4().to_string();
        let refresh_expires = now + Duration::from_secs(u64::from(rules.refresh_lifetime));
        self.refresh.insert(
            refresh.clone(),
            Refresh {
                grant: id,
                generation: 1,
            },
        );
        self.grants.insert(
            id,
            Grant {
                profile,
                created: now,
                refresh_expires,
                generation: 1,
                refresh: refresh.clone(),
                forgiven: None,
                access: access.clone(),
                dead: false,
            },
        );
        let refresh = MintedRefresh {
            token: refresh,
            expires: refresh_expires,
            created: now,
            changed: true,
        };
        Minted {
            access,
            holder,
            generation: 1,
            expires,
            refresh: Some(refresh),
        }
    }

    fn renew(
        &mut self,
        token: &str,
        rules: &TokenFaults,
        certificate: Option<&str>,
        now: SystemTime,
    ) -> Result<Minted, Refused> {
        let presented = self
            .refresh
            .get(token)
            .ok_or(refused("unknown refresh token"))?;
        let (id, presented) = (presented.grant, presented.generation);
        let grant = self.grants.get_mut(&id).ok_or(refused("unknown grant"))?;
        let profile = grant.profile;
        let refuse = |reason| Refused {
            reason,
            presented: Some(presented),
            profile: Some(profile),
        };
        if grant.dead {
            return Err(refuse("grant ended"));
        }
        if now >= grant.refresh_expires {
            return Err(refuse("refresh token too old"));
        }
        if token != grant.refresh {
            let previous = grant.generation.checked_sub(1) == Some(presented);
            let forgiven = match rules.rotation {
                Rotation::Never => true,
                Rotation::Always => !rules.old_refresh_dies,
                // The generation that a forgiven repeat made is not a second chance.
                Rotation::Grace => {
                    previous
                        && grant
                            .forgiven
                            .is_none_or(|generation| generation != presented)
                }
            };
            if !forgiven {
                grant.dead = true;
                self.revoke_access(profile);
                return Err(refuse("old refresh token used again"));
            }
            if rules.rotation == Rotation::Grace {
                grant.forgiven = Some(presented);
            }
        }
        let (generation, created, refresh_expires) =
            (grant.generation + 1, grant.created, grant.refresh_expires);
        let (old_access, old_refresh) = (grant.access.clone(), grant.refresh.clone());
        if rules.previous_access_dies
            && let Some(old) = self.access.get_mut(&old_access)
        {
            old.dead = true;
        }
        let holder = Holder::User { grant: id, profile };
        let (access, expires) =
            self.mint_access(holder, generation, rules.form, rules, certificate, now);
        let changed = rules.rotation != Rotation::Never;
        let refresh = if changed {
            Uuid::new_v4().to_string()
        } else {
            old_refresh
        };
        self.refresh.insert(
            refresh.clone(),
            Refresh {
                grant: id,
                generation,
            },
        );
        if let Some(grant) = self.grants.get_mut(&id) {
            grant.generation = generation;
            grant.refresh.clone_from(&refresh);
            grant.access.clone_from(&access);
        }
        let refresh = MintedRefresh {
            token: refresh,
            expires: refresh_expires,
            created,
            changed,
        };
        Ok(Minted {
            access,
            holder,
            generation,
            expires,
            refresh: Some(refresh),
        })
    }

    fn mint_access(
        &mut self,
        holder: Holder,
        generation: u64,
        form: TokenForm,
        rules: &TokenFaults,
        certificate: Option<&str>,
        now: SystemTime,
    ) -> (String, SystemTime) {
        let expires = now + Duration::from_secs(u64::from(rules.lifetime));
        let token = token_text(form);
        let certificate = certificate.map(str::to_owned);
        let access = Access {
            holder,
            generation,
            expires,
            dead: false,
            certificate,
        };
        self.access.insert(token.clone(), access);
        (token, expires)
    }
}

fn refused(reason: &'static str) -> Refused {
    Refused {
        reason,
        presented: None,
        profile: None,
    }
}

/// A token in the asked form.
fn token_text(form: TokenForm) -> String {
    match form {
        TokenForm::Uuid => Uuid::new_v4().to_string(),
        TokenForm::Jwe => five_parts(800),
        TokenForm::FourKib => five_parts(4_096),
    }
}

/// Five base64url parts of `length` characters in all; the first decodes to a JWE header.
fn five_parts(length: usize) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","enc":"A256GCM","typ":"JWT"}"#);
    let (key, nonce, tag) = (random_text(342), random_text(16), random_text(22));
    let taken = header.len() + key.len() + nonce.len() + tag.len() + 4;
    let text = random_text(length.saturating_sub(taken));
    format!("{header}.{key}.{nonce}.{text}.{tag}")
}

/// Random base64url text of `length` characters.
pub(super) fn random_text(length: usize) -> String {
    let mut bytes = Vec::with_capacity(length + 16);
    while bytes.len() < length {
        bytes.extend_from_slice(Uuid::new_v4().as_bytes());
    }
    let mut text = URL_SAFE_NO_PAD.encode(bytes);
    text.truncate(length);
    text
}

#[cfg(test)]
mod tests;
