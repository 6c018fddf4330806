use std::collections::BTreeMap;

use super::*;

fn resources(json: &str) -> Resources {
    serde_json::from_str(json).unwrap()
}

fn v1(resources: &Resources) -> Result<Vec<Write>> {
    super::v1(resources, &|_| true)
}

fn v2(resources: &Resources) -> Result<Vec<Write>> {
    super::v2(resources, &|_| true)
}

fn lines(plan: Result<Vec<Write>>) -> Vec<String> {
    plan.unwrap().iter().map(|w| format!("{} = {}", w.file, w.value)).collect()
}

const FULL: &str = r#"{
    "memory": {"limit": 104857600, "swap": 209715200, "reservation": 52428800, "swappiness": 10, "disableOOMKiller": true},
    "cpu": {"shares": 512, "quota": 50000, "period": 100000, "burst": 1000, "cpus": "0-1", "mems": "0", "idle": 0},
    "pids": {"limit": 64},
    "blockIO": {"weight": 500,
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1048576}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 100}]},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
    "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 4}}
}"#;

#[test]
fn a_full_set_for_v1() {
    let wanted = [
        "cpu.shares = 512",
        "cpu.cfs_period_us = 100000",
        "cpu.cfs_quota_us = 50000",
        "cpu.cfs_burst_us = 1000",
        "cpu.idle = 0",
        "memory.limit_in_bytes = 104857600",
        "memory.memsw.limit_in_bytes = 209715200",
        "memory.soft_limit_in_bytes = 52428800",
        "memory.swappiness = 10",
        "memory.oom_control = 1",
        "blkio.weight = 500",
        "blkio.throttle.read_bps_device = 8:0 1048576",
        "blkio.throttle.write_iops_device = 8:16 100",
        "cpuset.cpus = 0-1",
        "cpuset.mems = 0",
        "pids.max = 64",
        "hugetlb.2MB.limit_in_bytes = 4194304",
        "hugetlb.2MB.rsvd.limit_in_bytes = 4194304",
        "rdma.max = mlx5_1 hca_handle=3 hca_object=4",
    ];
    assert_eq!(lines(v1(&resources(FULL))), wanted);
}

#[test]
fn a_full_set_for_v2() {
    let wanted = [
        "cpu.weight = 59",
        "cpu.max = 50000 100000",
        "cpu.max.burst = 1000",
        "cpu.idle = 0",
        "memory.swap.max = 104857600",
        "memory.max = 104857600",
        "memory.low = 52428800",
        "io.bfq.weight = 500",
        "io.max = 8:0 rbps=1048576",
        "io.max = 8:16 wiops=100",
        "cpuset.cpus = 0-1",
        "cpuset.mems = 0",
        "pids.max = 64",
        "hugetlb.2MB.max = 4194304",
        "hugetlb.2MB.rsvd.max = 4194304",
        "rdma.max = mlx5_1 hca_handle=3 hca_object=4",
    ];
    assert_eq!(lines(v2(&resources(FULL))), wanted);
}

#[test]
fn no_limit_is_said_in_each_kernels_words() {
    let none = resources(r#"{"memory": {"limit": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}}"#);
    let v1_wanted = [
        "cpu.cfs_quota_us = -1",
        "memory.limit_in_bytes = -1",
        "memory.memsw.limit_in_bytes = -1",
        "pids.max = max",
    ];
    assert_eq!(lines(v1(&none)), v1_wanted);
    assert_eq!(
        lines(v2(&none)),
        ["cpu.max = max 100000", "memory.swap.max = max", "memory.max = max", "pids.max = max"]
    );
    let unset =
        resources(r#"{"memory": {"limit": 0}, "cpu": {"quota": 0, "shares": 0}, "pids": {"limit": 0}}"#);
    assert!(v1(&unset).unwrap().is_empty() && v2(&unset).unwrap().is_empty());
    assert!(v1(&Resources::default()).unwrap().is_empty());
    assert!(v2(&Resources::default()).unwrap().is_empty());
}

#[test]
fn shares_map_to_weights_with_both_defaults_kept() {
    for (shares, weight) in [(0, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)] {
        assert_eq!(weight_of_shares(shares), weight, "{shares}");
    }
}

#[test]
fn swap_equal_to_memory_means_none() {
    let tight = resources(r#"{"memory": {"limit": 1048576, "swap": 1048576}}"#);
    assert_eq!(lines(v2(&tight)), ["memory.swap.max = 0", "memory.max = 1048576"]);
}

#[test]
fn impossible_limits_are_refused_by_name() {
    for (json, field) in [
        (r#"{"memory": {"limit": 200, "swap": 100}}"#, "memory.swap"),
        (r#"{"memory": {"swappiness": 101}}"#, "memory.swappiness"),
        (r#"{"cpu": {"cpus": "0; reboot"}}"#, "cpu.cpus"),
        (r#"{"blockIO": {"weight": 9}}"#, "blockIO.weight"),
        (r#"{"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}"#, "hugepageLimits"),
        (r#"{"rdma": {"a b": {}}}"#, "rdma"),
    ] {
        let resources = resources(json);
        for error in [v1(&resources).unwrap_err(), v2(&resources).unwrap_err()] {
            assert!(error.to_string().starts_with(&format!("invalid {field}")), "{error}");
        }
    }
    assert!(v2(&resources(r#"{"memory": {"swap": 100}}"#)).is_err());
    let error = v2(&resources(r#"{"cpu": {"realtimeRuntime": 5}}"#)).unwrap_err();
    assert!(error.to_string().starts_with("cpu.realtimeRuntime"), "{error}");
}

#[test]
fn unified_files_must_be_a_controllers_own() {
    let with = |name: &str| Resources {
        unified: BTreeMap::from([(name.to_owned(), "1".to_owned())]),
        ..Resources::default()
    };
    assert_eq!(lines(v2(&with("memory.high"))), ["memory.high = 1"]);
    let lined = Resources {
        unified: BTreeMap::from([("io.max".to_owned(), "8:0 rbps=1\n8:16 rbps=2\n".to_owned())]),
        ..Resources::default()
    };
    assert_eq!(lines(v2(&lined)), ["io.max = 8:0 rbps=1", "io.max = 8:16 rbps=2"]);
    for bad in ["cgroup.procs", "../memory.max", "memory.max/../../x", "memory", "memoryx.max", ""] {
        assert!(v2(&with(bad)).is_err(), "{bad}");
    }
}

#[test]
fn v1_devices_begin_with_deny_all() {
    let rules = resources(
        r#"{"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]}"#,
    );
    let plan = lines(v1(&rules));
    assert_eq!(plan[..2], ["devices.deny = a", "devices.allow = c 10:229 rw"]);
    assert!(plan.contains(&"devices.allow = c 1:3 rwm".to_owned()), "{plan:?}");
    assert_eq!(plan.iter().filter(|line| line.starts_with("devices.deny")).count(), 1);
}

#[test]
fn a_hybrid_host_splits_the_plan_without_a_rest() {
    let full = resources(FULL);
    let all_v1 = super::v1(&full, &|c| c != "hugetlb").unwrap();
    let left = super::v2(&full, &|c| c == "hugetlb").unwrap();
    assert!(all_v1.iter().all(|w| w.controller != "hugetlb"));
    assert_eq!(lines(Ok(left)), ["hugetlb.2MB.max = 4194304", "hugetlb.2MB.rsvd.max = 4194304"]);
    // What v1 can do is not refused by v2's rules.
    assert!(super::v2(&resources(r#"{"memory": {"swap": 100}}"#), &|c| c != "memory").is_ok());
}
