//! The life of a request: door, target, credential, lane, token, Wise, answer.
//!
//! Runs on one worker's thread. It reads one immutable snapshot, takes no lock that another
//! worker takes, sends a request a second time only when Wise provably did not act on it, and
//! never lets the application's own credential out.

mod body;
mod choice;
mod door;
mod fault;
mod policy;
mod target;
