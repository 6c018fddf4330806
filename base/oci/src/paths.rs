//! The parts of /proc and /sys that containers are kept from by default.

/// What a container sees and cannot change, by Docker's list: it would reach the whole machine.
pub const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Docker's list: what leaks the host's hardware, timing and keys (GHSA-6fw5-f8r9-fgfm, GHSA-jq35-85cj-fj4p).
pub const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
