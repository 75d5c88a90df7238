//! The switch: which lane requests take, remembered across restarts and written down.
//!
//! This room keeps the setting and its history on disk. It never decides to switch: an operator
//! does, because a change of lane changes who is acting at Wise.

mod state;

pub(crate) use state::{Entry, SwitchError, SwitchStore};
