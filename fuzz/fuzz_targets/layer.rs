//! Whatever the bytes of a layer: no panic, no way out, and nothing over the limits. Needs root, as layers do.
#![no_main]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tare_model::Digest;
use tare_snapshot::{Driver, Limits, Listing, Snapshots};
use tare_store::Store;

const LIMITS: Limits = Limits { bytes: 1 << 20, entries: 1000, memory: 1 << 20 };
const BELOW: Digest = Digest::from_bytes([1; 32]);
const ABOVE: Digest = Digest::from_bytes([2; 32]);

/// A data root in memory, with a layer that has links, and a neighbour that nothing may touch.
static WORLD: LazyLock<(&Path, Arc<Snapshots>)> = LazyLock::new(|| {
    let place = tare_fuzz::place();
    std::fs::write(place.join("precious"), "precious").unwrap();
    let store = Store::open(&place.join("store")).unwrap();
    let snapshots = Snapshots::open_with(&place.join("snapshots"), store, Some(Driver::Overlay)).unwrap();
    let base = std::process::Command::new("sh")
        .args(["-c", "d=$(mktemp -d) && cd $d && mkdir -p a/b && ln -s ../../.. a/c && ln -s /a/b d && tar -cf - . && rm -r $d"])
        .output()
        .unwrap();
    snapshots.commit(snapshots.unpack(&base.stdout[..], &LIMITS).unwrap(), &BELOW, None).unwrap();
    (place, snapshots)
});

fuzz_target!(|bytes: &[u8]| {
    let mut listing = Listing::new(bytes);
    while let Ok(Some(_)) = listing.next() {
        while let Ok(chunk @ [_, ..]) = listing.chunk() {
            let length = chunk.len();
            listing.consume(length);
        }
    }
    let (place, snapshots) = &*WORLD;
    if let Ok(unpacked) = snapshots.unpack(bytes, &LIMITS) {
        assert!(unpacked.bytes <= LIMITS.bytes && unpacked.entries <= LIMITS.entries);
        if snapshots.commit(unpacked, &ABOVE, Some(&BELOW)).is_ok() {
            snapshots.remove_layer(&ABOVE).unwrap();
        }
    }
    assert_eq!(std::fs::read(place.join("precious")).unwrap(), b"precious");
    assert_eq!(std::fs::read_dir(place).unwrap().count(), 3);
});
