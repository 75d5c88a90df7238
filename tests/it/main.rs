//! The house as a whole: what no single room can promise.

mod architecture;
