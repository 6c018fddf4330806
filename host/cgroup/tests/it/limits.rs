//! Limits as processes feel them.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec, poll};
use tare_cgroup::Hierarchies;
use tare_model::{HasKind, Kind};

use crate::Group;

const FIVE_SECONDS: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

#[test]
fn a_memory_hog_is_ended_and_that_is_told() {
    let group = Group::new("hog");
    group.apply(r#"{"memory": {"limit": 16777216, "swap": 16777216}}"#).unwrap();
    let watch = group.group.watch_oom().unwrap().unwrap();
    assert_eq!(group.group.oom_kills().unwrap(), 0);
    let status = group.spawn("exec dd if=/dev/zero of=/dev/null bs=128M count=1").wait().unwrap();
    assert_eq!(status.signal(), Some(9));
    let ready =
        poll(&mut [PollFd::from_borrowed_fd(watch.fd(), watch.flags())], Some(&FIVE_SECONDS)).unwrap();
    assert_eq!((ready, group.group.oom_kills().unwrap()), (1, 1));
    watch.acknowledge();
    let nothing = Timespec { tv_sec: 0, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::from_borrowed_fd(watch.fd(), watch.flags())], Some(&nothing)).unwrap(), 0);
    let stats = group.group.stats().unwrap().memory;
    assert_eq!((stats.limit, stats.oom_kills), (Some(16_777_216), 1));
    assert!(stats.max_usage > 8 << 20, "{stats:?}");
}

#[test]
fn memory_limits_move_up_and_down() {
    let group = Group::new("memory");
    for limit in [32 << 20, 128 << 20, 64 << 20] {
        group.apply(&format!(r#"{{"memory": {{"limit": {limit}, "swap": {limit}}}}}"#)).unwrap();
        assert_eq!(group.group.stats().unwrap().memory.limit, Some(limit));
    }
    group.apply(r#"{"memory": {"limit": -1}}"#).unwrap();
    assert_eq!(group.group.stats().unwrap().memory.limit, None);
    let mut child = group.spawn("dd if=/dev/zero of=/dev/null bs=16M count=1 2>&1; exec sleep 60");
    while group.group.stats().unwrap().memory.max_usage < 16 << 20 {
        std::thread::yield_now();
    }
    let refused = group.apply(r#"{"memory": {"limit": 4096, "checkBeforeUpdate": true}}"#).unwrap_err();
    assert_eq!(refused.kind(), Kind::InvalidInput, "{refused}");
    group.group.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_process_limit_stops_forks() {
    let group = Group::new("pids");
    group.apply(r#"{"pids": {"limit": 5}}"#).unwrap();
    let child = group.spawn("for i in 1 2 3 4 5 6 7 8; do sleep 60 & done; echo never");
    let output = child.wait_with_output_killed(&group);
    assert!(output.contains("fork"), "{output}");
    assert!(!output.contains("never"), "{output}");
    assert_eq!(group.group.stats().unwrap().pids.limit, Some(5));
}

/// Never more, and no less in the periods in which it was stopped for it: a machine that others keep busy may give less.
#[test]
fn the_quota_holds_within_5_percent() {
    let group = Group::new("quota");
    group.apply(r#"{"cpu": {"quota": 20000, "period": 100000, "shares": 2048}}"#).unwrap();
    let mut child = group.spawn("while :; do :; done");
    let used = || group.group.stats().unwrap().cpu.total as f64 / 1e9;
    while used() == 0.0 {
        std::thread::yield_now();
    }
    let figures = || group.group.stats().unwrap().cpu;
    let (begin, before) = (Instant::now(), figures());
    std::thread::sleep(Duration::from_millis(2000));
    let after = figures();
    let (used, wall) = ((after.total - before.total) as f64 / 1e9, begin.elapsed().as_secs_f64());
    group.group.kill().unwrap();
    child.wait().unwrap();
    assert!(after.periods > before.periods, "there is no quota: {after:?}");
    let met = (after.throttled_periods - before.throttled_periods) as f64;
    // The measure may begin and end within a period.
    assert!(used <= (wall * 0.2 + 0.02) * 1.05, "{used:.3} s of {wall:.3}");
    assert!(used >= (met - 1.0) * 0.02 * 0.95, "{used:.3} s in {met} full periods");
}

#[test]
fn a_cpuset_is_inherited_and_narrowed() {
    let group = Group::new("cpuset");
    let mut child = group.spawn("while :; do sleep 60; done");
    let allowed = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned()
    };
    assert!(!allowed().is_empty());
    group.apply(r#"{"cpu": {"cpus": "0", "mems": "0"}}"#).unwrap();
    assert_eq!(allowed(), "0");
    let impossible = group.apply(r#"{"cpu": {"cpus": "4000"}}"#).unwrap_err();
    assert_eq!(impossible.kind(), Kind::InvalidInput, "{impossible}");
    group.group.kill().unwrap();
    child.wait().unwrap();
}

const DEVICES: &str = r#"{"devices": [{"allow": false, "access": "rwm"}]}"#;
const PROBE: &str = ": < /dev/zero && echo zero; : < /dev/kmsg && echo kmsg";

fn assert_devices_are_filtered(group: &Group) {
    let before = group.spawn(PROBE).wait_with_output_killed(group);
    group.apply(DEVICES).unwrap();
    let during = group.spawn(PROBE).wait_with_output_killed(group);
    assert!(during.contains("zero") && !during.contains("\nkmsg"), "{during}");
    // Once more replaces the rules and does not pile them up.
    group.apply(r#"{"devices": [{"allow": true}]}"#).unwrap();
    let after = group.spawn(PROBE).wait_with_output_killed(group);
    assert_eq!(after, before);
}

#[test]
fn devices_are_filtered() {
    assert_devices_are_filtered(&Group::new("devices"));
}

#[test]
fn devices_are_filtered_by_a_program_on_v2() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let unified: String =
        mounts.lines().filter(|line| line.contains(" - cgroup2 ")).map(|line| format!("{line}\n")).collect();
    if unified.is_empty() {
        println!("skipped: needs a cgroup2 mount");
        return;
    }
    assert_devices_are_filtered(&Group::in_hierarchies("filter", Hierarchies::parse(&unified)));
}

#[test]
fn a_missing_controller_is_named() {
    let group = Group::new("missing");
    let error = group.apply(r#"{"network": {"classID": 7}}"#).unwrap_err();
    assert_eq!(error.kind(), Kind::NotSupported, "{error}");
    assert!(error.to_string().contains("net_cls"), "{error}");
}

trait Output {
    /// Both outputs of a process that ends by itself; what it left running in the group is killed.
    fn wait_with_output_killed(self, group: &Group) -> String;
}

impl Output for std::process::Child {
    fn wait_with_output_killed(mut self, group: &Group) -> String {
        self.wait().unwrap();
        group.group.kill().unwrap();
        let output = self.wait_with_output().unwrap();
        String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap()
    }
}
