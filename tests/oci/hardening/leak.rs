//! What of the host reaches into a container: descriptors, directories, the runtime's own program, the environment.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use serde_json::json;
use tare_tests::Ran;

use crate::bundle::Bundle;
use crate::clause::clauses;
use crate::runtime::Runtime;

clauses! {
    "CVE-2024-21626" {
        init_holds_nothing_of_the_host "init of a created container holds no directory and no file of the host, with preserved descriptors nothing but those"
        the_program_holds_nothing_of_the_host "The program of a container, and one that is run inside, hold nothing but their streams"
        a_working_directory_through_a_descriptor_stays_inside "A cwd through /proc/self/fd ends in an error or inside the root, for run and exec"
    }
    "CVE-2019-5736" {
        the_runtimes_program_stays_as_it_is "The runtime's program cannot be written through /proc, also when a script's interpreter is /proc/self/exe, for run and exec"
    }
    "CVE-2026-55686" {
        a_working_directory_behind_a_link_is_not_made_outside "A cwd behind a link is made inside the root and nowhere else"
    }
    "config-linux.md#default-devices" {
        the_null_device_keeps_its_owner "The host's null device, as a stream of a container with another user, keeps its owner"
    }
    "CVE-2026-57231" {
        the_callers_environment_stays_outside "An env entry without a value takes none from the caller's environment"
    }
}

/// Runs a command of the runtime with descriptors 7 and 9 open on the host's /etc, not close-on-exec.
fn with_open_descriptors(bundle: &Bundle<'_>, opened: &str, words: &[&str]) -> Ran {
    let file = |name: &str| fs::File::create(bundle.path(name)).unwrap();
    let inner = bundle.command();
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("exec {opened}; exec \"$@\""), "sh"])
        .arg(inner.get_program())
        .args(inner.get_args());
    command.args(words).stdin(bundle.null()).stdout(file("leak-out")).stderr(file("leak-err"));
    let status = command.status().unwrap();
    let text = |name: &str| fs::read_to_string(bundle.path(name)).unwrap();
    Ran {
        line: format!("{words:?}"),
        code: status.code().unwrap(),
        out: text("leak-out"),
        err: text("leak-err"),
    }
}

/// Descriptors of a process from 3 on that are files or directories of a file system on disk, as number and target.
fn of_the_host(pid: i32, allowed: &[u32]) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let described = entries.filter_map(|entry| {
        let number: u32 = entry.file_name().to_str()?.parse().ok()?;
        let target = fs::read_link(entry.path()).ok()?.to_str()?.to_owned();
        // Pipes by which init waits for its start hold no place of the host's tree.
        let kind = fs::metadata(entry.path()).ok()?.file_type();
        let harmless = ["pipe:", "socket:", "anon_inode:"].iter().any(|prefix| target.starts_with(prefix))
            || std::os::unix::fs::FileTypeExt::is_fifo(&kind);
        (number > 2 && !harmless && !allowed.contains(&number)).then(|| format!("{number} {target}"))
    });
    described.collect()
}

fn init_holds_nothing_of_the_host(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "sleep 100");
    bundle.save();
    let create = ["create", "--bundle", &bundle.dir(), &bundle.id];
    with_open_descriptors(&bundle, "7</etc 9</etc/passwd", &create).ok();
    // Its own root and streams are not the host's.
    let held: Vec<String> =
        of_the_host(bundle.pid(), &[]).into_iter().filter(|fd| !fd.ends_with(" /")).collect();
    assert!(held.is_empty(), "{held:?}");
    bundle.cli(&["delete", "--force", &bundle.id]).ok();
    let create = ["create", "--preserve-fds", "1", "--bundle", &bundle.dir(), &bundle.id];
    with_open_descriptors(&bundle, "3</etc/hostname 7</etc", &create).ok();
    let held: Vec<String> =
        of_the_host(bundle.pid(), &[3]).into_iter().filter(|fd| !fd.ends_with(" /")).collect();
    assert!(held.is_empty(), "{held:?}");
}

fn the_program_holds_nothing_of_the_host(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "sleep 100; true");
    bundle.save();
    let run = ["run", "--detach", "--bundle", &bundle.dir(), &bundle.id];
    with_open_descriptors(&bundle, "7</etc 9</etc/passwd", &run).ok();
    assert!(of_the_host(bundle.pid(), &[]).is_empty(), "{:?}", of_the_host(bundle.pid(), &[]));
    let list =
        "n=3; while [ $n -lt 64 ]; do [ -e /proc/self/fd/$n ] && echo -n \"$n \"; n=$((n+1)); done; true";
    let ran =
        with_open_descriptors(&bundle, "7</etc 9</etc/passwd", &["exec", &bundle.id, "/bin/sh", "-c", list]);
    assert_eq!(ran.ok(), "");
}

fn a_working_directory_through_a_descriptor_stays_inside(runtime: &Runtime) {
    let show = "pwd; ls ../../../../../../..; cat ../../../../../../../etc/passwd";
    let leaks = |ran: &Ran| ran.code == 0 && (ran.out.contains("lib") || ran.out.contains("daemon:"));
    let mut bundle = Bundle::of(runtime, show);
    for number in 3..16 {
        bundle.process()["cwd"] = json!(format!("/proc/self/fd/{number}"));
        bundle.save();
        let ran =
            with_open_descriptors(&bundle, "7</etc 9</", &["run", "--bundle", &bundle.dir(), &bundle.id]);
        assert!(!leaks(&ran), "{ran:?}");
        drop(bundle.cli(&["delete", "--force", &bundle.id]));
    }
    let bundle = Bundle::of(runtime, "sleep 100");
    bundle.start();
    for number in 3..16 {
        let cwd = format!("/proc/self/fd/{number}");
        let words = ["exec", "--cwd", &cwd, &bundle.id, "/bin/sh", "-c", show];
        let ran = with_open_descriptors(&bundle, "7</etc 9</", &words);
        assert!(!leaks(&ran), "{ran:?}");
    }
}

/// The inside: every program that another process runs is held open, and written to as soon as it can be.
const OVERWRITE: &str = "echo ready; while :; do for p in /proc/[0-9]*; do \
    case $(readlink $p/exe) in ''|/bin/busybox) continue;; esac; \
    (i=0; while [ $i -lt 40 ] && ! echo owned > /proc/self/fd/8; do i=$((i+1)); sleep 0.02; done) 8<$p/exe & \
    done; done 2>/dev/null";

fn the_runtimes_program_stays_as_it_is(runtime: &Runtime) {
    let program = runtime.file();
    let before = fs::read(&program).unwrap();
    let bundle = Bundle::of(runtime, OVERWRITE);
    let script = bundle.inside("bin/trap");
    fs::write(&script, "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    // A program of the container's own: that it falls shows that the attack works.
    fs::copy("/bin/busybox", bundle.inside("tmp/sleep")).unwrap();
    bundle.start();
    bundle.hear("ready");
    for _ in 0..10 {
        bundle.cli(&["exec", &bundle.id, "/bin/trap"]);
        bundle.cli(&["exec", &bundle.id, "/proc/self/exe"]);
    }
    assert!(before == fs::read(&program).unwrap(), "the runtime was overwritten by exec");
    let mut fallen = false;
    for _ in 0..40 {
        bundle.cli(&["exec", &bundle.id, "/tmp/sleep", "0.1"]);
        fallen = fs::read(bundle.inside("tmp/sleep")).unwrap().starts_with(b"owned");
        if fallen {
            break;
        }
    }
    assert!(fallen, "the attack itself does not work: {}", bundle.output());
    let mut run = Bundle::of(runtime, "");
    fs::copy(&script, run.inside("bin/trap")).unwrap();
    for program in ["/bin/trap", "/proc/self/exe"] {
        run.process()["args"] = json!([program]);
        run.run();
    }
    assert!(before == fs::read(&program).unwrap(), "the runtime was overwritten by run");
}

fn a_working_directory_behind_a_link_is_not_made_outside(runtime: &Runtime) {
    let outside = tempfile::tempdir().unwrap();
    let mut bundle = Bundle::of(runtime, "pwd");
    symlink(outside.path(), bundle.inside("away")).unwrap();
    symlink("../../../../../../../..", bundle.inside("up")).unwrap();
    for cwd in ["/away/made".to_owned(), format!("/up{}/made", outside.path().display())] {
        bundle.process()["cwd"] = json!(cwd);
        bundle.run();
        assert_eq!(outside.path().read_dir().unwrap().count(), 0, "{cwd}");
    }
}

fn the_callers_environment_stays_outside(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "");
    bundle.process()["args"] = json!(["/bin/env"]);
    bundle.process()["env"] = json!(["PATH=/bin", "OCI_SECRET", "*", ""]);
    bundle.save();
    let mut command = bundle.command();
    command.env("OCI_SECRET", "of the host").args(["run", "--bundle", &bundle.dir(), &bundle.id]);
    let ran = tare_tests::capture(&mut command).unwrap();
    assert!(!ran.out.contains("of the host"), "{ran:?}");
}

fn the_null_device_keeps_its_owner(runtime: &Runtime) {
    let owned = |bundle: &Bundle<'_>| {
        fs::metadata(bundle.path("null")).map(|found| (found.uid(), found.gid())).unwrap()
    };
    for mapped in [false, true] {
        let mut bundle = Bundle::of(runtime, "true");
        if mapped {
            bundle.map_ids();
        }
        bundle.process()["user"] = json!({"uid": 33, "gid": 44});
        bundle.save();
        let mut run = bundle.command();
        run.args(["run", "--bundle", &bundle.dir(), &bundle.id]);
        assert!(
            run.stdin(bundle.null()).stdout(bundle.null()).stderr(bundle.null()).status().unwrap().success()
        );
        assert_eq!(owned(&bundle), (0, 0), "user namespace: {mapped}");
    }
}
