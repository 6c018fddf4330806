use tare_container::LogSpec;
use tare_docker_api::LogConfig;
use tare_model::parse_bytes;

use crate::{Error, Result};

/// Options of `json-file` that say what else is written beside a line; they change nothing that clients read.
const DECORATIONS: [&str; 6] = ["compress", "labels", "labels-regex", "env", "env-regex", "tag"];

pub(super) fn check(config: &LogConfig, default: &LogSpec) -> Result<LogSpec> {
    match config.kind.as_str() {
        "" => json_file(config, default.clone()),
        "json-file" => json_file(config, LogSpec { enabled: true, ..default.clone() }),
        "none" => Ok(LogSpec { enabled: false, ..default.clone() }),
        other => Err(Error::unsupported(format!("the log driver \"{other}\"; json-file and none are there"))),
    }
}

fn json_file(config: &LogConfig, mut spec: LogSpec) -> Result<LogSpec> {
    for (name, value) in &config.config {
        match name.as_str() {
            "max-size" => spec.max_size = max_size(value)?,
            "max-file" => spec.max_files = max_files(value)?,
            known if DECORATIONS.contains(&known) => {}
            other => {
                return Err(Error::invalid(format!("unknown log opt '{other}' for json-file log driver")));
            }
        }
    }
    Ok(spec)
}

/// `-1` is Docker's word for a log without end.
fn max_size(value: &str) -> Result<u64> {
    match value {
        "-1" => Ok(0),
        size => parse_bytes(size).map_err(|why| Error::invalid(format!("max-size: {why}"))),
    }
}

fn max_files(value: &str) -> Result<u32> {
    // Each rotation renames them all.
    let count = value.parse().ok().filter(|count| (1..=1000).contains(count));
    count.ok_or_else(|| {
        Error::invalid(format!("max-file cannot be less than 1 or more than 1000: \"{value}\""))
    })
}
