/// The limits of setrlimit(2) by the names of `--ulimit`: lower case, without `RLIMIT_`. The address space is left out, as
/// Docker does.
pub const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];
