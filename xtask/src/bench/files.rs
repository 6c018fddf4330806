//! Very many small files in one layer: what a store of layers is slowest at.

use std::time::Instant;

use anyhow::Result;
use tare_tests::World;

use super::measure;

pub(crate) const FILES: u32 = 1_000_000;
/// So many in each directory.
const EACH: u32 = 1000;

/// Makes an image of `count` files and takes it through everything, once.
pub(crate) fn run(count: u32) -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    world.tare(&["pull", "-q", &image])?.ok();
    let daemon = [world.daemon().pid()];
    let archive = world.dir().join("many.tar").display().to_string();
    let make = format!(
        "for d in $(seq {}); do mkdir -p /many/$d; cd /many/$d; for f in $(seq {EACH}); do echo $f > $f; done; done",
        count / EACH
    );
    println!("{count} files in one layer");
    let timed = |title: &str, words: &[&str]| -> Result<String> {
        measure::reset_peak(&daemon)?;
        let begun = Instant::now();
        let said = world.tare(words)?.ok().to_owned();
        let (took, peak) = (begun.elapsed().as_secs_f64(), measure::peak(&daemon));
        println!("  {title:<34}{took:>8.2} s   daemon at most {peak} KiB");
        Ok(said)
    };
    timed(
        "write them in a container",
        &["run", "--network", "none", "--name", "many", &image, "sh", "-c", &make],
    )?;
    timed("commit", &["commit", "many", "many:made"])?;
    timed("remove the container", &["rm", "many"])?;
    timed("save", &["save", "-o", &archive, "many:made"])?;
    timed("remove the image", &["rmi", "many:made"])?;
    timed("load", &["load", "-q", "-i", &archive])?;
    let find = ["run", "--rm", "--network", "none", "many:made", "sh", "-c", "find /many -type f | wc -l"];
    let found = timed("find them in a container", &find)?;
    anyhow::ensure!(found == count.to_string(), "{found} files came back");
    timed("verify", &["system", "verify"])?;
    Ok(())
}
