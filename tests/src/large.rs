use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::fixture::{add_packages, cached, run, start_layout};

/// A large image of Debian's packages, about 450 MB in 18,000 files, for what takes long enough to be measured.
#[derive(Clone, Debug)]
pub struct LargeImage {
    /// Three layers, as skopeo calls them.
    pub layered: String,
    /// The same files in one layer.
    pub flat: String,
    /// The three layers uncompressed in a file, as `docker save` writes them.
    pub archive: PathBuf,
}

impl LargeImage {
    /// The name that the archive gives the image.
    pub const NAME: &str = "large:archived";

    /// Makes it, which takes minutes, or finds the one that was made before.
    pub fn find() -> Result<Self> {
        let dir = cached("large", make)?;
        let named = |tag: &str| format!("oci:{}/layout:{tag}", dir.display());
        Ok(Self { layered: named("layered"), flat: named("flat"), archive: dir.join("archive.tar") })
    }
}

fn make(dir: &Path) -> Result<()> {
    let layout = dir.join("layout");
    let image = |tag: &str| format!("{}:{tag}", layout.display());
    let (layered, flat, tar) = (image("layered"), image("flat"), dir.join("tree.tar"));
    run(Command::new("mmdebstrap").args(["--quiet", "--variant=minbase", "bookworm"]).arg(&tar))?;
    start_layout(&layout, &layered)?;
    run(Command::new("umoci").args(["raw", "add-layer", "--image", &layered]).arg(&tar))?;
    add_packages(dir, &layered, "gcc make")?;
    add_packages(dir, &layered, "golang-src")?;

    let bundle = dir.join("bundle");
    run(Command::new("umoci").args(["unpack", "--image", &layered]).arg(&bundle))?;
    run(Command::new("tar")
        .args(["--numeric-owner", "--xattrs", "-C"])
        .arg(bundle.join("rootfs"))
        .arg("-cf")
        .arg(&tar)
        .arg("."))?;
    run(Command::new("umoci").args(["new", "--image", &flat]))?;
    run(Command::new("umoci").args(["raw", "add-layer", "--image", &flat]).arg(&tar))?;
    std::fs::remove_dir_all(&bundle)?;
    std::fs::remove_file(&tar)?;

    let archive = format!("docker-archive:{}:{}", dir.join("archive.tar").display(), LargeImage::NAME);
    run(Command::new("skopeo").args(["copy", "-q", &format!("oci:{layered}"), &archive]))
}
