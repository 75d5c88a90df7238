//! What tasks share: channels, the atomic pointer, and tasks themselves.
//!
//! In the program this room is nothing but other names for tokio and arc-swap. In unit tests the
//! same names stand for the same types with a point before each operation, at which a model
//! checker may let another task run; outside of a checker's run a point does nothing.
//! So the code that is checked is the code that ships. It must never hold logic of its own.
//!
//! The keeper and the snapshot are built of what is here. What is not here is not explored.

#[cfg(test)]
mod explore;
#[cfg(test)]
mod model;

#[cfg(not(test))]
pub(crate) use {
    arc_swap::{ArcSwap, Cache},
    aws_lc_rs::rand::fill,
    tokio::sync::{mpsc, oneshot, watch},
    tokio::task::{spawn_blocking, spawn_local},
};

#[cfg(test)]
pub(crate) use {
    explore::{Pace, exhaust, explore, replayable, start},
    model::{ArcSwap, Cache, fill, mpsc, oneshot, spawn_blocking, spawn_local, watch},
};
