//! The switch: which lane requests take, remembered across restarts and written down; and what
//! went over each lane.
//!
//! This room keeps both on disk. It never decides to switch: an operator does, because a change of
//! lane changes who is acting at Wise.

mod state;
mod usage;

pub(crate) use state::{Entry, SwitchError, SwitchStore};
pub(crate) use usage::{LaneUse, Usage, UsageStore};
