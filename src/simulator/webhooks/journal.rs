//! Every delivery and every attempt, for assertions.

use serde::Serialize;

/// One event on its way to one subscription.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Delivery {
    /// `X-Delivery-Id`.
    pub id: String,
    /// The subscription it belongs to.
    pub subscription: String,
    /// The event's name.
    pub event: String,
    /// Where it goes.
    pub url: String,
    /// Whether it is a test notification.
    pub test: bool,
    /// The bytes that are sent, the same at every attempt.
    pub body: String,
    /// How it stands.
    pub state: DeliveryState,
    /// What was tried, oldest first.
    pub attempts: Vec<Attempt>,
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryState {
    /// It is being tried, or will be again.
    Pending,
    /// A receiver took it.
    Delivered,
    /// Wise has given up.
    Failed,
    /// The subscription is gone.
    Abandoned,
}

/// One attempt.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Attempt {
    /// When it began, in milliseconds since 1970.
    pub at: u64,
    /// How long it took, in milliseconds.
    pub took: u64,
    /// `X-Signature-SHA256` as sent.
    pub signature: Option<String>,
    /// The status answered.
    pub status: Option<u16>,
    /// Why there is none.
    pub error: Option<String>,
    /// Milliseconds of Wise's time until the next attempt; absent when this was the last.
    pub next_in: Option<u64>,
}

/// Deliveries in the order of their events.
#[derive(Default)]
pub(in crate::simulator) struct Journal {
    all: Vec<Delivery>,
}

impl Journal {
    pub(super) fn open(&mut self, delivery: Delivery) {
        self.all.push(delivery);
    }

    pub(super) fn change(&mut self, id: &str, change: impl FnOnce(&mut Delivery)) {
        if let Some(delivery) = self.all.iter_mut().find(|delivery| delivery.id == id) {
            change(delivery);
        }
    }

    pub(super) fn find(&self, id: &str) -> Option<&Delivery> {
        self.all.iter().find(|delivery| delivery.id == id)
    }

    pub(in crate::simulator) fn all(&self) -> &[Delivery] {
        &self.all
    }

    /// Forgets what is settled; deliveries under way stay.
    pub(in crate::simulator) fn clear(&mut self) {
        self.all
            .retain(|delivery| delivery.state == DeliveryState::Pending);
    }
}
