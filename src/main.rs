//! The binary: see `wise_auth_proxy::cli`.

fn main() {}
