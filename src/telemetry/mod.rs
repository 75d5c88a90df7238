//! What the program says about itself: log, access lines, metrics.
//!
//! Nothing here may block or lock on the way of a request, and nothing here ever receives a
//! secret: a worker counts in cells of its own, and a line travels to the writer in batches.

pub(crate) mod access;
pub(crate) mod challenges;
pub(crate) mod events;
pub(crate) mod log;
pub(crate) mod meter;
pub(crate) mod metrics;
pub(crate) mod names;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
pub(crate) mod pulse;
pub(crate) mod traffic;
