//! Cache mounts on a disk that fills: what was in them stays of use, and what they take is known and can be had back.

use anyhow::{Result, ensure};

use super::build::{LARGE, MUCH, noise};
use super::site::Site;

const MOUNT: &str = "RUN --mount=type=cache,id=kept,target=/kept";

/// What `system df` says of the build cache: how many there are, and bytes.
fn told(site: &Site) -> Result<(u64, u64)> {
    let (status, told) = site.small.world.api("GET", "/system/df?type=build-cache", None)?;
    ensure!(status == 200, "{status} {told}");
    let told: serde_json::Value = serde_json::from_str(&told)?;
    let all = told["BuildCache"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mounts = all.iter().filter(|one| one["Type"] == "exec.cachemount");
    let sizes: Vec<u64> = mounts.map(|one| one["Size"].as_u64().unwrap_or_default()).collect();
    Ok((sizes.len() as u64, sizes.iter().sum()))
}

#[test]
fn a_cache_mount_that_fills_the_disk_keeps_what_it_had() -> Result<()> {
    let site = Site::new()?;
    site.dockerfile(&format!(
        "FROM IMAGE\n{MOUNT} head -c 1000000 /dev/urandom > /kept/old && sha256sum /kept/old > /kept/sum\n"
    ))?;
    site.build(&[])?.ok();
    let with = told(&site)?;
    ensure!(with.0 == 1 && (1_000_000..1_100_000).contains(&with.1), "{with:?}");
    let fill = format!("FROM IMAGE\n{MOUNT} dd if=/dev/urandom of=/kept/more bs=64k count=128\n");
    let look = format!("FROM IMAGE\n{MOUNT} sha256sum -c /kept/sum && rm /kept/more\n");
    for free in [1 << 20, 3 << 20, 6 << 20] {
        site.small.disk.fill(free)?;
        site.dockerfile(&fill)?;
        let failed = site.build(&["--no-cache"])?;
        let full = told(&site)?;
        site.small.disk.empty()?;
        for words in ["No space left on device", "returned a non-zero code: 1", "2 | RUN --mount"] {
            ensure!(failed.code != 0 && failed.err.contains(words), "{free} bytes free, {words}: {failed:?}");
        }
        ensure!(full.0 == 1 && full.1 > with.1 + free / 2, "{free} bytes free: {with:?}, then {full:?}");
        site.dockerfile(&look)?;
        site.build(&["--no-cache"])?.ok();
        ensure!(told(&site)? == with, "{free} bytes free: {with:?}, then {:?}", told(&site)?);
    }
    site.dockerfile(&fill)?;
    site.build(&["--no-cache"])?.ok();
    site.forget()?;
    ensure!(told(&site)? == (0, 0), "{:?}", told(&site)?);
    ensure!(!site.small.files().iter().any(|path| path.to_string_lossy().contains("/mounts/")));
    Ok(())
}

/// Who finds the disk full takes away what can be made again, and that has to work without any room.
#[test]
fn what_takes_away_needs_no_room() -> Result<()> {
    let site = Site::new()?;
    for round in 0..40 {
        // Records of all sizes, so that the database is caught with and without free pages.
        let labels: Vec<String> = (0..=round % 7).map(|n| "x".repeat(1000 + n * 977)).collect();
        let labels: String =
            labels.iter().enumerate().map(|(n, label)| format!("LABEL l{n}={round}{label}\n")).collect();
        site.dockerfile(&format!("FROM IMAGE\n{labels}{MOUNT} echo {round} > /f\n"))?;
        site.build(&[])?.ok();
        site.small.disk.fill(0)?;
        let (prune, remove) = (&["builder", "prune", "-a", "-f"][..], &["rmi", "built"][..]);
        let words = if round % 5 == 4 { prune } else { remove };
        let emptied = site.small.world.tare(words)?;
        site.small.disk.empty()?;
        ensure!(emptied.code == 0, "round {round}: {emptied:?}");
    }
    Ok(())
}

#[test]
fn a_cache_mount_that_finds_no_room_is_whole_or_not_there() -> Result<()> {
    let site = Site::new()?;
    site.dockerfile(&format!("FROM IMAGE\n{MOUNT} head -c {LARGE} /dev/urandom > /kept/f\n"))?;
    site.build_with(&MUCH[..5], Some("2 | RUN --mount"), || site.build(&[]))?;
    site.forget()?;
    // One that begins with another stage's files has all of them, or begins again.
    site.file("large", noise(LARGE))?;
    site.dockerfile("FROM IMAGE AS from\nCOPY large /from/large\n")?;
    site.build(&["-t", "seed"])?.ok();
    std::fs::remove_file(site.directory().join("large"))?;
    for free in [64 << 10, 300 << 10, 1 << 20, 4 << 20] {
        let mount = format!("{MOUNT},from=seed,source=/from");
        site.dockerfile(&format!("FROM IMAGE\n{mount} test $(stat -c %s /kept/large) = {LARGE}\n"))?;
        site.small.disk.fill(free)?;
        let failed = site.build(&["--no-cache"])?;
        site.small.disk.empty()?;
        ensure!(
            failed.code != 0 && failed.err.to_lowercase().contains("no space left"),
            "{free}: {failed:?}"
        );
        ensure!(told(&site)?.0 == 0, "{free} bytes free: half of it is registered");
        site.build(&["--no-cache"])?.ok();
        ensure!(told(&site)?.1 >= LARGE as u64, "{free} bytes free: {:?}", told(&site)?);
        site.small.world.tare(&["builder", "prune", "-a", "-f"])?.ok();
    }
    Ok(())
}
