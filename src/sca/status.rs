//! What Wise says of a one-time token (Wise, "One-time token": `GET /v1/one-time-token/status`).

use serde::Deserialize;

use super::OneTimeToken;
use crate::wise::wire;

/// What an answer may name; Wise asks for two at most.
const MOST: usize = 16;

/// How a one-time token stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Status {
    /// The kinds still to be cleared, such as `PIN` or `SMS`; of alternatives the one that Wise
    /// proposes.
    pub(crate) challenges: Vec<String>,
    /// Seconds that the token is still good for.
    pub(crate) validity: u64,
    /// What it is for, in Wise's word, such as `BALANCE__GET_STATEMENT`.
    pub(crate) action: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    one_time_token_properties: Properties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    one_time_token: String,
    #[serde(default)]
    challenges: Vec<Challenge>,
    validity: u64,
    #[serde(default)]
    action_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Challenge {
    primary_challenge: Primary,
    #[serde(default)]
    passed: bool,
}

#[derive(Deserialize)]
struct Primary {
    #[serde(rename = "type")]
    kind: String,
}

impl Status {
    /// Reads Wise's answer; `None`: it is none, or about another token.
    pub(crate) fn read(answer: &[u8], token: &OneTimeToken) -> Option<Self> {
        let Answer {
            one_time_token_properties: properties,
        } = wire::object(answer)?;
        if properties.one_time_token != token.expose() {
            return None;
        }
        let open = properties.challenges.into_iter().filter(|it| !it.passed);
        let kinds = open.map(|it| it.primary_challenge.kind);
        let challenges: Vec<String> = kinds.take(MOST).collect();
        // They are handed to programs and shown to people.
        if !challenges.iter().all(|kind| is_word(kind)) {
            return None;
        }
        Some(Self {
            challenges,
            validity: properties.validity,
            action: properties.action_type.filter(|action| is_word(action)),
        })
    }
}

fn is_word(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "9f5f5812-2609-4e48-8418-b64437c0c7cd";

    fn read(text: &str) -> Option<Status> {
        Status::read(text.as_bytes(), &OneTimeToken::parse(TOKEN).unwrap())
    }

    /// The sample of Wise's reference.
    const SAMPLE: &str = r#"{"oneTimeTokenProperties":{
      "oneTimeToken":"9f5f5812-2609-4e48-8418-b64437c0c7cd",
      "challenges":[{"primaryChallenge":{"type":"PIN","viewData":{"attributes":{"userId":6146956}}},
                     "alternatives":[],"required":true,"passed":false}],
      "validity":3600,"actionType":"BALANCE__GET_STATEMENT","userId":6146956}}"#;

    #[test]
    fn wises_sample_is_read() {
        let status = read(SAMPLE).unwrap();
        assert_eq!(status.challenges, ["PIN"]);
        assert_eq!(status.validity, 3600);
        assert_eq!(status.action.as_deref(), Some("BALANCE__GET_STATEMENT"));
        let passed = read(&SAMPLE.replace("\"passed\":false", "\"passed\":true"));
        assert_eq!(passed.unwrap().challenges, Vec::<String>::new());
    }

    #[test]
    fn what_is_no_status_of_this_token_is_none() {
        for text in [
            "",
            "[]",
            "{}",
            &SAMPLE.replace("9f5f", "0000"),
            &SAMPLE.replace("3600", "\"soon\""),
            &SAMPLE.replace("\"PIN\"", "\"P\\nIN\""),
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
