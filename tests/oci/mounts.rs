//! config.md, Mounts.

use std::fs;

use crate::bundle::Bundle;
use crate::clause::{clauses, skip};
use crate::runtime::Runtime;

clauses! {
    "config.md#mounts" {
        they_come_in_the_listed_order "Entries are mounted in the listed order"
        a_missing_destination_is_made "A destination that is missing is made"
        a_bind_needs_its_source "A bind mount whose source is missing is an error"
        a_relative_source_starts_at_the_bundle "A relative source of a bind mount starts at the bundle"
        a_file_can_be_bound "A file can be bound on a file"
        options_of_the_file_system_are_passed_on "Options that belong to the file system reach it"
    }
    "config.md#linux-mount-options" {
        ro_is_read_only "ro: nothing can be written"
        rw_is_writable "rw: can be written"
        nosuid_nodev_and_noexec_hold "nosuid, nodev, noexec hold"
        suid_dev_and_exec_hold "suid, dev, exec hold"
        access_times_are_set "noatime, nodiratime, relatime, strictatime hold"
        nosymfollow_holds "nosymfollow: links are not followed"
        sync_and_dirsync_hold "sync and dirsync hold"
        bind_shows_the_tree "bind: the directory is there, what is mounted below it is not"
        rbind_shows_what_is_below "rbind: what is mounted below it is there as well"
        a_bind_can_be_read_only "bind with ro: the copy is read-only and the original is not"
        private_spreads_nothing "private: no mount spreads"
        slave_receives "rslave: a later mount of the host appears inside"
        shared_spreads "rshared: the mount belongs to a group of peers"
        unbindable_holds "unbindable: the mount cannot be bound again"
        recursive_attributes_hold "rro, rnosuid, rnodev, rnoexec hold for what is mounted below"
        recursive_attributes_are_taken_back "rrw takes ro back from what is mounted below"
        tmpcopyup_copies "tmpcopyup: a tmpfs begins with what it covers"
        idmap_maps_owners "idmap with mappings of its own shows other owners"
    }
}

/// mountinfo's line of a mount point, as the container sees it.
fn line_of(mut bundle: Bundle<'_>, point: &str) -> String {
    bundle.process()["args"] = serde_json::json!(["/bin/cat", "/proc/self/mountinfo"]);
    let text = bundle.text();
    let at = |line: &&str| line.split(' ').nth(4) == Some(point);
    text.lines().rfind(at).unwrap_or_else(|| panic!("{point} is not mounted: {text}")).to_owned()
}

fn mount_options(line: &str) -> Vec<&str> {
    line.split(' ').nth(5).unwrap().split(',').collect()
}

fn tmpfs_with(runtime: &Runtime, options: &[&str]) -> String {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.mount("/tmp", "tmpfs", "tmpfs", options);
    line_of(bundle, "/tmp")
}

fn they_come_in_the_listed_order(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "ls /data; ls /data/below");
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(first.path().join("below")).unwrap();
    fs::write(second.path().join("inner"), "").unwrap();
    bundle.mount("/data", "bind", first.path().to_str().unwrap(), &["bind"]);
    bundle.mount("/data/below", "bind", second.path().to_str().unwrap(), &["bind"]);
    assert_eq!(bundle.text(), "below\ninner\n");
}

fn a_missing_destination_is_made(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "echo x > /some/deep/place/file && cat /some/deep/place/file");
    bundle.mount("/some/deep/place", "tmpfs", "tmpfs", &[]);
    assert_eq!(bundle.text(), "x\n");
}

fn a_bind_needs_its_source(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.mount("/data", "bind", "/no/such/dir", &["rbind"]);
    bundle.refused();
}

fn a_relative_source_starts_at_the_bundle(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "cat /data/file");
    fs::create_dir(bundle.path("volume")).unwrap();
    fs::write(bundle.path("volume/file"), "relative").unwrap();
    bundle.mount("/data", "bind", "volume", &["rbind"]);
    assert_eq!(bundle.text(), "relative");
}

fn a_file_can_be_bound(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "cat /etc/hosts");
    fs::write(bundle.path("hosts"), "127.0.0.1 here").unwrap();
    let source = bundle.path("hosts");
    bundle.mount("/etc/hosts", "bind", source.to_str().unwrap(), &["bind"]);
    assert_eq!(bundle.text(), "127.0.0.1 here");
}

fn options_of_the_file_system_are_passed_on(runtime: &Runtime) {
    let line = tmpfs_with(runtime, &["size=64k", "mode=1770", "nr_inodes=50"]);
    for option in ["size=64k", "mode=1770", "nr_inodes=50"] {
        assert!(line.contains(option), "{option}: {line}");
    }
}

fn ro_is_read_only(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "touch /tmp/file");
    bundle.mount("/tmp", "tmpfs", "tmpfs", &["ro"]);
    let ran = bundle.run();
    assert!(ran.code != 0 && ran.err.contains("Read-only"), "{ran:?}");
}

fn rw_is_writable(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "echo x > /tmp/file");
    bundle.mount("/tmp", "tmpfs", "tmpfs", &["rw"]);
    bundle.text();
}

fn nosuid_nodev_and_noexec_hold(runtime: &Runtime) {
    let line = tmpfs_with(runtime, &["nosuid", "nodev", "noexec"]);
    for option in ["nosuid", "nodev", "noexec"] {
        assert!(mount_options(&line).contains(&option), "{line}");
    }
}

fn suid_dev_and_exec_hold(runtime: &Runtime) {
    let line = tmpfs_with(runtime, &["suid", "dev", "exec"]);
    for option in ["nosuid", "nodev", "noexec"] {
        assert!(!mount_options(&line).contains(&option), "{line}");
    }
}

fn access_times_are_set(runtime: &Runtime) {
    for (wanted, shown, hidden) in [
        ("noatime", Some("noatime"), "relatime"),
        ("nodiratime", Some("nodiratime"), "noatime"),
        ("relatime", Some("relatime"), "noatime"),
        ("strictatime", None, "relatime"),
    ] {
        let line = tmpfs_with(runtime, &[wanted]);
        let options = mount_options(&line);
        assert!(
            shown.is_none_or(|shown| options.contains(&shown)) && !options.contains(&hidden),
            "{wanted}: {line}"
        );
    }
}

fn nosymfollow_holds(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "ln -s /etc/passwd /tmp/link && ! cat /tmp/link");
    bundle.mount("/tmp", "tmpfs", "tmpfs", &["nosymfollow"]);
    bundle.text();
}

fn sync_and_dirsync_hold(runtime: &Runtime) {
    let line = tmpfs_with(runtime, &["sync", "dirsync"]);
    let of_the_file_system = line.rsplit(' ').next().unwrap().to_owned();
    assert!(of_the_file_system.contains("sync") && of_the_file_system.contains("dirsync"), "{line}");
}

/// A directory with a tmpfs mounted below it. Both are gone when this is.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let tree = Self(dir);
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "tmpfs"])
            .arg(tree.0.path().join("below"))
            .status()
            .unwrap();
        assert!(mounted.success());
        fs::write(tree.0.path().join("below/inner"), "").unwrap();
        tree
    }

    fn source(&self) -> &str {
        self.0.path().to_str().unwrap()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path().join("below"), rustix::mount::UnmountFlags::DETACH);
    }
}

fn bind_shows_the_tree(runtime: &Runtime) {
    let tree = Tree::new();
    let mut bundle = Bundle::of(runtime, "ls /data /data/below");
    bundle.mount("/data", "bind", tree.source(), &["bind"]);
    assert_eq!(bundle.text(), "/data:\nbelow\nfile\n\n/data/below:\n");
}

fn rbind_shows_what_is_below(runtime: &Runtime) {
    let tree = Tree::new();
    let mut bundle = Bundle::of(runtime, "ls /data/below");
    bundle.mount("/data", "bind", tree.source(), &["rbind"]);
    assert_eq!(bundle.text(), "inner\n");
}

fn a_bind_can_be_read_only(runtime: &Runtime) {
    let tree = Tree::new();
    let mut bundle = Bundle::of(runtime, "touch /data/new");
    bundle.mount("/data", "bind", tree.source(), &["bind", "ro"]);
    assert_ne!(bundle.run().code, 0);
    fs::write(tree.0.path().join("of-the-host"), "").unwrap();
}

fn private_spreads_nothing(runtime: &Runtime) {
    let tree = Tree::new();
    let mut bundle = Bundle::of(runtime, "true");
    bundle.mount("/data", "bind", tree.source(), &["rbind", "rprivate"]);
    let line = line_of(bundle, "/data");
    assert!(!line.contains("shared:") && !line.contains("master:"), "{line}");
}

/// Makes `dir` a mount of its own that spreads, as a host's `/` mostly is.
fn share(tree: &Tree) -> bool {
    let run = |words: &[&str]| std::process::Command::new("mount").args(words).status().unwrap().success();
    let below = format!("{}/below", tree.source());
    run(&["--make-shared", &below])
}

fn slave_receives(runtime: &Runtime) {
    let tree = Tree::new();
    assert!(share(&tree));
    let below = format!("{}/below", tree.source());
    fs::create_dir(format!("{below}/late")).unwrap();
    let mut bundle = Bundle::of(runtime, "until [ -e /data/late/came ]; do sleep 0.05; done; echo received");
    bundle.mount("/data", "bind", &below, &["rbind", "rslave"]);
    bundle.start();
    let late = format!("{below}/late");
    assert!(
        std::process::Command::new("mount").args(["-t", "tmpfs", "tmpfs", &late]).status().unwrap().success()
    );
    fs::write(format!("{late}/came"), "").unwrap();
    bundle.hear("received");
}

fn shared_spreads(runtime: &Runtime) {
    let tree = Tree::new();
    assert!(share(&tree));
    let mut bundle = Bundle::of(runtime, "true");
    bundle.mount("/data", "bind", &format!("{}/below", tree.source()), &["rbind", "rshared"]);
    let line = line_of(bundle, "/data");
    assert!(line.contains("shared:"), "{line}");
}

fn unbindable_holds(runtime: &Runtime) {
    let line = tmpfs_with(runtime, &["unbindable"]);
    assert!(line.contains(" unbindable "), "{line}");
}

fn recursive_attributes_hold(runtime: &Runtime) {
    let tree = Tree::new();
    let mut bundle = Bundle::of(runtime, "true");
    bundle.mount("/data", "bind", tree.source(), &["rbind", "rro", "rnosuid", "rnodev", "rnoexec"]);
    let line = line_of(bundle, "/data/below");
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(mount_options(&line).contains(&option), "{option}: {line}");
    }
}

fn recursive_attributes_are_taken_back(runtime: &Runtime) {
    let tree = Tree::new();
    let below = tree.0.path().join("below");
    assert!(
        std::process::Command::new("mount")
            .args(["-o", "remount,bind,ro"])
            .arg(&below)
            .status()
            .unwrap()
            .success()
    );
    let mut bundle = Bundle::of(runtime, "echo x > /data/below/file");
    bundle.mount("/data", "bind", tree.source(), &["rbind", "rrw"]);
    bundle.text();
}

fn tmpcopyup_copies(runtime: &Runtime) {
    let mut bundle =
        Bundle::of(runtime, "cat /etc/passwd && echo changed > /etc/passwd && readlink /etc/link");
    std::os::unix::fs::symlink("passwd", bundle.inside("etc/link")).unwrap();
    bundle.mount("/etc", "tmpfs", "tmpfs", &["tmpcopyup"]);
    assert_eq!(bundle.text(), "root:x:0:0:root:/root:/bin/sh\npasswd\n");
    assert!(fs::read_to_string(bundle.inside("etc/passwd")).unwrap().starts_with("root"));
}

fn idmap_maps_owners(runtime: &Runtime) {
    let volume = tempfile::tempdir().unwrap();
    fs::write(volume.path().join("file"), "").unwrap();
    let mut bundle = Bundle::of(runtime, "stat -c %u /data/file");
    if std::process::Command::new("unshare")
        .args(["--user", "true"])
        .status()
        .is_ok_and(|status| !status.success())
    {
        skip("user namespaces");
    }
    bundle.mount("/data", "bind", volume.path().to_str().unwrap(), &["rbind", "idmap"]);
    let map = serde_json::json!([{"containerID": 0, "hostID": 4000, "size": 1000}]);
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    let last = mounts.last_mut().unwrap();
    last["uidMappings"] = map.clone();
    last["gidMappings"] = map;
    assert_eq!(bundle.text(), "4000\n");
}
