//! Names of images: no panic, and what is read is written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tare_model::Reference;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string().parse::<Reference>().ok().as_ref(), Some(&reference));
        assert_eq!(reference.familiar().parse::<Reference>().ok().as_ref(), Some(&reference));
    }
});
