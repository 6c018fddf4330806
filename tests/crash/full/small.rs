//! A disk of a few megabytes, as full as a test wants it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tare_tests::{Ran, World, capture, until};

/// What the small disk has.
const SIZE: u64 = 48 << 20;

/// What a small disk is made of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Where a name needs no room.
    Memory,
    /// Where a directory, a longer directory and what files are called need blocks too.
    Ext4,
}

impl Kind {
    /// What people have, where the machine lets it be made.
    pub(super) fn usual() -> Self {
        if Path::new("/dev/loop-control").exists() {
            return Self::Ext4;
        }
        eprintln!("skipped: needs loop devices for a disk with ext4, so that it is one in memory");
        Self::Memory
    }
}

/// A file system of its own, gone with the value.
pub(super) struct Disk(PathBuf);

impl Disk {
    pub(super) fn mount(path: &Path, kind: Kind) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        let mut mount = Command::new("mount");
        match kind {
            Kind::Memory => mount.args(["-t", "tmpfs", "-o", &format!("size={SIZE}"), "tmpfs"]),
            Kind::Ext4 => {
                let image = path.with_extension("ext4");
                std::fs::File::create(&image)?.set_len(SIZE)?;
                capture(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image))?.ok();
                mount.args(["-o", "loop"]).arg(image)
            }
        };
        capture(mount.arg(path))?.ok();
        let disk = Self(path.to_owned());
        if let Kind::Ext4 = kind {
            std::fs::remove_dir(path.join("lost+found"))?;
        }
        Ok(disk)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves so many bytes free.
    pub(super) fn fill(&self, free: u64) -> Result<()> {
        // What was taken away is free for ext4 once its journal has it.
        rustix::fs::syncfs(std::fs::File::open(&self.0)?)?;
        let file = std::fs::File::create(self.filler())?;
        loop {
            let room = rustix::fs::statvfs(&self.0)?;
            let filler = (room.f_bavail * room.f_frsize).saturating_sub(free);
            if filler == 0 {
                return Ok(());
            }
            let there = file.metadata()?.blocks() * 512;
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), there, filler) {
                // The daemon has written down meanwhile what nobody waits for, or how the file lies takes blocks itself.
                Err(rustix::io::Errno::NOSPC) => {}
                filled => return Ok(filled?),
            }
        }
    }

    pub(super) fn empty(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = capture(Command::new("umount").arg("-l").arg(&self.0));
    }
}

/// A world whose data root is a disk of its own.
pub(super) struct Small {
    pub(super) world: World,
    pub(super) disk: Disk,
}

impl Small {
    pub(super) fn new(kind: Kind) -> Result<Self> {
        let mut world = World::new()?;
        world.stop_daemon();
        let data = world.dir().join("data");
        std::fs::remove_dir_all(&data)?;
        let disk = Disk::mount(&data, kind)?;
        let mut small = Self { world, disk };
        small.world.start_daemon(&[])?;
        Ok(small)
    }

    /// Everything of images and builds on the disk.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let places = [
            "snapshots/layers",
            "snapshots/writable",
            "content/blobs/sha256",
            "content/ingest",
            "containers",
            "build/mounts",
            "build/tmp",
        ];
        for place in places {
            found.extend(entries(&self.disk.path().join(place)));
        }
        for session in entries(&self.disk.path().join("snapshots/tmp")) {
            found.extend(entries(&session));
        }
        found.sort();
        found
    }

    /// The same, and mounts and processes that a daemon could forget.
    fn state(&self) -> Result<(Vec<PathBuf>, Vec<String>)> {
        let left = self.world.leftovers(&[])?.0.into_iter();
        let own = format!(" {} ", self.disk.path().display());
        Ok((self.files(), left.filter(|line| !line.contains(&own)).collect()))
    }

    /// Does something with ever more room until it succeeds; at least once it has to fail. What fails says why, and `undo`,
    /// once there is room again, makes it as if nothing had been tried. What was said, where it failed.
    pub(super) fn try_with(
        &self,
        (disk, free): (&Disk, &[u64]),
        act: impl Fn() -> Result<Ran>,
        undo: impl Fn(&Ran) -> Result<()>,
    ) -> Result<Vec<String>> {
        let mut said = Vec::new();
        for free in free {
            let before = self.state()?;
            disk.fill(*free)?;
            let ran = act()?;
            disk.empty()?;
            undo(&ran)?;
            let mut after = before.clone();
            // What a client that was refused leaves takes a moment to go.
            let undone = until("everything to be as it was", || {
                after = self.state()?;
                Ok(before == after)
            });
            undone.with_context(|| format!("{free} bytes free: {before:#?}, then {after:#?}: {ran:?}"))?;
            if ran.code == 0 {
                continue;
            }
            let told = format!("{}{}", ran.out, ran.err);
            let lower = told.to_lowercase();
            let names_it = lower.contains("no space left") || lower.contains("disk is full");
            ensure!(names_it, "{free} bytes free: {ran:?}");
            said.push(told);
        }
        ensure!(!said.is_empty(), "it needs no room at all");
        Ok(said)
    }

    /// [`Small::try_with`] for a command; then it succeeds on a disk that is empty again.
    pub(super) fn with_ever_more_room(&self, words: &[&str], free: &[u64], undo: &[&[&str]]) -> Result<()> {
        let act = || self.world.tare(words);
        self.try_with((&self.disk, free), act, |ran| {
            let made = undo.iter().filter(|_| ran.code == 0);
            made.copied().try_for_each(|words| self.world.tare(words).map(|ran| drop(ran.ok().to_owned())))
        })?;
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
        if std::thread::panicking() {
            eprintln!("--- what tared logged\n{}", self.world.daemon().log());
        }
        self.world.stop_daemon();
        // Before the world removes its directory.
        let _ = capture(Command::new("umount").arg(self.disk.path()));
    }
}

pub(super) fn entries(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
