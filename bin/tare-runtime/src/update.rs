//! `tare-runtime update`: new limits for a container that runs.

use std::fs;
use std::io::Read;

use tare_model::parse_bytes;
use tare_oci::runtime::{BlockIo, Cpu, Memory, Pids, Resources};

use crate::failure::{Failure, Outcome};
use crate::flags::{Flag, Given, value};
use crate::global::Global;

const FLAGS: [Flag; 19] = [
    value("resources", "r"),
    value("blkio-weight", ""),
    value("cpu-period", ""),
    value("cpu-quota", ""),
    value("cpu-burst", ""),
    value("cpu-share", ""),
    value("cpu-rt-period", ""),
    value("cpu-rt-runtime", ""),
    value("cpuset-cpus", ""),
    value("cpuset-mems", ""),
    value("cpu-idle", ""),
    value("memory", ""),
    value("memory-reservation", ""),
    value("memory-swap", ""),
    value("pids-limit", ""),
    // Accepted and without effect, as in the field: kernels since 5.4 have no such limit.
    value("kernel-memory", ""),
    value("kernel-memory-tcp", ""),
    value("l3-cache-schema", ""),
    value("mem-bw-schema", ""),
];

pub(crate) fn command(global: &Global, arguments: &[&str]) -> Outcome {
    let given = Given::parse_anywhere(arguments, &FLAGS)?;
    let kept = global.open(given.id()?)?;
    let resources = match given.value("resources") {
        Some(path) => read(path)?,
        None => of_flags(&given)?,
    };
    let (cache, bandwidth) = (given.value("l3-cache-schema"), given.value("mem-bw-schema"));
    if cache.or(bandwidth).is_some() {
        kept.update_rdt(cache, bandwidth)?;
    }
    // A share of the cache needs no group.
    if cache.or(bandwidth).is_none() || resources != Resources::default() {
        kept.update(&resources)?;
    }
    Ok(0)
}

fn read(path: &str) -> Result<Resources, Failure> {
    let mut text = Vec::new();
    let done = match path {
        "-" => std::io::stdin().read_to_end(&mut text).map(drop),
        path => fs::read(path).map(|read| text = read),
    };
    done.map_err(|e| Failure::new(format!("cannot read {path}: {e}")))?;
    let mut resources: Resources =
        serde_json::from_slice(&text).map_err(|e| Failure::new(format!("invalid resources: {e}")))?;
    // Engines send the rules that the container has already, and the field's runtimes leave them alone too.
    resources.devices.clear();
    Ok(resources)
}

fn of_flags(given: &Given<'_>) -> Result<Resources, Failure> {
    let text = |name: &str| given.value(name).map(str::to_owned);
    let cpu = Cpu {
        shares: given.parsed("cpu-share")?,
        quota: given.parsed("cpu-quota")?,
        burst: given.parsed("cpu-burst")?,
        period: given.parsed("cpu-period")?,
        realtime_runtime: given.parsed("cpu-rt-runtime")?,
        realtime_period: given.parsed("cpu-rt-period")?,
        cpus: text("cpuset-cpus"),
        mems: text("cpuset-mems"),
        idle: given.parsed("cpu-idle")?,
    };
    let memory = Memory {
        limit: bytes(given, "memory")?,
        reservation: bytes(given, "memory-reservation")?,
        swap: bytes(given, "memory-swap")?,
        ..Memory::default()
    };
    let weight = given.parsed("blkio-weight")?;
    Ok(Resources {
        cpu: (cpu != Cpu::default()).then_some(cpu),
        memory: (memory != Memory::default()).then_some(memory),
        pids: given.parsed("pids-limit")?.map(|limit| Pids { limit }),
        block_io: weight.map(|weight| BlockIo { weight: Some(weight), ..BlockIo::default() }),
        ..Resources::default()
    })
}

/// `-1` is no limit.
fn bytes(given: &Given<'_>, name: &str) -> Result<Option<i64>, Failure> {
    let parse = |text: &str| match text {
        "-1" => Ok(-1),
        text => {
            let bytes = parse_bytes(text).map_err(Failure::new)?;
            i64::try_from(bytes).map_err(|_| Failure::new(format!("--{name} is too large")))
        }
    };
    given.value(name).map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_resources() {
        let words =
            ["--memory", "64m", "--memory-swap=-1", "--pids-limit", "20", "--cpu-quota", "5000", "id"];
        let resources = of_flags(&Given::parse(&words, &FLAGS).unwrap()).unwrap();
        let memory = resources.memory.unwrap();
        assert_eq!((memory.limit, memory.swap), (Some(64 << 20), Some(-1)));
        assert_eq!(resources.pids.unwrap().limit, 20);
        assert_eq!(resources.cpu.unwrap().quota, Some(5000));
        assert!(resources.block_io.is_none());
        for wrong in [["--memory", "lots"], ["--cpu-quota", "half"]] {
            assert!(of_flags(&Given::parse(&wrong, &FLAGS).unwrap()).is_err());
        }
    }
}
