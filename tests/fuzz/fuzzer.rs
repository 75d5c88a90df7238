//! Every target in one program; `FUZZ_TARGET` names the one. Built and run by `tests/fuzz/run`.

#![no_main]

use std::sync::LazyLock;

use wise_auth_proxy::internal::TARGETS;

static HOLDS: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let mut targets = TARGETS.into_iter();
    let Some((_, holds)) = targets.find(|(name, _)| *name == wanted) else {
        panic!("FUZZ_TARGET is {wanted:?}; see src/internal/promises.rs for those there are");
    };
    holds
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| HOLDS(input));
