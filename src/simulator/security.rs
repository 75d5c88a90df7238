//! The simulator in a test's hands: signed and encrypted bodies, strong authentication, webhooks.

use serde_json::Value;

use super::errors::SimulatorError;
use super::handle::Simulator;
use super::webhooks;
use super::webhooks::Delivery;
use super::world::ChallengeKind;
use super::world::Event;
use super::world::KeyRefused;
use super::world::What;

impl Simulator {
    /// Takes a new key of Wise's into use; returns its version, or `None` when there is no such
    /// algorithm (`ES512`, `RSA_OAEP_256`).
    pub fn rotate_jose_key(&self, algorithm: &str) -> Option<usize> {
        self.shared.lock().jose.rotate(algorithm).ok().flatten()
    }

    /// Takes a registered key of the partner's out of use; `false` when there is none.
    pub fn deactivate_jose_key(&self, id: &str) -> bool {
        let now = self.shared.now();
        self.shared.lock().jose.deactivate(id, now)
    }

    /// What the account holder does under "Manage public keys", for the old way of strong
    /// authentication.
    pub fn upload_public_key(&self, name: &str, pem: &str) -> Result<(), KeyRefused> {
        self.shared.lock().world.challenges.keys.add(name, pem)
    }

    /// The challenges that are open, oldest first, as the control API shows them.
    pub fn challenges(&self) -> Vec<Value> {
        let now = self.shared.now();
        let state = self.shared.lock();
        state.world.challenges.list(&state.faults.sca, now)
    }

    /// What a human does in the meantime: clears every open challenge, or those of one token, or
    /// one kind. Returns how many tokens that clears.
    pub fn approve(&self, token: Option<&str>, kind: Option<ChallengeKind>) -> usize {
        self.shared.lock().world.challenges.approve(token, kind)
    }

    /// Makes an event; returns the ids of its deliveries.
    pub fn publish(&self, event: &str, profile: Option<u64>, data: Value) -> Vec<String> {
        let event = Event {
            name: event.to_owned(),
            profile,
            what: What::Given(data),
            test: None,
        };
        webhooks::publish(&self.shared, &event)
    }

    /// Every delivery of a webhook, in the order of the events.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.lock().journal.all().to_vec()
    }

    /// Sends a delivery once more under its own id; `false` when it is not there any more.
    pub fn repeat_delivery(&self, id: &str) -> bool {
        webhooks::repeat(&self.shared, id)
    }

    /// The public key that deliveries verify with, as PEM. Made when it is first asked for.
    pub fn webhook_key_pem(&self) -> Result<String, SimulatorError> {
        let key = self.shared.sender.public_key();
        key.map_err(|trouble| SimulatorError::Webhooks(trouble.to_string()))
    }

    /// The authorities of the client certificate that receivers are shown, as PEM.
    pub fn webhook_ca_pem(&self) -> Result<String, SimulatorError> {
        let chain = self.shared.sender.authorities(self.shared.now());
        chain.map_err(|trouble| SimulatorError::Webhooks(trouble.to_string()))
    }
}
