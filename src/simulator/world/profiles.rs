//! Users and their profiles.

use std::time::SystemTime;

use http::StatusCode;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use super::Call;
use crate::simulator::errors;
use crate::simulator::gate::Caller;
use crate::simulator::reply::Reply;
use crate::simulator::reply::json_reply;
use crate::simulator::times;
use crate::simulator::tokens::Tokens;

/// The account holder.
const OWNER: u64 = 9_889_627;
const OWNER_EMAIL: &str = "ada@example.com";
pub(super) const PERSONAL: u64 = 14_575_282;

pub(super) struct Profiles {
    all: Vec<Profile>,
    next_user: u64,
}

pub(super) struct Profile {
    pub(super) id: u64,
    pub(super) kind: Kind,
    pub(super) name: String,
    user: u64,
    email: String,
    public_id: Uuid,
    created: SystemTime,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Business,
    Personal,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Business => "BUSINESS",
            Self::Personal => "PERSONAL",
        }
    }
}

impl Profiles {
    pub(super) fn new(business: &[u64], now: SystemTime) -> Self {
        let make = |id, kind, name: String| Profile {
            id,
            kind,
            name,
            user: OWNER,
            email: OWNER_EMAIL.to_owned(),
            public_id: Uuid::new_v4(),
            created: now,
        };
        let mut all = vec![make(PERSONAL, Kind::Personal, "Ada Example".to_owned())];
        for (number, id) in business.iter().enumerate() {
            let name = match number {
                0 => "Example Trading Ltd".to_owned(),
                _ => format!("Example Trading {} Ltd", number + 1),
            };
            all.push(make(*id, Kind::Business, name));
        }
        Self {
            all,
            next_user: OWNER + 1,
        }
    }

    /// The account holder's profiles.
    pub(super) fn owned(&self) -> impl Iterator<Item = &Profile> {
        self.all.iter().filter(|profile| profile.user == OWNER)
    }

    pub(super) fn find(&self, id: u64) -> Option<&Profile> {
        self.all.iter().find(|profile| profile.id == id)
    }

    fn visible(&self, caller: Caller) -> Vec<&Profile> {
        match caller {
            Caller::Personal => self.owned().collect(),
            Caller::User { profile } => self.find(profile).into_iter().collect(),
            Caller::Client | Caller::Nobody => Vec::new(),
        }
    }

    pub(super) fn me(&self, caller: Caller) -> Reply {
        let profile = self.visible(caller).first().copied();
        let (user, email) = profile.map_or((OWNER, OWNER_EMAIL), |profile| {
            (profile.user, profile.email.as_str())
        });
        json_reply(StatusCode::OK, &user_json(user, email))
    }

    pub(super) fn user(&self, call: &Call<'_>) -> Reply {
        let id = call.found.id("userId");
        match self
            .visible(call.caller)
            .iter()
            .find(|profile| profile.user == id)
        {
            Some(profile) => json_reply(StatusCode::OK, &user_json(id, &profile.email)),
            None => errors::forbidden(call.path, &times::nanoseconds(call.now)),
        }
    }

    pub(super) fn list(&self, caller: Caller) -> Reply {
        let list: Vec<Value> = self
            .visible(caller)
            .into_iter()
            .map(Profile::json)
            .collect();
        json_reply(StatusCode::OK, &list.into())
    }

    pub(super) fn read(&self, call: &Call<'_>) -> Reply {
        match self.find(call.profile()) {
            Some(profile) => json_reply(StatusCode::OK, &profile.json()),
            None => call.missing("Profile"),
        }
    }

    pub(super) fn sign_up(&mut self, call: &Call<'_>, tokens: &mut Tokens) -> Reply {
        let text = |key: &str| call.body[key].as_str();
        let (Some(email), Some(code)) = (text("email"), text("registrationCode")) else {
            let path = if text("email").is_none() {
                "email"
            } else {
                "registrationCode"
            };
            return errors::field(StatusCode::BAD_REQUEST, "NotNull", path, "must not be null");
        };
        if code.chars().count() < 32 {
            let message = "size must be at least 32";
            return errors::field(StatusCode::BAD_REQUEST, "Size", "registrationCode", message);
        }
        if !email
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && host.contains('.'))
        {
            let message = "not a well-formed email address";
            return errors::field(StatusCode::UNPROCESSABLE_ENTITY, "ERROR", "email", message);
        }
        if email == OWNER_EMAIL || tokens.is_registered(email) {
            let message = "You already have an account with this email";
            return errors::field(StatusCode::CONFLICT, "NOT_UNIQUE", "email", message);
        }
        let user = self.next_user;
        self.next_user += 1;
        let id = 50_000_000 + user - OWNER;
        self.all.push(Profile {
            id,
            kind: Kind::Personal,
            name: email.to_owned(),
            user,
            email: email.to_owned(),
            public_id: Uuid::new_v4(),
            created: call.now,
        });
        tokens.register(email, code, id);
        json_reply(
            StatusCode::OK,
            &json!({"id": user, "name": null, "email": email, "active": true, "details": null}),
        )
    }
}

pub(super) fn exists(call: &Call<'_>, tokens: &Tokens) -> Reply {
    let email = call.body["email"].as_str().unwrap_or_default();
    let exists = email == OWNER_EMAIL || tokens.is_registered(email);
    json_reply(StatusCode::OK, &json!({"exists": exists}))
}

impl Profile {
    fn json(&self) -> Value {
        // Profiles carry a timestamp without a zone.
        let created = times::seconds(self.created);
        let created = created.trim_end_matches('Z');
        let mut json = json!({
            "type": self.kind.word(),
            "id": self.id,
            "publicId": self.public_id.to_string(),
            "userId": self.user,
            "address": {
                "id": 40_000 + self.id % 1_000,
                "addressFirstLine": "Road 1",
                "city": "Tallinn",
                "countryIso2Code": "EE",
                "countryIso3Code": "EST",
                "postCode": "11111",
                "stateCode": null,
            },
            "email": self.email,
            "createdAt": created,
            "updatedAt": created,
            "currentState": "VISIBLE",
            "fullName": self.name,
        });
        match self.kind {
            Kind::Personal => {
                let (first, last) = self.name.split_once(' ').unwrap_or((&self.name, ""));
                json["firstName"] = first.into();
                json["lastName"] = last.into();
            }
            Kind::Business => {
                json["businessName"] = self.name.clone().into();
                json["registrationNumber"] = "12345678".into();
                json["companyType"] = "LIMITED_COMPANY".into();
            }
        }
        json
    }
}

fn user_json(id: u64, email: &str) -> Value {
    json!({
        "id": id,
        "name": "Ada Example",
        "email": email,
        "active": true,
        "details": {
            "firstName": "Ada",
            "lastName": "Example",
            "phoneNumber": "+37111111111",
            "dateOfBirth": "1977-01-01",
            "occupation": "",
            "avatar": "",
            "primaryAddress": 111,
            "address": {
                "countryCode": "EE",
                "firstLine": "Road 1",
                "postCode": "11111",
                "city": "Tallinn",
                "state": "",
                "occupation": "",
            },
        },
    })
}
