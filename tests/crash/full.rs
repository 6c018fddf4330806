//! Images on a disk that is full at any moment: said in a line, nothing lost, nothing left, and all well when there is room.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use tare_tests::{World, capture};

/// What the small disk has.
const SIZE: u64 = 48 << 20;
/// What is left free of it, each in turn.
const FREE: [u64; 9] = [0, 8 << 10, 64 << 10, 256 << 10, 600 << 10, 1 << 20, 2 << 20, 3 << 20, 5 << 20];

/// A world whose data root is a disk of its own, gone with the value.
struct Small {
    world: World,
    data: PathBuf,
}

impl Small {
    fn new() -> Result<Self> {
        let mut world = World::new()?;
        world.stop_daemon();
        let data = world.dir().join("data");
        std::fs::remove_dir_all(&data)?;
        std::fs::create_dir_all(&data)?;
        let size = format!("size={SIZE}");
        capture(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&data))?.ok();
        let mut small = Self { world, data };
        small.world.start_daemon(&[])?;
        Ok(small)
    }

    /// Leaves so many bytes free.
    fn fill(&self, free: u64) -> Result<()> {
        let file = std::fs::File::create(self.filler())?;
        loop {
            let room = rustix::fs::statvfs(&self.data)?;
            let filler = (room.f_bavail * room.f_frsize).saturating_sub(free);
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, filler) {
                // The daemon has written down meanwhile what nobody waits for.
                Err(rustix::io::Errno::NOSPC) => {}
                filled => return Ok(filled?),
            }
        }
    }

    fn empty(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.data.join("filler")
    }

    /// Everything of images on the disk.
    fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let places = ["snapshots/layers", "snapshots/writable", "content/blobs/sha256", "content/ingest"];
        for place in places {
            found.extend(entries(&self.data.join(place)));
        }
        for session in entries(&self.data.join("snapshots/tmp")) {
            found.extend(entries(&session));
        }
        found.sort();
        found
    }

    /// Does something with ever more room until it succeeds. What fails says why and leaves what was there before; then
    /// it succeeds on a disk that is empty again.
    fn with_ever_more_room(&self, words: &[&str], undo: &[&[&str]]) -> Result<()> {
        let mut refused = 0;
        for free in FREE {
            let before = self.files();
            self.fill(free)?;
            let ran = self.world.tare(words)?;
            let after = self.files();
            self.empty()?;
            if ran.code == 0 {
                for words in undo {
                    self.world.tare(words)?.ok();
                }
                continue;
            }
            refused += 1;
            let told = ran.err.to_lowercase();
            ensure!(told.contains("no space") || told.contains("disk is full"), "{free} bytes free: {ran:?}");
            ensure!(before == after, "{free} bytes free: before {before:#?}, after {after:#?}");
        }
        ensure!(refused > 0, "{words:?} needs no room at all");
        self.world.tare(words)?.ok();
        Ok(())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // What still runs would keep the disk busy.
        if let Ok(listed) = self.world.tare(&["ps", "-aq"]) {
            for id in listed.out.split_whitespace() {
                let _ = self.world.tare(&["rm", "-f", "-v", id]);
            }
        }
        self.world.stop_daemon();
        let _ = capture(Command::new("umount").arg(&self.data));
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

#[test]
fn pulls_and_loads_on_a_full_disk_are_errors_and_leave_nothing() -> Result<()> {
    let small = Small::new()?;
    let image = small.world.push_busybox()?;
    small.with_ever_more_room(&["pull", "-q", &image], &[&["rmi", &image]])?;
    assert_eq!(small.world.tare(&["run", "--rm", &image, "echo", "room"])?.ok(), "room");
    let file = small.world.dir().join("saved.tar").display().to_string();
    small.world.tare(&["save", "-o", &file, &image])?.ok();
    small.world.tare(&["rmi", &image])?.ok();
    small.with_ever_more_room(&["load", "-i", &file], &[&["rmi", &image]])?;
    assert_eq!(small.world.tare(&["run", "--rm", &image, "echo", "room"])?.ok(), "room");
    assert_eq!(small.world.tare(&["system", "verify", "-q"])?.ok(), "");
    Ok(())
}

#[test]
fn commits_and_imports_on_a_full_disk_are_errors_and_leave_nothing() -> Result<()> {
    let small = Small::new()?;
    let image = small.world.push_busybox()?;
    small.world.tare(&["pull", "-q", &image])?.ok();
    let work = "head -c 3000000 /dev/urandom > /noise; sha256sum /noise > /sum; sleep 1000";
    small.world.tare(&["run", "-d", "--name", "box", &image, "sh", "-c", work])?.ok();
    small.world.until_inside("box", "test -s /sum")?;
    small.with_ever_more_room(&["commit", "box", "made:1"], &[&["rmi", "made:1"]])?;
    small.world.tare(&["run", "--rm", "made:1", "sha256sum", "-c", "/sum"])?.ok();
    let file = small.world.dir().join("tree.tar").display().to_string();
    small.world.tare(&["export", "-o", &file, "box"])?.ok();
    small.with_ever_more_room(&["import", &file, "brought:1"], &[&["rmi", "brought:1"]])?;
    small.world.tare(&["run", "--rm", "brought:1", "/bin/sha256sum", "-c", "/sum"])?.ok();
    assert_eq!(small.world.tare(&["inspect", "-f", "{{.State.Status}}", "box"])?.ok(), "running");
    Ok(())
}

/// What only goes out needs no room here, or says that it does and can be done again.
#[test]
fn what_is_here_goes_out_from_a_full_disk() -> Result<()> {
    let small = Small::new()?;
    let image = small.world.push_busybox()?;
    small.world.tare(&["pull", "-q", &image])?.ok();
    small.world.tare(&["run", "-d", "--name", "box", &image, "sleep", "1000"])?.ok();
    let out = |name: &str| small.world.dir().join(name).display().to_string();
    let files = small.files();
    for free in FREE {
        small.world.tare(&["tag", &image, "127.0.0.1:5000/sent:v1"])?.ok();
        small.fill(free)?;
        let pushed = small.world.tare(&["push", "-q", "127.0.0.1:5000/sent:v1"])?;
        let saved = small.world.tare(&["save", "-o", &out("saved.tar"), &image])?;
        let exported = small.world.tare(&["export", "-o", &out("tree.tar"), "box"])?;
        small.empty()?;
        ensure!(saved.code == 0 && exported.code == 0, "{free} bytes free: {saved:?} {exported:?}");
        let said = pushed.code == 0 || pushed.err.to_lowercase().contains("no space");
        ensure!(said, "{free} bytes free: {pushed:?}");
        ensure!(files == small.files(), "{free} bytes free: something is left");
        small.world.tare(&["push", "-q", "127.0.0.1:5000/sent:v1"])?.ok();
    }
    // What is written is the client's, and half of it does not stay.
    small.fill(1 << 20)?;
    let file = small.data.join("saved.tar");
    for words in [["save", &image], ["export", "box"]] {
        let [verb, what] = words;
        let full = small.world.tare(&[verb, "-o", &file.display().to_string(), what])?;
        ensure!(full.fails(1).to_lowercase().contains("no space"), "{full:?}");
        let left: Vec<_> = entries(&small.data)
            .into_iter()
            .filter(|path| path.display().to_string().contains("saved"))
            .collect();
        ensure!(left.is_empty(), "left behind: {left:?}");
    }
    small.empty()
}
