//! Whose a delivery is: the one thing that is read in a body, after its signature held.
//!
//! Wise signs for all its customers with one key, so a signature proves Wise and no more: who knows
//! this door's URL can have Wise deliver to it. Which subscription it was is what tells them apart.

use std::borrow::Cow;

use serde::Deserialize;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    subscription_id: Cow<'a, str>,
}

/// Whether a body names one of these subscriptions; they are in lower case. A body that says nothing,
/// or says it twice, names none.
pub(crate) fn is_of(body: &[u8], subscriptions: &[String]) -> bool {
    let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(body) else {
        return false;
    };
    let found = envelope.subscription_id;
    let mut subscriptions = subscriptions.iter();
    subscriptions.any(|known| found.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "90aa8e14-4ef1-4a56-861c-f3c9cde097ea";
    const PUBLISHED: &[u8] = include_bytes!("../simulator/tests/vectors/webhook-body.json");

    #[test]
    fn only_the_envelopes_own_field_names_a_subscription_and_it_does_so_once() {
        let ours = [OURS.to_owned()];
        assert!(is_of(PUBLISHED, &ours));
        assert!(!is_of(
            PUBLISHED,
            &["01234567-89ab-cdef-0123-456789abcdef".into()]
        ));
        assert!(!is_of(PUBLISHED, &[]));
        let upper = OURS.to_uppercase();
        let escaped = OURS.replace('-', "\\u002d");
        for (body, wanted) in [
            (format!("{{\"subscription_id\": \"{OURS}\" }}"), true),
            (format!("{{\"subscription_id\":\"{upper}\"}}"), true),
            (format!("{{\"subscription_id\":\"{escaped}\"}}"), true),
            (
                format!("{{\"data\":{{\"subscription_id\":\"{OURS}\"}}}}"),
                false,
            ),
            (format!("{{\"subscription_id\":[\"{OURS}\"]}}"), false),
            (format!("{{\"subscription_id\":\"{OURS} \"}}"), false),
            (
                format!("{{\"subscription_id\":\"{OURS}\",\"subscription_id\":\"{OURS}\"}}"),
                false,
            ),
            (
                format!("{{\"subscription_id\":\"{OURS}\"}} and more"),
                false,
            ),
            ("{}".into(), false),
            (String::new(), false),
        ] {
            assert_eq!(is_of(body.as_bytes(), &ours), wanted, "{body}");
        }
    }
}
