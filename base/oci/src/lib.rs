//! # oci: the Open Container Initiative's words
//!
//! - **Owns**: the documents of runtime-spec 1.3 (`config.json`) and image-spec 1.1 (descriptor, manifest, index,
//!   image configuration) with Docker's extensions to the latter.
//! - **In**: JSON. **Out**: plain structs, and the same JSON again.
//! - **Leans on**: model, serde.
//! - **Also**: Docker's default seccomp profile and its form of profiles, resolved to the specification's.
//! - **Never**: checks a rule of the specifications: that is the business of who acts on the document.
//! - **Invariant**: absent fields stay absent: reading and writing again loses nothing that these structs name.

pub mod image;
pub mod paths;
pub mod runtime;
pub mod seccomp;
pub mod seccomp_default;
