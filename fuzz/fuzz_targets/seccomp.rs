//! Whatever a seccomp profile says: no panic, no program that the kernel would find too long, and the same one each time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tare_oci::runtime::Seccomp;
use tare_runtime::seccomp::compile;

fuzz_target!(|bytes: &[u8]| {
    let Ok(profile) = serde_json::from_slice::<Seccomp>(bytes) else { return };
    if let Ok(filter) = compile(&profile) {
        assert!((1..=4096).contains(&filter.instructions.len()));
        assert_eq!(compile(&profile).as_ref(), Ok(&filter));
    }
});
