//! The end of a build without room: its image, and what is written where the client is.

use std::path::Path;

use anyhow::{Result, ensure};
use tare_tests::Ran;

use super::build::noise;
use super::site::Site;
use super::small::{Disk, Kind, entries};

/// What is built has a file of so many bytes.
const LARGE: usize = 2 << 20;
/// What is left free of the disk that it is written to, and of the one that it is made on.
const OUT: [u64; 4] = [16 << 10, 600 << 10, 1500 << 10, 5 << 20];
const BUILT: [u64; 5] = [600 << 10, 2300 << 10, 3500 << 10, 5 << 20, 12 << 20];

/// Everything but the filler that a directory has.
fn written(directory: &Path) -> Vec<String> {
    let names =
        entries(directory).into_iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    names.filter(|name| name != "filler").collect()
}

/// A site whose image has a file of [`LARGE`] bytes, and a disk for what is written.
fn site_and_disk() -> Result<(Site, Disk)> {
    let site = Site::new()?;
    site.file("large", noise(LARGE))?;
    site.dockerfile("FROM scratch\nCOPY Dockerfile large /files/\n")?;
    let out = Disk::mount(&site.beside("out"), Kind::usual())?;
    Ok((site, out))
}

#[test]
fn an_archive_whose_disk_is_full_is_whole_or_what_it_was() -> Result<()> {
    let (site, out) = site_and_disk()?;
    let file = out.path().join("file.tar");
    for kind in ["tar", "oci", "docker"] {
        std::fs::write(&file, "old")?;
        let to = format!("type={kind},dest={}", file.display());
        let build = || -> Result<Ran> {
            let ran = site.build(&["-o", &to])?;
            let left = written(out.path());
            ensure!(left == ["file.tar"], "left behind: {left:?}");
            let (length, whole) = (std::fs::metadata(&file)?.len(), ran.code == 0);
            ensure!(if whole { length > LARGE as u64 } else { length == 3 }, "{length} bytes: {ran:?}");
            let is_said =
                ran.err.lines().any(|line| line.starts_with("tare: output ") && line.contains("file.tar"));
            ensure!(whole || is_said, "{ran:?}");
            std::fs::write(&file, "old")?;
            Ok(ran)
        };
        site.build_onto(&out, &OUT, build)?;
    }
    Ok(())
}

#[test]
fn a_directory_whose_disk_is_full_has_whole_files() -> Result<()> {
    let (site, out) = site_and_disk()?;
    let to = out.path().join("directory");
    let build = || -> Result<Ran> {
        let ran = site.build(&["-o", &to.display().to_string()])?;
        let large = std::fs::metadata(to.join("files/large")).map(|found| found.len()).ok();
        let expected = (ran.code == 0).then_some(LARGE as u64);
        ensure!(large == expected, "{large:?} bytes: {ran:?}");
        std::fs::remove_dir_all(&to)?;
        Ok(ran)
    };
    site.build_onto(&out, &OUT, build)
}

#[test]
fn what_cannot_be_built_for_want_of_room_is_not_written_elsewhere() -> Result<()> {
    let (site, out) = site_and_disk()?;
    let file = out.path().join("file");
    for kind in ["local", "tar", "oci", "docker"] {
        let to = format!("type={kind},dest={}", file.display());
        let build = || -> Result<Ran> {
            let ran = site.build(&["-o", &to])?;
            if kind == "local" {
                ensure!(file.join("files/large").exists() == (ran.code == 0), "{ran:?}");
                std::fs::remove_dir_all(&file)?;
                return Ok(ran);
            }
            let left = written(out.path());
            ensure!(left.len() == usize::from(ran.code == 0), "left behind: {left:?}: {ran:?}");
            std::fs::remove_file(&file).ok();
            Ok(ran)
        };
        site.build_with(&BUILT, None, build)?;
        site.forget()?;
    }
    Ok(())
}

#[test]
fn an_image_is_written_down_whole_or_not_at_all() -> Result<()> {
    let site = Site::new()?;
    // Its documents are larger than its layer.
    let long = "x".repeat(12_000);
    site.dockerfile(&format!("FROM IMAGE\nLABEL long={long}\nRUN echo made > /made\n"))?;
    let free: Vec<u64> = (0..24).map(|step| step * (4 << 10)).collect();
    site.build_with(&free, Some("3 | RUN"), || site.build(&[]))?;
    ensure!(site.shell("cat /made")? == "made");
    Ok(())
}

#[test]
fn an_id_that_finds_no_room_is_an_error() -> Result<()> {
    let site = Site::new()?;
    let out = Disk::mount(&site.beside("out"), Kind::usual())?;
    let file = out.path().join("told");
    for flag in ["--iidfile", "--metadata-file"] {
        let words = [flag, &file.display().to_string()];
        site.dockerfile("FROM IMAGE\nLABEL a=b\n")?;
        out.fill(0)?;
        let full = site.build(&words)?;
        out.empty()?;
        ensure!(full.code != 0 && full.err.contains("told: No space left on device"), "{flag}: {full:?}");
        ensure!(written(out.path()).is_empty(), "{flag}: left behind: {:?}", written(out.path()));
        site.build(&words)?.ok();
        ensure!(std::fs::read_to_string(&file)?.contains("sha256:"), "{flag}");
        // The id of an earlier build is not this one's.
        site.dockerfile("FROM IMAGE\nRUN false\n")?;
        ensure!(site.build(&words)?.code != 0 && file.exists() == (flag != "--iidfile"), "{flag}");
    }
    Ok(())
}
