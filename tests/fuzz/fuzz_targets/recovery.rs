//! libFuzzer's door to the target `recovery`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| siding_fuzz::judge("recovery", input));
