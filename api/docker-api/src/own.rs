//! What Tare's daemon answers beyond the Engine API, below `/tare/`:
//!
//! | request | answer |
//! |---|---|
//! | `GET /tare/images/{name}/layers` | a list of [`ImageLayer`], the lowest first |
//! | `GET /tare/images/{name}/manifest` | what the name stands for in a registry, byte for byte |
//! | `POST /tare/manifests/create?name=NAME&image=A&image=B` | makes an index of images that are here; an [`IndexMade`] |
//! | `GET /tare/diff?from=A&to=B` | a list of [`TreeDifference`] between two images |
//! | `POST /tare/images/{name}/untag?repo=REPOSITORY&tag=TAG` | takes the name from the image, all its names without `repo`; the image stays |
//! | `POST /tare/images/{name}/hold?by=NAME` | keeps the image for who mounts it |
//! | `DELETE /tare/hold?by=NAME` | ends that |
//! | `POST /tare/verify?repair=1` | one [`Verdict`] a line |
//!
//! `POST /images/create` takes `allplatforms=1`: the images of all platforms that the name has in the registry.
//! `POST /images/{name}/push` takes `compression=gzip|zstd`: how layers travel that are kept in another way.

use crate::wire::is_empty;

wire! {
    /// One layer of an image.
    pub struct ImageLayer {
        #[serde(rename = "DiffID")]
        pub diff_id: String,
        #[serde(rename = "ChainID")]
        pub chain_id: String,
        /// Bytes of its files.
        pub size: i64,
        /// Of the compressed tar.
        #[serde(skip_serializing_if = "is_empty")]
        pub blob: String,
        /// Bytes of the compressed tar.
        pub blob_size: i64,
        /// Its tree on the daemon's machine; empty where a higher layer's has all of it.
        pub path: String,
        /// Ids or names of the other images that have it.
        pub shared: Vec<String>,
    }

    /// An index that was made.
    pub struct IndexMade {
        pub digest: String,
        /// Bytes of the document.
        pub size: u64,
    }

    /// One path that two images do not have alike.
    pub struct TreeDifference {
        pub path: String,
        /// 0 changed, 1 added, 2 deleted, as in `GET /containers/{id}/changes`.
        pub kind: u8,
        pub before: u64,
        pub after: u64,
    }

    /// How one blob or layer is.
    pub struct Verdict {
        /// `blob` or `layer`.
        #[serde(rename = "Type")]
        pub kind: String,
        /// Its digest or chain id.
        #[serde(rename = "ID")]
        pub id: String,
        /// What is wrong; empty where nothing is.
        #[serde(skip_serializing_if = "is_empty")]
        pub damage: String,
        #[serde(skip_serializing_if = "is_empty")]
        pub repaired: bool,
        /// Why it could not go on; the last line then.
        #[serde(rename = "error", skip_serializing_if = "is_empty")]
        pub error: String,
    }
}
