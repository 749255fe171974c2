#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| denrei_fuzz::multipart::run(data));
