use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::wise::ProfileId;

/// What is stored of a user grant.
///
/// It cannot be made without a refresh token. A client-credentials answer has none, so it cannot
/// come to rest on disk.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Our name for the grant.
    pub(crate) grant: String,
    /// The profile it acts for, where known.
    pub(crate) profile: Option<ProfileId>,
    /// Who granted it, where known.
    pub(crate) user: Option<User>,
    /// The OAuth client it was granted to; useless to any other (RFC 6749 §6).
    pub(crate) client_id: String,
    /// Counts the access tokens of this grant, from 1.
    pub(crate) generation: u64,
    /// When a person granted it: tells a new login from a renewal.
    pub(crate) granted: SystemTime,
    /// The access token.
    pub(crate) access_token: Secret,
    /// When the access token was asked for.
    pub(crate) issued: SystemTime,
    /// When the access token ends.
    pub(crate) expires: SystemTime,
    /// The refresh token.
    pub(crate) refresh_token: Secret,
    /// When the refresh token ends, where Wise says so.
    pub(crate) refresh_expires: Option<SystemTime>,
}

/// A person or company at Wise, to be shown.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct User {
    /// Wise's id.
    pub(crate) id: String,
    /// Name as Wise has it.
    pub(crate) name: Option<String>,
}

impl Record {
    /// Whether this one replaces `other`: a later token of the same login, or another login.
    ///
    /// A login counts by what it brought, whatever the clock said: with another refresh token each
    /// replaces the other, and the one found last is the one to use. With the same one, which a
    /// server that does not rotate may give again, the later login replaces the earlier.
    pub(crate) fn supersedes(&self, other: &Self) -> bool {
        let (granted, others) = (millis(self.granted), millis(other.granted));
        if granted == others {
            self.generation > other.generation
        } else {
            granted > others || !self.refresh_token.matches(&other.refresh_token)
        }
    }

    /// The plain text that is sealed.
    pub(super) fn to_plain(&self) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
        // Room enough for any record of ours: a buffer that grows leaves copies behind.
        let mut plain = Zeroizing::new(Vec::with_capacity(64 * 1024));
        let page = Page {
            version: VERSION,
            grant: self.grant.clone(),
            profile: self.profile.as_ref().map(ToString::to_string),
            user: self.user.clone(),
            client_id: self.client_id.clone(),
            generation: self.generation,
            granted_ms: millis(self.granted),
            access_token: Zeroizing::new(self.access_token.expose().to_owned()),
            issued_ms: millis(self.issued),
            expires_ms: millis(self.expires),
            refresh_token: Zeroizing::new(self.refresh_token.expose().to_owned()),
            refresh_expires_ms: self.refresh_expires.map(millis),
        };
        serde_json::to_writer(&mut *plain, &page)?;
        Ok(plain)
    }

    /// Reads what [`Record::to_plain`] wrote.
    pub(super) fn from_plain(plain: &[u8]) -> Result<Self, Unread> {
        // serde would take a list for a record as well, item by item.
        if !plain.starts_with(b"{") {
            return Err(Unread::Garbled);
        }
        let Edition { version } = serde_json::from_slice(plain).map_err(|_| Unread::Garbled)?;
        if version > VERSION {
            return Err(Unread::NewerVersion(version));
        }
        let page: Page = serde_json::from_slice(plain).map_err(|_| Unread::Garbled)?;
        let profile = page
            .profile
            .map(|id| id.parse())
            .transpose()
            .map_err(|_| Unread::Garbled)?;
        Ok(Self {
            grant: page.grant,
            profile,
            user: page.user,
            client_id: page.client_id,
            generation: page.generation,
            granted: moment(page.granted_ms),
            access_token: Secret::new(page.access_token.as_str()),
            issued: moment(page.issued_ms),
            expires: moment(page.expires_ms),
            refresh_token: Secret::new(page.refresh_token.as_str()),
            refresh_expires: page.refresh_expires_ms.map(moment),
        })
    }
}

/// Why a plain text is no record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unread {
    /// Written by a later version of the program.
    NewerVersion(u32),
    /// Not a record.
    Garbled,
}

#[derive(Deserialize)]
struct Edition {
    version: u32,
}

/// The stored shape. Fields are only ever added; a change of meaning is a new version.
#[derive(Deserialize, Serialize)]
struct Page {
    version: u32,
    grant: String,
    profile: Option<String>,
    user: Option<User>,
    client_id: String,
    generation: u64,
    granted_ms: u64,
    #[serde(with = "text")]
    access_token: Zeroizing<String>,
    issued_ms: u64,
    expires_ms: u64,
    #[serde(with = "text")]
    refresh_token: Zeroizing<String>,
    refresh_expires_ms: Option<u64>,
}

/// Secrets as text, spelled out because their types refuse to be serialised by accident.
mod text {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(
        text: &Zeroizing<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(deserializer).map(Zeroizing::new)
    }
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

fn moment(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(millis))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

const VERSION: u32 = 1;

#[cfg(test)]
pub(in crate::credentials) mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        /// A record with anything in it that a record can hold.
        pub(in crate::credentials) fn any_record()(
            texts in prop::array::uniform4(any::<String>()),
            profile in prop::option::of("[A-Za-z0-9-]{1,64}"),
            user in prop::option::of((any::<String>(), prop::option::of(any::<String>()))),
            generation in any::<u64>(),
            times in prop::array::uniform3(any::<u64>()),
            refresh_expires in prop::option::of(any::<u64>()),
        ) -> Record {
            let [grant, client_id, access, refresh] = texts;
            let [granted, issued, expires] = times.map(moment);
            Record {
                grant,
                profile: profile.map(|id| id.parse().unwrap()),
                user: user.map(|(id, name)| User { id, name }),
                client_id,
                generation,
                granted,
                access_token: Secret::new(access),
                issued,
                expires,
                refresh_token: Secret::new(refresh),
                refresh_expires: refresh_expires.map(moment),
            }
        }
    }

    /// Everything in a record, its secrets included.
    pub(in crate::credentials) fn laid_open(record: &Record) -> String {
        let (access, refresh) = (&record.access_token, &record.refresh_token);
        format!("{record:?} {:?} {:?}", access.expose(), refresh.expose())
    }

    proptest! {
        #[test]
        fn any_record_reads_back_as_it_was_written(written in any_record()) {
            let plain = written.to_plain().unwrap();
            let read = Record::from_plain(&plain).unwrap();
            prop_assert_eq!(laid_open(&read), laid_open(&written));
            prop_assert!(!read.supersedes(&written) && !written.supersedes(&read));
        }

        #[test]
        fn a_record_cut_anywhere_is_garbled(written in any_record(), place in any::<prop::sample::Index>()) {
            let plain = written.to_plain().unwrap();
            let cut = &plain[..place.index(plain.len())];
            prop_assert_eq!(Record::from_plain(cut).unwrap_err(), Unread::Garbled);
        }

        #[test]
        fn of_one_login_the_tokens_stand_in_one_order(
            record in any_record(),
            generations in prop::array::uniform3(any::<u64>()),
        ) {
            let [one, two, three] = generations.map(|generation| Record { generation, ..record.clone() });
            prop_assert_eq!(one.supersedes(&two), one.generation > two.generation);
            prop_assert!(!(one.supersedes(&two) && two.supersedes(&one)));
            prop_assert!(
                !(one.supersedes(&two) && two.supersedes(&three)) || one.supersedes(&three)
            );
        }
    }

    proptest! {
        #[test]
        fn with_one_refresh_token_logins_and_their_tokens_stand_in_one_order(
            record in any_record(),
            stands in prop::array::uniform3((0..3_u64, 0..3_u64)),
        ) {
            let [one, two, three] = stands.map(|(granted, generation)| Record {
                granted: moment(granted),
                generation,
                ..record.clone()
            });
            prop_assert_eq!(one.supersedes(&two), stands[0] > stands[1]);
            prop_assert!(
                !(one.supersedes(&two) && two.supersedes(&three)) || one.supersedes(&three)
            );
        }
    }

    pub(in crate::credentials) fn record(generation: u64) -> Record {
        let granted = SystemTime::UNIX_EPOCH + Duration::from_hours(490_000);
        Record {
            grant: "main".into(),
            profile: Some("30000000".parse().unwrap()),
            user: Some(User {
                id: "17".into(),
                name: Some("Ada".into()),
            }),
            client_id: "acme".into(),
            generation,
            granted,
            access_token: Secret::new(format!("access-{generation}")),
            issued: granted,
            expires: granted + Duration::from_secs(43_199),
            refresh_token: Secret::new(format!("refresh-{generation}")),
            refresh_expires: None,
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let written = record(7);
        let read = Record::from_plain(&written.to_plain().unwrap()).unwrap();

        assert_eq!(read.grant, written.grant);
        assert_eq!(read.profile, written.profile);
        assert_eq!(read.user, written.user);
        assert_eq!(read.client_id, written.client_id);
        assert_eq!(read.generation, 7);
        assert_eq!(read.granted, written.granted);
        assert!(read.access_token.matches(&written.access_token));
        assert!(read.refresh_token.matches(&written.refresh_token));
        assert_eq!(
            (read.issued, read.expires),
            (written.issued, written.expires)
        );
        assert_eq!(read.refresh_expires, None);
    }

    #[test]
    fn the_stored_shape_of_version_1_stays_readable() {
        // Text as version 1 writes it: a later program must still open it.
        let text = r#"{"version":1,"grant":"main","profile":null,"user":null,"client_id":"acme",
            "generation":3,"granted_ms":1,"access_token":"a","issued_ms":2,"expires_ms":3,
            "refresh_token":"r","refresh_expires_ms":4,"a_later_field":true}"#;
        let read = Record::from_plain(text.as_bytes()).unwrap();
        assert_eq!(read.generation, 3);
        assert_eq!(read.refresh_token.expose(), "r");
        assert_eq!(read.refresh_expires, Some(moment(4)));
    }

    #[test]
    fn a_record_of_a_newer_version_is_recognised_whatever_its_shape() {
        assert_eq!(
            Record::from_plain(br#"{"version":2,"tokens":[]}"#).unwrap_err(),
            Unread::NewerVersion(2)
        );
        for garbled in [&b"{}"[..], b"[2]", b"2"] {
            assert_eq!(Record::from_plain(garbled).unwrap_err(), Unread::Garbled);
        }
    }

    #[test]
    fn a_later_generation_or_another_login_supersedes_and_an_older_one_does_not() {
        let (old, new) = (record(4), record(5));
        assert!(new.supersedes(&old));
        assert!(!old.supersedes(&new));
        assert!(!new.supersedes(&new.clone()));

        let mut login = record(1);
        login.granted += Duration::from_mins(1);
        assert!(
            login.supersedes(&new),
            "a login counts, whatever its number"
        );
        login.refresh_token = new.refresh_token.clone();
        assert!(login.supersedes(&new), "and whatever it brings");
        assert!(!new.supersedes(&login));
    }
}
