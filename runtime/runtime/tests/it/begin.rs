//! From the bundle to the program and back.

use std::fs::{self, File};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use tare_oci::runtime::{ConsoleSize, Namespace, NamespaceKind, TimeOffset};
use tare_runtime::{Error, Stdio};
use tare_sys::clone::NEW_NETWORK;

use crate::world::{Bundle, childless, discard, mountinfo, pipes, read, reap};

pub(crate) fn init_is_pid_1_with_its_own_names_and_no_other_process() {
    let bundle =
        Bundle::of("echo $$; hostname; ls -d /proc/[0-9]*; ip -o link | grep -c lo:; cat /proc/self/cgroup");
    let text = bundle.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["1", "tare-test"]);
    assert!(
        lines[2].starts_with("/proc/1") && lines.iter().filter(|l| l.starts_with("/proc/")).count() <= 2,
        "{text}"
    );
    assert!(
        lines.last().unwrap().ends_with(":/"),
        "its own group is the root of its cgroup namespace: {text}"
    );
    assert!(childless());
}

pub(crate) fn exit_codes_and_signals_come_out() {
    assert_eq!(Bundle::of("exit 42").run().code, 42);
    let bundle = Bundle::of("echo up; exec sleep 100");
    let container = bundle.start().unwrap();
    assert_eq!(container.hear(), "up\n");
    rustix::process::pidfd_send_signal(&container.running.pidfd, rustix::process::Signal::KILL).unwrap();
    assert_eq!(container.finish().code, 137);
}

pub(crate) fn a_missing_command_is_127_in_dockers_words() {
    let mut bundle = Bundle::of("");
    for (program, message) in [
        ("nothing", "exec: \"nothing\": executable file not found in $PATH"),
        ("/no/thing", "exec: \"/no/thing\": stat /no/thing: no such file or directory"),
    ] {
        bundle.process().args = vec![program.to_owned()];
        let error = bundle.refusal();
        assert_eq!((error.to_string().as_str(), error.exit_code()), (message, 127));
    }
    fs::write(bundle.path("script"), "#!/no/interpreter\n").unwrap();
    make_executable(&bundle, "script");
    bundle.process().args = vec!["/script".to_owned()];
    let error = bundle.refusal();
    assert_eq!(
        (error.to_string().as_str(), error.exit_code()),
        ("exec /script: no such file or directory", 127)
    );
    assert!(childless());
}

pub(crate) fn what_is_not_executable_is_126_in_dockers_words() {
    let mut bundle = Bundle::of("");
    fs::write(bundle.path("garbage"), "\x7fELF nonsense").unwrap();
    make_executable(&bundle, "garbage");
    for (program, message) in [
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
        ("/etc", "exec: \"/etc\": is a directory"),
        ("/garbage", "exec /garbage: exec format error"),
    ] {
        bundle.process().args = vec![program.to_owned()];
        let error = bundle.refusal();
        assert_eq!((error.to_string().as_str(), error.exit_code()), (message, 126));
    }
}

fn make_executable(bundle: &Bundle, name: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(bundle.path(name), fs::Permissions::from_mode(0o755)).unwrap();
}

pub(crate) fn a_working_directory_is_made_and_entered() {
    let mut bundle = Bundle::of("readlink /proc/self/cwd");
    bundle.process().cwd = "/srv/deep/er".into();
    assert_eq!(bundle.text(), "/srv/deep/er\n");
    bundle.process().cwd = "/etc/passwd".into();
    let error = bundle.refusal();
    assert_eq!(
        error.to_string(),
        "chdir to cwd (\"/etc/passwd\") set in config.json failed: not a directory"
    );
    assert_eq!(error.exit_code(), 126);
}

pub(crate) fn home_comes_from_passwd_unless_given() {
    let mut bundle = Bundle::of("echo $HOME");
    assert_eq!(bundle.text(), "/root\n");
    bundle.process().user.uid = 33;
    assert_eq!(bundle.text(), "/tmp\n");
    bundle.process().user.uid = 1234;
    assert_eq!(bundle.text(), "/\n");
    bundle.process().env.push("HOME=/mine".to_owned());
    assert_eq!(bundle.text(), "/mine\n");
    // Whatever stands in its place is not waited for and not read for ever (moby#38972).
    fs::remove_file(bundle.path("etc/passwd")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", bundle.path("etc/passwd")).unwrap();
    bundle.process().env.truncate(1);
    assert_eq!(bundle.text(), "/\n");
}

pub(crate) fn a_failing_mount_names_its_step_and_leaves_nothing() {
    let before = mountinfo();
    for (kind, source, options, message) in [
        ("nosuchfs", "none", &[][..], "mount /mnt: open file system nosuchfs: no such device"),
        ("bind", "/no/such/source", &["bind"], "mount /mnt: open /no/such/source: no such file or directory"),
        ("tmpfs", "tmpfs", &["size=banana"], "mount /mnt: invalid argument"),
    ] {
        let mut bundle = Bundle::of("true");
        bundle.mount("/mnt", kind, source.as_ref(), options);
        let error = bundle.refusal();
        assert!(error.to_string().starts_with(message), "{error}");
        assert_eq!(error.exit_code(), 125);
        assert!(childless());
    }
    assert_eq!(mountinfo(), before);
}

pub(crate) fn a_container_that_is_never_started_goes_with_its_creator() {
    let bundle = Bundle::of("true");
    let mut created = tare_runtime::clone_init(bundle.launch(Stdio::Inherit)).unwrap();
    created.ready().unwrap();
    let tare_runtime::Created { pidfd, .. } = { created };
    // Its socket is closed now, as if the creator had died.
    assert_ne!(reap(&pidfd), 0);
    assert!(childless());
}

pub(crate) fn output_survives_and_nothing_waits_before_start() {
    let bundle = Bundle::of("echo hello; echo oops >&2");
    let (stdio, [stdout, stderr]) = pipes();
    let mut created = tare_runtime::clone_init(bundle.launch(stdio)).unwrap();
    let mut fds = [PollFd::from_borrowed_fd(created.sync_fd(), PollFlags::IN)];
    let patience = rustix::time::Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(poll(&mut fds, Some(&patience)).unwrap(), 1, "init announces that it is ready");
    created.ready().unwrap();
    let running = created.start().unwrap();
    assert_eq!((read(stdout).as_str(), read(stderr).as_str()), ("hello\n", "oops\n"));
    assert_eq!(reap(&running.pidfd), 0);
}

pub(crate) fn a_terminal_is_the_containers_own() {
    let bundle = Bundle::of(
        "tty; stty size; ls -l /dev/console | head -c 10; echo; stat -c %u $(tty); readlink /dev/ptmx",
    );
    let size = ConsoleSize { height: 33, width: 111 };
    let mut created = tare_runtime::clone_init(bundle.launch(Stdio::Terminal { size })).unwrap();
    created.ready().unwrap();
    let running = created.start().unwrap();
    let text = read(running.console.unwrap());
    assert_eq!(reap(&running.pidfd), 0, "{text}");
    assert_eq!(text.lines().collect::<Vec<_>>(), ["/dev/pts/0", "33 111", "crw--w----", "0", "pts/ptmx"]);
}

pub(crate) fn a_network_namespace_is_joined_and_left() {
    let sleeper = Bundle::of("echo up; exec sleep 100");
    let holder = sleeper.start().unwrap();
    holder.hear();
    let path = format!("/proc/{}/ns/net", holder.running.pid);
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    let mut bundle = Bundle::of("readlink /proc/self/ns/net");
    let namespaces = &mut bundle.linux().namespaces;
    namespaces.retain(|n| n.kind != NamespaceKind::Network);
    namespaces.push(Namespace { kind: NamespaceKind::Network, path: Some(path.clone().into()) });
    assert_eq!(bundle.text().trim(), fs::read_link(&path).unwrap().to_str().unwrap());
    assert_eq!(fs::read_link("/proc/self/ns/net").unwrap(), own, "the caller is where it was");
    // The same when a later one cannot be joined.
    bundle.linux().namespaces.retain(|n| n.kind != NamespaceKind::Ipc);
    bundle
        .linux()
        .namespaces
        .push(Namespace { kind: NamespaceKind::Ipc, path: Some("/proc/self/ns/uts".into()) });
    assert!(bundle.refusal().to_string().ends_with("which /proc/self/ns/uts is not"));
    assert_eq!(fs::read_link("/proc/self/ns/net").unwrap(), own);
    tare_sys::namespace::enter(File::open("/proc/self/ns/net").unwrap().as_fd(), NEW_NETWORK).unwrap();
}

pub(crate) fn clocks_are_set_off() {
    let mut bundle = Bundle::of("cat /proc/uptime");
    bundle.linux().namespaces.push(Namespace { kind: NamespaceKind::Time, path: None });
    let uptime = |text: &str| text.split('.').next().unwrap().parse::<u64>().unwrap();
    let host = uptime(&fs::read_to_string("/proc/uptime").unwrap());
    assert!(uptime(&bundle.text()) < host + 1000, "no offset");
    bundle.linux().time_offsets.insert("boottime".to_owned(), TimeOffset { secs: 1_000_000, nanosecs: 0 });
    assert!(uptime(&bundle.text()) >= host + 1_000_000);
    bundle.linux().time_offsets.insert("realtime".to_owned(), TimeOffset::default());
    assert!(matches!(bundle.refusal(), Error::Spec { field, .. } if field == "linux.timeOffsets"));
    let bundle = Bundle::of("true");
    let created = tare_runtime::clone_init(bundle.launch(Stdio::Inherit)).unwrap();
    discard(created);
}
