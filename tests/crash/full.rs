//! Images on a disk that is full at any moment: said in a line, nothing lost, nothing left, and all well when there is room.

mod build;
mod export;
mod mounts;
mod site;
mod small;

use anyhow::{Result, ensure};

use small::{Kind, Small, entries};

/// What is left free of the disk, each in turn.
const FREE: [u64; 9] = [0, 8 << 10, 64 << 10, 256 << 10, 600 << 10, 1 << 20, 2 << 20, 3 << 20, 5 << 20];

#[test]
fn pulls_and_loads_on_a_full_disk_are_errors_and_leave_nothing() -> Result<()> {
    pulls_and_loads_on(Kind::usual())
}

#[test]
fn pulls_and_loads_in_memory_that_is_full_are_errors_and_leave_nothing() -> Result<()> {
    pulls_and_loads_on(Kind::Memory)
}

fn pulls_and_loads_on(kind: Kind) -> Result<()> {
    let small = Small::new(kind)?;
    let image = small.world.push_busybox()?;
    small.with_ever_more_room(&["pull", "-q", &image], &FREE, &[&["rmi", &image]])?;
    assert_eq!(small.world.tare(&["run", "--rm", &image, "echo", "room"])?.ok(), "room");
    let file = small.world.dir().join("saved.tar").display().to_string();
    small.world.tare(&["save", "-o", &file, &image])?.ok();
    small.world.tare(&["rmi", &image])?.ok();
    small.with_ever_more_room(&["load", "-i", &file], &FREE, &[&["rmi", &image]])?;
    assert_eq!(small.world.tare(&["run", "--rm", &image, "echo", "room"])?.ok(), "room");
    assert_eq!(small.world.tare(&["system", "verify", "-q"])?.ok(), "");
    Ok(())
}

#[test]
fn commits_and_imports_on_a_full_disk_are_errors_and_leave_nothing() -> Result<()> {
    let small = Small::new(Kind::usual())?;
    let image = small.world.push_busybox()?;
    small.world.tare(&["pull", "-q", &image])?.ok();
    let work = "head -c 3000000 /dev/urandom > /noise; sha256sum /noise > /sum; sleep 1000";
    small.world.tare(&["run", "-d", "--name", "box", &image, "sh", "-c", work])?.ok();
    small.world.until_inside("box", "test -s /sum")?;
    small.with_ever_more_room(&["commit", "box", "made:1"], &FREE, &[&["rmi", "made:1"]])?;
    small.world.tare(&["run", "--rm", "made:1", "sha256sum", "-c", "/sum"])?.ok();
    let file = small.world.dir().join("tree.tar").display().to_string();
    small.world.tare(&["export", "-o", &file, "box"])?.ok();
    small.with_ever_more_room(&["import", &file, "brought:1"], &FREE, &[&["rmi", "brought:1"]])?;
    small.world.tare(&["run", "--rm", "brought:1", "/bin/sha256sum", "-c", "/sum"])?.ok();
    assert_eq!(small.world.tare(&["inspect", "-f", "{{.State.Status}}", "box"])?.ok(), "running");
    Ok(())
}

/// What only goes out needs no room here, or says that it does and can be done again.
#[test]
fn what_is_here_goes_out_from_a_full_disk() -> Result<()> {
    let small = Small::new(Kind::usual())?;
    let image = small.world.push_busybox()?;
    small.world.tare(&["pull", "-q", &image])?.ok();
    small.world.tare(&["run", "-d", "--name", "box", &image, "sleep", "1000"])?.ok();
    let out = |name: &str| small.world.dir().join(name).display().to_string();
    let files = small.files();
    for free in FREE {
        for name in ["sent", "anew"] {
            small.world.tare(&["tag", &image, &format!("127.0.0.1:5000/{name}:v1")])?.ok();
        }
        small.disk.fill(free)?;
        let pushed = small.world.tare(&["push", "-q", "127.0.0.1:5000/sent:v1"])?;
        let saved = small.world.tare(&["save", "-o", &out("saved.tar"), &image])?;
        let exported = small.world.tare(&["export", "-o", &out("tree.tar"), "box"])?;
        let anew = small.world.tare(&["push", "-q", "--compression", "zstd", "127.0.0.1:5000/anew:v1"])?;
        small.disk.empty()?;
        let said = anew.code == 0 || anew.err.to_lowercase().contains("no space");
        ensure!(said, "{free} bytes free: {anew:?}");
        ensure!(saved.code == 0 && exported.code == 0, "{free} bytes free: {saved:?} {exported:?}");
        let said = pushed.code == 0 || pushed.err.to_lowercase().contains("no space");
        ensure!(said, "{free} bytes free: {pushed:?}");
        ensure!(files == small.files(), "{free} bytes free: something is left");
        small.world.tare(&["push", "-q", "127.0.0.1:5000/sent:v1"])?.ok();
    }
    // What is written is the client's, and half of it does not stay.
    small.disk.fill(1 << 20)?;
    let file = small.disk.path().join("saved.tar");
    for words in [["save", &image], ["export", "box"]] {
        let [verb, what] = words;
        let full = small.world.tare(&[verb, "-o", &file.display().to_string(), what])?;
        ensure!(full.fails(1).to_lowercase().contains("no space"), "{full:?}");
        let left: Vec<_> = entries(small.disk.path())
            .into_iter()
            .filter(|path| path.display().to_string().contains("saved"))
            .collect();
        ensure!(left.is_empty(), "left behind: {left:?}");
    }
    small.disk.empty()
}
