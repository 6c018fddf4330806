use serde::{Deserialize, Serialize};

/// One file system of a container's root, in the shape of containerd's `Mount`: the snapshots say it, the runtime makes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootMount {
    /// `overlay`, `fuse-overlayfs` or `bind`.
    pub kind: String,
    /// The directory to bind; the program of fuse-overlayfs; a word for overlay.
    pub source: String,
    /// As mount(8) writes them: `lowerdir=a:b:c` (the topmost first), `upperdir=`, `workdir=`, `ro`, …
    pub options: Vec<String>,
}
