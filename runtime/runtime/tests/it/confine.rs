//! What a container must not be able to do.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use tare_model::DEFAULT_CAPABILITIES;
use tare_oci::runtime::{NamespaceKind, Rlimit, Seccomp, SyscallRule};
use tare_runtime::{Error, Stdio};

use crate::world::{Bundle, LIST_FDS, childless, discard, pipes, read, reap};

pub(crate) fn capabilities_are_exactly_those_asked_and_none_inheritable() {
    let mut bundle = Bundle::of("grep -E 'Cap|NoNewPrivs' /proc/self/status");
    let set = "00000000a80425fb";
    let none = "0000000000000000";
    let expected = |inherited: &str,
                    permitted: &str,
                    effective: &str,
                    bounding: &str,
                    ambient: &str,
                    nnp: u8| {
        format!(
            "CapInh:\t{inherited}\nCapPrm:\t{permitted}\nCapEff:\t{effective}\nCapBnd:\t{bounding}\nCapAmb:\t{ambient}\nNoNewPrivs:\t{nnp}\n"
        )
    };
    assert_eq!(bundle.text(), expected(none, set, set, set, none, 1));
    bundle.process().no_new_privileges = false;
    bundle.process().user.uid = 1000;
    assert_eq!(
        bundle.text(),
        expected(none, none, none, set, none, 0),
        "another user has what it may get, and nothing"
    );
    bundle.process().capabilities = None;
    bundle.process().user.uid = 0;
    assert_eq!(bundle.text(), expected(none, none, none, none, none, 0));
}

pub(crate) fn user_and_groups_are_exact() {
    let mut bundle = Bundle::of(
        "grep -E '^(Uid|Gid|Groups|Umask)' /proc/self/status; touch /tmp/mine; stat -c '%u:%g %a' /tmp/mine",
    );
    fs::set_permissions(bundle.path("tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    let user = &mut bundle.process().user;
    (user.uid, user.gid, user.umask, user.additional_gids) = (1000, 1001, Some(0o027), vec![7, 9]);
    let expected = "Umask:\t0027\nUid:\t1000\t1000\t1000\t1000\nGid:\t1001\t1001\t1001\t1001\nGroups:\t7 9 \n1000:1001 640\n";
    assert_eq!(bundle.text(), expected);
    bundle.process().user.additional_gids.clear();
    fs::remove_file(bundle.path("tmp/mine")).unwrap();
    assert!(bundle.text().contains("Groups:\t \n"), "none that the image or the caller has");
    bundle.process().user.uid = u32::MAX;
    assert!(matches!(bundle.refusal(), Error::Spec { field, .. } if field == "process.user.uid"));
}

pub(crate) fn masked_paths_read_as_nothing() {
    let bundle = Bundle::of(
        "cat /proc/keys /proc/timer_list; ls -A /sys/firmware; chmod 777 /proc/keys 2>/dev/null && echo changed; true",
    );
    assert_eq!(bundle.text(), "");
    let mut bundle = Bundle::of("cat /proc/timer_list | head -c 5");
    bundle.linux().masked_paths.clear();
    assert_eq!(bundle.text().len(), 5, "it is the mask that hides it");
}

pub(crate) fn readonly_paths_refuse_writes() {
    let bundle = Bundle::of(
        "echo 1 > /proc/sys/kernel/msgmax; echo x > /sys/kernel/uevent_helper; mount -o remount,rw /proc/sys",
    );
    let output = bundle.run();
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("/proc/sys/kernel/msgmax: Read-only file system"), "{}", output.stderr);
}

pub(crate) fn descriptors_are_the_three_and_those_preserved() {
    // The lowest free numbers are taken first: from 3 to the last one all are open now.
    let extra: Vec<File> = (0..4).map(|_| File::open("/etc/passwd").unwrap()).collect();
    let last = extra.iter().map(AsRawFd::as_raw_fd).max().unwrap();
    // One that is not close-on-exec does not slip through either.
    tare_sys::fd::keep_on_exec(last).unwrap();
    let bundle = Bundle::of(LIST_FDS);
    assert_eq!(bundle.text(), "0 1 2 ");
    let (stdio, [stdout, _]) = pipes();
    let mut launch = bundle.launch(stdio);
    launch.preserve_fds = 2;
    let mut created = tare_runtime::clone_init(launch).unwrap();
    created.ready().unwrap();
    let running = created.start().unwrap();
    assert_eq!(read(stdout), "0 1 2 3 4 ");
    reap(&running.pidfd);
}

pub(crate) fn init_holds_nothing_of_the_caller_before_start() {
    let _directory = File::open("/etc").unwrap();
    let bundle = Bundle::of("true");
    let mut created = tare_runtime::clone_init(bundle.launch(Stdio::Inherit)).unwrap();
    created.ready().unwrap();
    let fds = fs::read_dir(format!("/proc/{}/fd", created.pid)).unwrap();
    for fd in
        fds.map(Result::unwrap).filter(|fd| fd.file_name().to_str().unwrap().parse::<u32>().unwrap() > 2)
    {
        let target = fs::read_link(fd.path()).unwrap();
        let target = target.to_str().unwrap();
        assert!(!target.contains("/etc"), "{target}");
    }
    discard(created);
}

pub(crate) fn a_working_directory_through_a_descriptor_is_refused() {
    let _directory = File::open("/etc").unwrap();
    let mut bundle = Bundle::of("ls");
    for number in 3..24 {
        bundle.process().cwd = format!("/proc/self/fd/{number}").into();
        let error = bundle.refusal();
        assert!(error.to_string().starts_with("chdir to cwd (\"/proc/self/fd/"), "{error}");
    }
    symlink("/proc/self/fd/7/../..", bundle.path("escape")).unwrap();
    bundle.process().cwd = "/escape".into();
    assert!(bundle.refusal().to_string().starts_with("chdir to cwd"));
    bundle.process().cwd = "/".into();
    bundle.process().args = vec!["/proc/self/fd/7/bin/sh".to_owned()];
    assert_eq!(bundle.refusal().exit_code(), 127);
}

pub(crate) fn dev_proc_and_sys_as_links_are_refused() {
    for name in ["dev", "proc", "sys"] {
        let bundle = Bundle::of("true");
        let outside = tempfile::tempdir().unwrap();
        fs::remove_dir(bundle.path(name)).unwrap();
        symlink(outside.path(), bundle.path(name)).unwrap();
        let error = bundle.refusal();
        let expected =
            format!("mount /{name}: /{name} of the image must be a directory, not a symbolic link");
        assert_eq!(error.to_string(), expected);
        assert_eq!(outside.path().read_dir().unwrap().count(), 0);
    }
}

pub(crate) fn a_link_in_the_image_keeps_a_mount_inside() {
    let outside = tempfile::tempdir().unwrap();
    let mut bundle = Bundle::of("cat /data/file");
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), "bound").unwrap();
    symlink("/real", bundle.path("data")).unwrap();
    fs::create_dir(bundle.path("real")).unwrap();
    bundle.mount("/data", "bind", source.path(), &["rbind"]);
    assert_eq!(bundle.text(), "bound");
    // A link that points out of the root points nowhere inside.
    fs::remove_file(bundle.path("data")).unwrap();
    symlink(outside.path(), bundle.path("data")).unwrap();
    assert!(bundle.refusal().to_string().starts_with("mount /data"));
    assert_eq!(outside.path().read_dir().unwrap().count(), 0);
    // Into /proc nothing is mounted but what is harmless there.
    bundle.mount("/proc/sys/kernel", "bind", source.path(), &["bind"]);
    assert!(matches!(bundle.refusal(), Error::Spec { rule, .. } if rule.contains("/proc")));
}

pub(crate) fn a_false_null_device_hides_nothing_and_is_refused() {
    let mut bundle = Bundle::of("true");
    bundle.spec.mounts.retain(|m| !m.destination.starts_with("/dev"));
    symlink("/etc/passwd", bundle.path("dev/null")).unwrap();
    assert_eq!(bundle.refusal().to_string(), "make device /dev/null: the image has something else there");
    fs::remove_file(bundle.path("dev/null")).unwrap();
    mknodat(
        CWD,
        bundle.path("dev/null"),
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o666),
        makedev(1, 5),
    )
    .unwrap();
    assert_eq!(bundle.refusal().to_string(), "make device /dev/null: the image has something else there");
    fs::remove_file(bundle.path("dev/null")).unwrap();
    assert_eq!(bundle.run().code, 0);
}

pub(crate) fn seccomp_denies_with_and_without_new_privileges() {
    let mut bundle = Bundle::of("mkdir /tmp/made; grep Seccomp: /proc/self/status; ls /tmp");
    bundle.linux().seccomp = Some(Seccomp {
        default_action: "SCMP_ACT_ALLOW".to_owned(),
        architectures: vec!["SCMP_ARCH_X86_64".to_owned()],
        syscalls: vec![SyscallRule {
            names: vec!["mkdir".to_owned(), "mkdirat".to_owned()],
            action: "SCMP_ACT_ERRNO".to_owned(),
            errno_ret: Some(95),
            args: Vec::new(),
        }],
        ..Seccomp::default()
    });
    for no_new_privileges in [true, false] {
        bundle.process().no_new_privileges = no_new_privileges;
        let output = bundle.run();
        assert_eq!(output.stdout, "Seccomp:\t2\n");
        assert!(output.stderr.contains("Operation not supported"), "{}", output.stderr);
    }
}

pub(crate) fn the_default_profile_lets_ordinary_programs_run() {
    let mut bundle = Bundle::of(
        "mkdir /tmp/made && ls /tmp && id -u && grep Seccomp: /proc/self/status; mount -t tmpfs none /tmp",
    );
    bundle.linux().seccomp = Some(tare_oci::seccomp_default::default_profile(&DEFAULT_CAPABILITIES, "amd64"));
    for (uid, no_new_privileges) in [(0, true), (0, false), (33, true), (33, false)] {
        fs::set_permissions(bundle.path("tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        bundle.process().no_new_privileges = no_new_privileges;
        bundle.process().user.uid = uid;
        let output = bundle.run();
        assert_eq!(output.stdout, format!("made\n{uid}\nSeccomp:\t2\n"), "{}", output.stderr);
        assert_ne!(output.code, 0);
        fs::remove_dir(bundle.path("tmp/made")).unwrap();
    }
}

/// A volume that another container changes all the time, as in CVE-2021-30465.
pub(crate) fn a_racing_link_never_leads_a_mount_outside() {
    let (volume, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(volume.path().join("a")).unwrap();
    symlink(outside.path(), volume.path().join("b")).unwrap();
    let racer = match tare_sys::clone::clone3(0, None).unwrap() {
        tare_sys::clone::Cloned::Child => loop {
            let (a, b) = (volume.path().join("a"), volume.path().join("b"));
            let _ = rustix::fs::renameat_with(CWD, a, CWD, b, rustix::fs::RenameFlags::EXCHANGE);
        },
        tare_sys::clone::Cloned::Parent { pidfd, .. } => pidfd,
    };
    let mut bundle = Bundle::of("cat /proc/self/mountinfo");
    bundle.mount("/data", "bind", volume.path(), &["rbind"]);
    bundle.mount("/data/a/deep/er", "tmpfs", Path::new("tmpfs"), &[]);
    bundle.mount("/data/a/file", "bind", Path::new("/etc/hostname"), &["bind"]);
    let mut started = 0;
    for _ in 0..150 {
        if let Ok(container) = bundle.start() {
            started += 1;
            container.finish();
        }
    }
    rustix::process::pidfd_send_signal(&racer, rustix::process::Signal::KILL).unwrap();
    reap(&racer);
    assert_eq!(outside.path().read_dir().unwrap().count(), 0, "after {started} starts");
    assert!(childless());
}

pub(crate) fn a_user_namespace_maps_ids() {
    let mut bundle = Bundle::of(
        "id -u; cat /proc/self/uid_map; stat -c %u / /dev/null /proc/1; ls /dev/pts >/dev/null && echo pts; echo > /dev/null && \
         grep CapEff /proc/self/status; mknod /tmp/x c 1 3 || echo no; hostname; cat /sys/class/net/lo/operstate",
    );
    bundle.map_ids();
    let maps = std::mem::take(&mut bundle.linux().uid_mappings);
    assert!(matches!(bundle.refusal(), Error::Spec { field, .. } if field == "linux.uidMappings"));
    bundle.linux().uid_mappings = maps;
    let output = bundle.run();
    let lines: Vec<&str> = output.stdout.lines().map(str::trim).collect();
    assert_eq!(lines[0], "0", "{output:?}");
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    assert_eq!(
        lines[2..6],
        ["0", "65534", "0", "pts"],
        "its root is root's, host devices are nobody's: {output:?}"
    );
    assert_eq!(lines[6], "CapEff:\t00000000a80425fb");
    assert_eq!(lines[7..9], ["no", "tare-test"]);
    bundle.linux().namespaces.retain(|n| n.kind != NamespaceKind::User);
    assert!(matches!(bundle.refusal(), Error::Spec { field, .. } if field == "linux.uidMappings"));
}

pub(crate) fn sysctls_are_the_containers_only() {
    let name = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let before = fs::read_to_string(name).unwrap();
    let mut bundle = Bundle::of(&format!("cat {name} /proc/sys/kernel/msgmax"));
    let list = &mut bundle.linux().sysctl;
    list.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "77".to_owned());
    list.insert("kernel.msgmax".to_owned(), "4321".to_owned());
    assert_eq!(bundle.text(), "77\n4321\n");
    assert_eq!(fs::read_to_string(name).unwrap(), before);
    for bad in ["kernel.core_pattern", "net.ipv4.../../kernel.core_pattern", "vm.overcommit_memory"] {
        let mut bundle = Bundle::of("true");
        bundle.linux().sysctl.insert(bad.to_owned(), "1".to_owned());
        assert!(matches!(bundle.refusal(), Error::Spec { .. }), "{bad}");
    }
}

pub(crate) fn limits_are_set_or_warned_about() {
    let mut bundle = Bundle::of("ulimit -n; ulimit -Hn");
    bundle.process().rlimits = vec![Rlimit { kind: "RLIMIT_NOFILE".to_owned(), soft: 100, hard: 200 }];
    assert_eq!(bundle.text(), "100\n200\n");
    bundle.process().rlimits =
        vec![Rlimit { kind: "RLIMIT_NOFILE".to_owned(), soft: u64::MAX, hard: u64::MAX }];
    bundle.process().oom_score_adj = Some(-999);
    match bundle.start() {
        // With CAP_SYS_RESOURCE even an impossible number of files is the kernel's own refusal.
        Err(error) => assert!(error.to_string().starts_with("set RLIMIT_NOFILE"), "{error}"),
        Ok(container) => {
            let warnings = container.running.warnings.clone();
            assert_eq!(container.finish().code, 0);
            assert!(warnings.iter().any(|w| w.contains("RLIMIT_NOFILE stays at")), "{warnings:?}");
        }
    }
}

pub(crate) fn nothing_of_the_host_is_mounted_inside() {
    let bundle = Bundle::of("cat /proc/self/mountinfo");
    let text = bundle.text();
    let points: Vec<&str> = text.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    for point in &points {
        let known = ["/proc", "/dev", "/sys"].iter().any(|top| Path::new(point).starts_with(top));
        assert!(known || *point == "/", "{point}");
    }
    assert!(!text.contains("shared:") && !text.contains("master:"), "{text}");
    assert!(childless());
}

pub(crate) fn the_runtime_cannot_be_written_through_proc() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    fs::copy("/bin/true", &program).unwrap();
    let view = tare_sys::protect::protected_exe(&program).unwrap();
    let path = format!("/proc/self/fd/{}", view.as_raw_fd());
    let error = fs::OpenOptions::new().write(true).open(path).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::ROFS.raw_os_error()));
    fs::write(&program, "the file itself can be replaced by its owner").unwrap();
}
