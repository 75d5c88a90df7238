//! What a keeper takes from the store: other processes' renewals, logins, a `forget`.

use std::time::Duration;

use crate::credentials::{Record, StoreError};
use crate::telemetry::events::Kind;
use crate::tokens::exchange::Exchange;
use crate::tokens::keeper::Keeper;
use crate::tokens::status::Outcome;
use crate::tokens::token::{AccessToken, Lifetime, Moment};
use crate::tokens::view::{Absence, Subject};

impl<E: Exchange> Keeper<E> {
    /// Looks at the store for what other processes did: a renewal, a login, a `forget`.
    pub(super) async fn look(&mut self) {
        let Some(vault) = self.vault.clone() else {
            return;
        };
        let stamp = match vault.stamp().await {
            Ok(stamp) if self.stamp == Some(stamp) => return,
            Ok(stamp) => stamp,
            Err(error) => return self.store_unreadable(&error),
        };
        match vault.load().await {
            Ok(found) => {
                self.stamp = Some(stamp);
                self.take_in(found);
            }
            Err(error) => self.store_unreadable(&error),
        }
    }

    /// Compares what the store has with what we have; true if it had a newer access token, which is
    /// now ours.
    pub(super) fn take_in(&mut self, found: Option<Record>) -> bool {
        match (found, &self.record) {
            (Some(found), None) => self.adopt(found),
            (Some(found), Some(own)) if self.is_of_before(&found, own) => false,
            (Some(found), Some(own)) if found.supersedes(own) => self.adopt(found),
            (Some(found), Some(own)) => {
                if self.foreign(&found).is_some() {
                    return self.adopt(found);
                }
                // A login may have told who it is since.
                if found.generation == own.generation {
                    let told = (&found.profile, &found.user) != (&own.profile, &own.user);
                    self.record = Some(found);
                    if told {
                        self.publish();
                    }
                }
                false
            }
            (None, Some(_)) if self.unsaved.is_none() => {
                // Forgotten by an operator: stop using it.
                self.record = None;
                self.held = None;
                self.dead = None;
                self.absence = Absence::NeverLoggedIn;
                self.publish();
                false
            }
            (None, _) => {
                if self.record.is_none() && self.absence != Absence::NeverLoggedIn {
                    self.absence = Absence::NeverLoggedIn;
                    self.publish();
                }
                false
            }
        }
    }

    /// Whether a record is of an older login, put back under tokens that live: those are what Wise
    /// gave last. After a clock was set back a new login looks old, but then ours is from the future.
    fn is_of_before(&self, found: &Record, own: &Record) -> bool {
        is_older(found, own) && self.is_live() && own.issued <= self.clock.wall()
    }

    /// Makes a record from the store ours, if it is meant for us.
    fn adopt(&mut self, found: Record) -> bool {
        self.unsaved = None;
        if let Some(absence) = self.foreign(&found) {
            let news = self.record.is_some() || self.absence != absence;
            self.record = None;
            self.held = None;
            self.dead = None;
            self.absence = absence;
            if news {
                self.publish();
            }
            return false;
        }
        let now = Moment::now(self.clock.as_ref());
        let life = Lifetime::stored(now, found.issued, found.expires);
        // Asked for in the future: the wall clock was set back, and nobody knows how old it is.
        let ageless = found.issued > now.wall + CLOCKS_DIFFER;
        let Ok(access) = AccessToken::parse(found.access_token.clone()) else {
            self.absence = Absence::StoreUnreadable;
            self.publish();
            return false;
        };
        if let (Some(held), Some(own)) = (&mut self.held, &self.record)
            && held.is(&access)
            && found.issued <= own.issued
        {
            // Another process got a refresh token and no access token: ours may be dead, and the
            // next renewal goes on with what there is.
            held.suspect = true;
            self.record = Some(found);
            self.dead = None;
            self.publish();
            return false;
        }
        let first = self.serial == 0;
        let before = self.record.as_ref().map(|own| own.granted);
        let is_login = before.is_none_or(|granted| found.granted > granted);
        let serial = found.generation.max(self.serial + 1);
        self.dead = None;
        self.install(access, life, serial, Some(found));
        if ageless {
            self.renew_at_once();
        }
        if !first {
            self.tried(Outcome::Adopted, None);
            tracing::info!(
                grant = self.subject.name(),
                generation = self.serial,
                "took a newer token from the store"
            );
            self.note(
                Kind::TokenRenewed,
                if is_login {
                    format!("of a new login: generation {}", self.serial)
                } else {
                    format!("taken from the store: generation {}", self.serial)
                },
            );
        }
        self.publish();
        true
    }

    /// Why a record is not for us to use: it would act for somebody else.
    fn foreign(&self, found: &Record) -> Option<Absence> {
        match &self.subject {
            Subject::User { client_id, .. } if *client_id != found.client_id => {
                Some(Absence::OtherClient)
            }
            Subject::User {
                profile: Some(wanted),
                ..
            } if found.profile.as_ref().is_some_and(|found| found != wanted) => {
                Some(Absence::OtherProfile)
            }
            Subject::User { .. } | Subject::Client => None,
        }
    }

    fn store_unreadable(&mut self, error: &StoreError) {
        let text = error.to_string();
        let known = self
            .last_error
            .as_ref()
            .is_some_and(|(_, _, last)| *last == text);
        if self.record.is_none() {
            self.absence = Absence::StoreUnreadable;
        }
        if !known {
            tracing::error!(grant = self.subject.name(), "{text}");
            self.last_error = Some((self.clock.wall(), Outcome::StoreFailed, text));
            self.publish();
        }
    }
}

/// Whether a record is of an older login, by the clock that both were made by.
pub(super) fn is_older(found: &Record, own: &Record) -> bool {
    found.granted < own.granted && found.issued < own.issued
}

/// Clocks of one machine, or of two that keep time, differ by less.
const CLOCKS_DIFFER: Duration = Duration::from_mins(1);
