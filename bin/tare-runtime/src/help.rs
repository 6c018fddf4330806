//! What `tare-runtime COMMAND --help` prints, and the man page is made of.

/// A command: its name, its arguments, what it does, its flags with a word for each.
pub(crate) struct Topic {
    name: &'static str,
    arguments: &'static str,
    does: &'static str,
    flags: &'static [(&'static str, &'static str)],
}

const fn topic(
    name: &'static str,
    arguments: &'static str,
    does: &'static str,
    flags: &'static [(&'static str, &'static str)],
) -> Topic {
    Topic { name, arguments, does, flags }
}

const BUNDLE: (&str, &str) = ("-b, --bundle DIR", "where config.json is; the working directory by default");
const CONSOLE: (&str, &str) = ("--console-socket PATH", "unix socket that is sent the terminal's master");
const PIDFD: (&str, &str) = ("--pidfd-socket PATH", "unix socket that is sent a pidfd of the process");
const PID_FILE: (&str, &str) = ("--pid-file FILE", "where the process id is written");
const PRESERVE: (&str, &str) =
    ("--preserve-fds N", "pass on N descriptors from 3 (and $LISTEN_FDS before them)");
const NO_PIVOT: (&str, &str) =
    ("--no-pivot", "chroot instead of pivot_root, for a host whose root is a ramdisk");
const NO_KEYRING: (&str, &str) = ("--no-new-keyring", "keep the caller's session keyring");
const DETACH: (&str, &str) = ("-d, --detach", "do not wait for the program");
const SUBREAPER: (&str, &str) = ("--no-subreaper", "accepted, without effect");
const IMAGES: (&str, &str) = ("--image-path DIR", "where the images are; checkpoint by default");
const WORK: (&str, &str) = ("--work-path DIR", "where criu's log is; the image path by default");
const TCP: (&str, &str) = ("--tcp-established", "with open TCP connections");
const SOCKETS: (&str, &str) = ("--ext-unix-sk", "with unix sockets that lead out");
const JOB: (&str, &str) = ("--shell-job", "with a terminal of the caller's");
const LOCKS: (&str, &str) = ("--file-locks", "with locks on files");
const LAZY: (&str, &str) = ("--lazy-pages", "memory comes when it is asked for");
const DEDUP: (&str, &str) = ("--auto-dedup", "take out of earlier images what later ones have");
const GROUPS: (&str, &str) = ("--manage-cgroups-mode MODE", "soft (default), full, strict or ignore");
const EMPTY: (&str, &str) = ("--empty-ns network", "the network namespace is made anew and empty");
const FORMAT: (&str, &str) = ("-f, --format table|json", "how it is printed");

/// In the order of a container's life.
const TOPICS: [Topic; 18] = [
    topic(
        "create",
        "ID",
        "make a container; its init waits for the start",
        &[BUNDLE, CONSOLE, PIDFD, PID_FILE, PRESERVE, NO_PIVOT, NO_KEYRING],
    ),
    topic("start", "ID", "let it run", &[]),
    topic(
        "run",
        "ID",
        "both, in the foreground or with --detach; exits with the program's exit code",
        &[
            BUNDLE,
            DETACH,
            ("--keep", "do not delete it at its end"),
            CONSOLE,
            PIDFD,
            PID_FILE,
            PRESERVE,
            NO_PIVOT,
            NO_KEYRING,
            SUBREAPER,
        ],
    ),
    topic(
        "exec",
        "ID COMMAND...",
        "run another program in a container",
        &[
            ("-p, --process FILE", "everything about it, as process in config.json; no COMMAND then"),
            ("--cwd DIR", "where it runs"),
            ("-e, --env NAME=VALUE", "add to its environment; again for more"),
            ("-t, --tty", "with a terminal"),
            ("-u, --user UID[:GID]", "as whom"),
            ("-g, --additional-gids GID", "add a group; again for more"),
            ("-c, --cap NAME", "add a capability; again for more"),
            ("--no-new-privs", "it can gain no privileges by execve"),
            ("--apparmor PROFILE", "under an AppArmor profile"),
            ("--process-label LABEL", "with an SELinux label"),
            ("--cgroup [CONTROLLER:]PATH", "in a group below the container's; again for more"),
            ("--ignore-paused", "also when the container is paused"),
            DETACH,
            CONSOLE,
            PIDFD,
            PID_FILE,
            PRESERVE,
            SUBREAPER,
        ],
    ),
    topic("state", "ID", "print where a container is in its life, as JSON", &[]),
    topic("list", "", "print all containers", &[FORMAT, ("-q, --quiet", "only their ids")]),
    topic("ps", "ID [PS-OPTIONS]", "print a container's processes", &[FORMAT]),
    topic(
        "kill",
        "ID [SIGNAL]",
        "send a signal, TERM by default, to its init",
        &[("-a, --all", "to all its processes")],
    ),
    topic("pause", "ID", "stop all its processes", &[]),
    topic("resume", "ID", "let them go on", &[]),
    topic(
        "update",
        "ID",
        "change its limits",
        &[
            ("-r, --resources FILE", "as linux.resources in config.json; - is standard input"),
            ("--memory, --memory-reservation, --memory-swap BYTES", "with k, m, g; -1 is no limit"),
            ("--cpu-quota, --cpu-period, --cpu-burst MICROSECONDS", "processor time a period"),
            ("--cpu-share N, --cpu-idle 0|1", "its weight beside others"),
            ("--cpu-rt-period, --cpu-rt-runtime MICROSECONDS", "real-time processor time"),
            ("--cpuset-cpus, --cpuset-mems LIST", "which processors and memory nodes"),
            ("--pids-limit N", "how many processes; -1 is no limit"),
            ("--blkio-weight N", "10 to 1000"),
            (
                "--l3-cache-schema, --mem-bw-schema LINE",
                "its share of the cache and of memory bandwidth (resctrl)",
            ),
            ("--kernel-memory, --kernel-memory-tcp BYTES", "accepted, without effect"),
        ],
    ),
    topic(
        "events",
        "ID",
        "print what it has used, and killings for want of memory, as lines of JSON, until it ends",
        &[
            ("--interval DURATION", "between figures; 5s by default"),
            ("--stats", "figures once, and no more"),
        ],
    ),
    topic(
        "checkpoint",
        "ID",
        "write it to disk, by criu",
        &[
            IMAGES,
            WORK,
            (
                "--parent-path DIR",
                "a checkpoint before, from the image path; only what has changed is written",
            ),
            ("--leave-running", "it goes on afterwards"),
            ("--pre-dump", "only its memory; it goes on"),
            TCP,
            ("--tcp-skip-in-flight", "without connections that are just being made"),
            ("--link-remap", "accepted: files that were unlinked are always written"),
            SOCKETS,
            JOB,
            LOCKS,
            LAZY,
            ("--page-server ADDRESS:PORT", "send its memory there"),
            ("--status-fd N", "criu writes there when lazy pages are ready"),
            GROUPS,
            EMPTY,
            DEDUP,
        ],
    ),
    topic(
        "restore",
        "ID",
        "let one that was written to disk run again, by criu",
        &[
            BUNDLE,
            IMAGES,
            WORK,
            DETACH,
            ("--keep", "do not delete it at its end"),
            CONSOLE,
            PID_FILE,
            TCP,
            SOCKETS,
            JOB,
            LOCKS,
            LAZY,
            GROUPS,
            EMPTY,
            DEDUP,
            ("--lsm-profile TYPE:NAME", "with another label"),
            ("--lsm-mount-context CONTEXT", "with another SELinux context for its mounts"),
            ("--no-pivot", "accepted, without effect"),
            SUBREAPER,
        ],
    ),
    topic("delete", "ID", "remove what is left of it", &[("-f, --force", "kill it first if it runs")]),
    topic(
        "spec",
        "",
        "write a config.json to start from",
        &[BUNDLE, ("--rootless", "for a user who has no other ids")],
    ),
    topic("features", "", "print what this runtime knows, as JSON", &[]),
    topic("shim", "DIR", "be the process beside a container (for tared)", &[]),
];

const GLOBAL: [(&str, &str); 9] = [
    (
        "--root DIR",
        "where containers are kept; /run/tare-runtime, or $XDG_RUNTIME_DIR/tare-runtime for users",
    ),
    ("--log FILE", "where errors and warnings are written, too"),
    ("--log-format text|json", "in which form"),
    ("--debug", "more of them"),
    ("--rootless true|false|auto", "whether a cgroup that may not be made is done without"),
    ("--systemd-cgroup", "let systemd make the cgroup"),
    ("--criu PATH", "the program that checkpoints and restores"),
    ("-v, --version", "print the version"),
    ("-h, --help", "print this, or a command's flags"),
];

/// All commands, or one.
pub(crate) fn text(name: Option<&str>) -> Option<String> {
    let Some(name) = name else {
        let topics = TOPICS.iter().map(|t| (format!("{} {}", t.name, t.arguments), t.does));
        let commands = columns(topics.collect::<Vec<_>>().iter().map(|(a, b)| (a.as_str(), *b)));
        let flags = columns(GLOBAL.into_iter());
        return Some(format!(
            "tare-runtime makes and runs containers as OCI bundles describe them\n\n\
             usage: tare-runtime [GLOBAL FLAGS] COMMAND [FLAGS] [ARGUMENTS]\n\n{commands}\nglobal flags:\n{flags}"
        ));
    };
    let Topic { name, arguments, does, flags } = TOPICS.iter().find(|topic| topic.name == name)?;
    let head = format!("usage: tare-runtime {name} [FLAGS] {arguments}");
    let flags = columns(flags.iter().copied());
    Some(format!("{}\n\n{does}\n{}{flags}", head.trim_end(), if flags.is_empty() { "" } else { "\n" }))
}

fn columns<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    rows.map(|(left, right)| format!("  {:26} {right}\n", left.trim_end())).collect()
}

#[cfg(test)]
mod completions;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_explained() {
        assert!(TOPICS.iter().all(|topic| text(None).unwrap().contains(topic.does)));
        let run = text(Some("run")).unwrap();
        assert!(run.starts_with("usage: tare-runtime run [FLAGS] ID\n"), "{run}");
        assert!(run.contains("--no-pivot"), "{run}");
        assert!(text(Some("fly")).is_none());
    }

    const PAGE: &str = include_str!("../../../docs/man/tare-runtime.8");

    /// As troff writes it.
    fn escaped(text: &str) -> String {
        text.replace('\\', "\\e").replace('-', "\\-")
    }

    fn rows(flags: &[(&str, &str)]) -> String {
        let row =
            |(flag, does): &(&str, &str)| format!(".TP\n\\fB{}\\fR\n{}\n", escaped(flag), escaped(does));
        flags.iter().map(row).collect()
    }

    #[test]
    fn the_man_page_says_what_help_says() {
        assert!(PAGE.contains(&format!(".SH GLOBAL FLAGS\n{}.SH COMMANDS\n", rows(&GLOBAL))));
        for topic in &TOPICS {
            let head = escaped(format!("{} {}", topic.name, topic.arguments).trim());
            let wanted = format!(".SS {head}\n{}\n{}.S", escaped(topic.does), rows(topic.flags));
            assert!(PAGE.contains(&wanted), "docs/man/tare-runtime.8 lacks:\n{wanted}");
        }
    }
}
