//! The documents read and write as the ecosystem's own types do.

use tare_oci::runtime::Spec;

/// What the ecosystem's default `config.json` says, read by our types and written again, is the same document.
#[test]
fn the_default_runtime_spec_survives_a_round_trip() {
    let theirs = oci_spec::runtime::Spec::default();
    let ours: Spec = serde_json::from_value(serde_json::to_value(&theirs).unwrap()).unwrap();
    let again: oci_spec::runtime::Spec = serde_json::from_value(serde_json::to_value(&ours).unwrap()).unwrap();
    assert_eq!(again, theirs);
}
