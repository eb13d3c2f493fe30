//! metadata.yaml of strangers: what is read keeps to its limits, what is not gets a sentence.
#![no_main]

use headwater_formats::metadata::Metadata;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    match Metadata::parse(data) {
        Ok(metadata) => {
            assert!(metadata.properties.len() <= 1024);
            assert!(metadata.creation_date.unix() != 0);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
