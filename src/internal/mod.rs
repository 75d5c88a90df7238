//! What those outside the house may call who test its insides: the fuzzers of `tests/fuzz` and
//! `benches/steps.rs`.

#[cfg(test)]
mod operations;
#[cfg(any(test, feature = "fuzzing"))]
mod promises;

#[cfg(feature = "benchmarks")]
pub use crate::proxy::jose_steps::JoseSteps;
#[cfg(feature = "benchmarks")]
pub use crate::proxy::steps::{Leaving, Noted, Signature, Steps};
#[cfg(feature = "benchmarks")]
pub use crate::webhook::steps::WebhookSteps;
#[cfg(any(test, feature = "fuzzing"))]
pub use promises::*;
