//! What a delivery's signature costs, for `benches/steps.rs`.

use super::signature::{Keys, Signature};
use crate::config::Environment;

/// A signature of the sandbox's key, which has 2048 bits.
const SIGNATURE: &str = include_str!("../simulator/tests/vectors/webhook-signature.txt");

/// A delivery of 1 KiB. Nobody here can sign one: its signature is another body's, and is refused at
/// the price of a right one, for what is compared comes last.
#[derive(Debug)]
pub struct WebhookSteps {
    keys: Keys,
    signature: Signature,
    body: Vec<u8>,
}

impl WebhookSteps {
    /// With Wise's key of the sandbox.
    ///
    /// # Panics
    ///
    /// Where that key is none.
    #[allow(clippy::expect_used, reason = "a benchmark fails loudly")]
    pub fn of_one_kibibyte() -> Self {
        let signature = SIGNATURE.trim().as_bytes();
        Self {
            keys: Keys::load(None, Environment::Sandbox).expect("a built-in key"),
            signature: Signature::parse(signature).expect("base64"),
            body: vec![b'a'; 1024],
        }
    }

    /// Verifies it; whether Wise has signed it.
    pub fn verify(&self) -> bool {
        self.keys.vouch(&self.body, &self.signature)
    }
}
