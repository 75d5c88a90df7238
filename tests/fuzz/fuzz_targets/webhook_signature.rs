#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| wise_auth_proxy::internal::webhook_signature(input));
