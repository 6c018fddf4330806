use std::collections::BTreeMap;

use tare_model::{Digest, Id};
use tare_oci::image::ExecutionConfig;
use tare_oci::runtime::{Mount, Spec};

use super::*;
use crate::container::MountKind;
use crate::options::ExecSpec;
use crate::spec::MountSpec;

/// Everything that a plan is made from, owned.
struct Case {
    id: Id,
    spec: ContainerSpec,
    image: ImageUse,
    mounts: Vec<MountPoint>,
    user: ResolvedUser,
    host: Host,
    joined: Joined,
}

impl Case {
    fn new() -> Self {
        let strings = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
        let config = ExecutionConfig {
            env: strings(&["PATH=/bin", "COLOUR=red", "HOSTNAME"]),
            entrypoint: strings(&["/entry"]),
            cmd: strings(&["serve"]),
            working_dir: "/srv".into(),
            ..ExecutionConfig::default()
        };
        Self {
            id: Id::from_random([0xab; 32]),
            spec: ContainerSpec::default(),
            image: ImageUse { id: Digest::from_bytes([1; 32]), top: None, config },
            mounts: Vec::new(),
            user: ResolvedUser { home: "/root".into(), ..ResolvedUser::default() },
            host: Host {
                cpus: 2,
                hostname: "machine".into(),
                init: "/usr/bin/tare-init".into(),
                ..Host::default()
            },
            joined: Joined::default(),
        }
    }

    fn plan(&self) -> Spec {
        let files = Files {
            root: "/run/x/rootfs".into(),
            hostname: "/d/hostname".into(),
            hosts: "/d/hosts".into(),
            resolv_conf: "/d/resolv.conf".into(),
        };
        let Self { id, spec, image, mounts, user, host, joined } = self;
        plan(&Input { id, spec, image, mounts, user, host, files: &files, joined }).unwrap()
    }

    fn linux(&self) -> Linux {
        self.plan().linux.unwrap()
    }
}

fn mount<'a>(spec: &'a Spec, target: &str) -> Option<&'a Mount> {
    spec.mounts.iter().find(|mount| mount.destination == Path::new(target))
}

fn kinds(linux: &Linux) -> Vec<NamespaceKind> {
    linux.namespaces.iter().map(|namespace| namespace.kind).collect()
}

#[test]
fn a_plain_container_gets_dockers_defaults() {
    let spec = Case::new().plan();
    let process = spec.process.as_ref().unwrap();
    assert_eq!(process.args, ["/entry", "serve"]);
    assert_eq!(process.env, ["PATH=/bin", "HOSTNAME=abababababab", "COLOUR=red", "HOME=/root"]);
    assert_eq!(process.cwd, Path::new("/srv"));
    let capabilities = process.capabilities.as_ref().unwrap();
    assert_eq!(capabilities.bounding, tare_model::DEFAULT_CAPABILITIES);
    assert!(capabilities.inheritable.is_empty() && capabilities.ambient.is_empty(), "CVE-2022-24769");
    assert_eq!(spec.hostname.as_deref(), Some("abababababab"));
    let targets: Vec<&str> = spec.mounts.iter().filter_map(|mount| mount.destination.to_str()).collect();
    assert_eq!(
        targets,
        [
            "/proc",
            "/dev",
            "/dev/pts",
            "/sys",
            "/sys/fs/cgroup",
            "/dev/mqueue",
            "/dev/shm",
            "/etc/resolv.conf",
            "/etc/hostname",
            "/etc/hosts"
        ]
    );
    assert!(mount(&spec, "/dev/shm").unwrap().options.contains(&"size=67108864".to_owned()));
    for (target, option) in
        [("/sys", "ro"), ("/sys/fs/cgroup", "ro"), ("/proc", "nosuid"), ("/etc/hosts", "rw")]
    {
        assert!(mount(&spec, target).unwrap().options.iter().any(|word| word == option), "{target} {option}");
    }
}

#[test]
fn a_plain_container_shares_nothing_and_sees_little() {
    let linux = Case::new().linux();
    use NamespaceKind::{Cgroup, Ipc, Mount, Network, Pid, Uts};
    assert_eq!(kinds(&linux), [Mount, Network, Uts, Pid, Cgroup, Ipc]);
    assert!(linux.namespaces.iter().all(|namespace| namespace.path.is_none()));
    for masked in
        ["/proc/kcore", "/proc/interrupts", "/sys/firmware", "/sys/devices/system/cpu/cpu1/thermal_throttle"]
    {
        assert!(linux.masked_paths.iter().any(|path| path == Path::new(masked)), "{masked}");
    }
    assert_eq!(linux.readonly_paths.len(), 5);
    assert_eq!(linux.cgroups_path.as_deref(), Some(format!("/tare/{}", "ab".repeat(32)).as_str()));
    assert!(linux.seccomp.is_some());
    let rules = linux.resources.unwrap().devices;
    assert!(!rules[0].allow && rules[0].kind.is_none(), "everything is denied first");
    assert!(!rules.iter().any(|rule| rule.allow && rule.kind.as_deref() == Some("a")));
    assert!(
        rules.iter().all(|rule| !(rule.allow && rule.major.is_none()) || rule.access.as_deref() == Some("m"))
    );
    assert_eq!(linux.sysctl["net.ipv4.ip_unprivileged_port_start"], "0");
}

#[test]
fn privileged_is_the_opposite() {
    let mut case = Case::new();
    case.spec.security.privileged = true;
    let spec = case.plan();
    assert!(mount(&spec, "/sys").unwrap().options.contains(&"rw".to_owned()));
    let linux = spec.linux.unwrap();
    assert!(linux.masked_paths.is_empty() && linux.readonly_paths.is_empty() && linux.seccomp.is_none());
    assert!(linux.resources.unwrap().devices[0].allow);
    assert_eq!(spec.process.unwrap().capabilities.unwrap().bounding.len(), 41);
}

#[test]
fn entrypoint_and_command_follow_dockers_rules() {
    let line = |entrypoint: Option<&[&str]>, arguments: Option<&[&str]>| {
        let words =
            |list: Option<&[&str]>| list.map(|list| list.iter().map(|word| (*word).to_owned()).collect());
        let mut case = Case::new();
        case.spec.command.entrypoint = words(entrypoint);
        case.spec.command.arguments = words(arguments);
        command_line(&case.spec.command, &case.image.config).join(" ")
    };
    assert_eq!(line(None, None), "/entry serve");
    assert_eq!(line(None, Some(&["other"])), "/entry other");
    assert_eq!(line(Some(&["sh"]), None), "sh", "an entrypoint of the user drops the image's command");
    assert_eq!(line(Some(&[""]), Some(&["true"])), "true");
    assert_eq!(line(Some(&[]), Some(&["true"])), "true");
    assert_eq!(line(None, Some(&[])), "/entry serve");
}

#[test]
fn later_variables_win_and_bare_names_take_away() {
    let mut case = Case::new();
    case.spec.streams.tty = true;
    case.spec.command.environment = ["COLOUR=blue", "EMPTY=", "HOSTNAME", "A=b=c"].map(str::to_owned).into();
    let env = case.plan().process.unwrap().env;
    assert_eq!(env, ["PATH=/bin", "TERM=xterm", "COLOUR=blue", "EMPTY=", "A=b=c", "HOME=/root"]);
}

/// What an image of eight megabytes can have takes no longer than it takes to read it.
#[test]
fn a_million_variables_are_no_work() {
    let mut case = Case::new();
    let variables = (0..1_000_000).map(|number| format!("v{number}=x"));
    case.image.config.env = Some(variables.collect());
    let started = std::time::Instant::now();
    assert_eq!(case.plan().process.unwrap().env.len(), 1_000_003);
    let took = started.elapsed();
    assert!(took < std::time::Duration::from_secs(60), "{took:?}");
}

#[test]
fn limits_become_resources() {
    let mut case = Case::new();
    let limits = &mut case.spec.limits;
    (limits.memory.limit, limits.cpu.nano_cpus, limits.pids) = (64 << 20, 1_500_000_000, Some(20));
    limits.ulimits = vec![Ulimit { name: "nofile".into(), soft: 100, hard: -1 }];
    case.host.ulimits = vec![
        Ulimit { name: "nofile".into(), soft: 1, hard: 1 },
        Ulimit { name: "core".into(), soft: 0, hard: 0 },
    ];
    let spec = case.plan();
    let resources = spec.linux.unwrap().resources.unwrap();
    let memory = resources.memory.unwrap();
    assert_eq!((memory.limit, memory.swap), (Some(64 << 20), Some(128 << 20)), "as much swap as memory");
    let cpu = resources.cpu.unwrap();
    assert_eq!((cpu.quota, cpu.period), (Some(150_000), Some(100_000)));
    assert_eq!(resources.pids.unwrap().limit, 20);
    let rlimits = spec.process.unwrap().rlimits;
    assert_eq!(
        (rlimits[0].kind.as_str(), rlimits[0].hard, rlimits[1].kind.as_str()),
        ("RLIMIT_NOFILE", u64::MAX, "RLIMIT_CORE")
    );
}

#[test]
fn mounts_come_shallow_first_and_replace_the_daemons_own() {
    let mut case = Case::new();
    let bind = |target: &str, propagation: &str| MountPoint {
        target: target.into(),
        kind: MountKind::Bind { source: "/host".into(), non_recursive: false },
        writable: false,
        propagation: propagation.into(),
    };
    let tmpfs = MountPoint {
        target: "/dev/shm".into(),
        kind: MountKind::Tmpfs { options: vec!["exec".into(), "size=1m".into()] },
        writable: true,
        propagation: String::new(),
    };
    case.mounts =
        vec![bind("/a/b/c", "rslave"), tmpfs, bind("/a", "rprivate"), bind("/etc/hosts", "rprivate")];
    let spec = case.plan();
    let order: Vec<&str> =
        spec.mounts.iter().rev().take(4).filter_map(|mount| mount.destination.to_str()).collect();
    assert_eq!(order, ["/a/b/c", "/etc/hosts", "/dev/shm", "/a"]);
    for target in ["/dev/shm", "/etc/hosts"] {
        assert_eq!(
            spec.mounts.iter().filter(|mount| mount.destination == Path::new(target)).count(),
            1,
            "{target}"
        );
    }
    assert_eq!(mount(&spec, "/a").unwrap().options, ["rbind", "ro", "rprivate"]);
    assert_eq!(mount(&spec, "/dev/shm").unwrap().options, ["nosuid", "nodev", "exec", "size=1m"]);
    assert_eq!(spec.linux.unwrap().rootfs_propagation.as_deref(), Some("slave"));
}

#[test]
fn the_hosts_namespaces_are_left_out_and_others_joined() {
    let mut case = Case::new();
    let wanted = &mut case.spec.namespaces;
    (wanted.pid, wanted.uts, wanted.ipc) =
        (NamespaceMode::Container("db".into()), NamespaceMode::Host, IpcMode::Host);
    case.spec.network.mode = NetworkMode::Host;
    case.joined.pid = Some("/proc/7/ns/pid".into());
    let spec = case.plan();
    assert_eq!(spec.hostname, None);
    assert_eq!(mount(&spec, "/dev/shm").unwrap().kind.as_deref(), Some("bind"));
    let linux = spec.linux.unwrap();
    assert_eq!(kinds(&linux), [NamespaceKind::Mount, NamespaceKind::Pid, NamespaceKind::Cgroup]);
    assert_eq!(linux.namespaces[1].path.as_deref(), Some(Path::new("/proc/7/ns/pid")));
    assert!(linux.sysctl.is_empty());
    assert!(spec.process.unwrap().env.contains(&"HOSTNAME=machine".to_owned()));
}

#[test]
fn the_small_init_goes_before_the_program() {
    let mut case = Case::new();
    case.spec.lifecycle.init = Some(true);
    let spec = case.plan();
    assert_eq!(spec.process.as_ref().unwrap().args, ["/sbin/docker-init", "--", "/entry", "serve"]);
    assert!(mount(&spec, "/sbin/docker-init").unwrap().options.contains(&"ro".to_owned()));
    case.spec.lifecycle.init = None;
    case.host.init_by_default = true;
    assert_eq!(case.plan().process.unwrap().args.len(), 4);
}

#[test]
fn an_exec_begins_from_the_containers_process() {
    let mut case = Case::new();
    case.spec.security.no_new_privileges = true;
    let base = case.plan().process.unwrap();
    let spec = ExecSpec {
        command: vec!["id".into()],
        environment: vec!["COLOUR=green".into()],
        tty: true,
        ..ExecSpec::default()
    };
    let user = ResolvedUser { uid: 5, gid: 6, groups: vec![7], home: "/home/five".into() };
    let process = exec_process(&base, &spec, Some(&user)).unwrap();
    assert_eq!(process.args, ["id"]);
    assert_eq!((process.user.uid, process.user.additional_gids.as_slice()), (5, &[7][..]));
    assert!(
        process.env.contains(&"COLOUR=green".to_owned())
            && process.env.contains(&"HOME=/home/five".to_owned())
    );
    assert!(
        process.terminal && process.no_new_privileges && process.capabilities.unwrap().inheritable.is_empty()
    );
    assert!(exec_process(&base, &ExecSpec::default(), None).is_err());
}

#[test]
fn directories_that_lead_nowhere_are_cleaned_by_their_letters() {
    let mut case = Case::new();
    case.spec.command.working_directory = Some("/a/../../proc/self/fd/7".into());
    assert_eq!(case.plan().process.unwrap().cwd, Path::new("/proc/self/fd/7"), "which the runtime refuses");
    case.spec.limits.cgroup_parent = Some("/x/../../y".into());
    assert!(case.linux().cgroups_path.unwrap().starts_with("/y/abab"));
    let mut volumes = BTreeMap::new();
    volumes.insert("/var/lib/../../../".to_owned(), ());
    for (target, ()) in volumes {
        assert!(MountSpec::parse_bind(&target).is_err(), "CVE-2022-23648");
    }
}
