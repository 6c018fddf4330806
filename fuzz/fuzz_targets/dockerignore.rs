//! Rules and a path: no panic, and what is not walked holds nothing that is taken back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tare_dockerfile::Ignore;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (rules, path) = input;
    let Ok(ignore) = Ignore::parse(rules) else { return };
    let excluded = ignore.excludes(path);
    for (end, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
        let directory = &path[..end];
        if ignore.excludes(directory) && !ignore.may_return(directory) {
            assert!(excluded, "a path below a directory that is left out is taken back");
        }
    }
});
