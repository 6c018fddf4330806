//! Whatever a manifest, an index or a configuration says: no panic, what is read is written as it was read, and what our own
//! registry keeps of it is what was brought. Needs root, for a place that nobody else sees.
#![no_main]

use std::fmt::Debug;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tare_depot::{Depot, Name, Wanted};
use tare_oci::image::{ImageConfig, Index, Manifest, media_type};

static DEPOT: LazyLock<Depot> = LazyLock::new(|| Depot::open(tare_fuzz::place()).unwrap());

fn again<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(read) = serde_json::from_slice::<T>(bytes) {
        let written = serde_json::to_vec(&read).unwrap();
        assert_eq!(serde_json::from_slice::<T>(&written).unwrap(), read);
    }
}

fuzz_target!(|bytes: &[u8]| {
    again::<Manifest>(bytes);
    again::<Index>(bytes);
    again::<ImageConfig>(bytes);
    let (name, tag): (Name, Wanted) = ("a/b".parse().unwrap(), "v1".parse().unwrap());
    for kind in ["", media_type::OCI_MANIFEST, media_type::OCI_INDEX, media_type::DOCKER_MANIFEST] {
        if let Ok(put) = DEPOT.put_manifest(&name, &tag, kind, bytes) {
            let kept = DEPOT.manifest(&name, &tag).unwrap();
            assert!(kept.digest == put.digest && kept.bytes == bytes);
            if let Some(subject) = put.subject {
                assert!(!DEPOT.referrers(&name, &subject, None).unwrap().descriptors.is_empty());
            }
            DEPOT.delete_manifest(&name, &Wanted::Digest(put.digest)).unwrap();
        }
    }
});
