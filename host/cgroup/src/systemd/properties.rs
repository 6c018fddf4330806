//! Limits as properties of a unit: pure. systemd must know them, or it would write its own over them at the next change of
//! a neighbour. systemd.resource-control(5); over D-Bus sizes are bytes, times microseconds, "no limit" all ones.

use std::collections::BTreeMap;

use tare_oci::runtime::{Cpu, Memory, Resources};

use super::wire::Value;
use crate::device;
use crate::error::{Error, Result};
use crate::plan;

const INFINITY: u64 = u64::MAX;

/// Annotations with this prefix are properties of the unit, as other runtimes have it.
const ANNOTATION: &str = "org.systemd.property.";

/// A name and its value.
pub(crate) type Property = (String, Value);

fn property(name: &str, value: Value) -> Property {
    (name.to_owned(), value)
}

/// What every container's unit is: its sub-groups are its own business, it starts and stops with nothing else, and it
/// is forgotten once it is over.
pub(crate) fn unit(name: &str, slice: &str, pid: i32) -> Vec<Property> {
    let mut list = vec![property("Description", Value::Text(format!("container {name}")))];
    if name.ends_with(".slice") {
        list.push(property("Wants", Value::Texts(vec![slice.to_owned()])));
    } else {
        list.push(property("Slice", Value::Text(slice.to_owned())));
        list.push(property("Delegate", Value::Bool(true)));
        list.push(property("PIDs", Value::Numbers(vec![pid.unsigned_abs()])));
        list.push(property("CollectMode", Value::Text("inactive-or-failed".to_owned())));
    }
    for accounting in ["MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting"] {
        list.push(property(accounting, Value::Bool(true)));
    }
    list.push(property("DefaultDependencies", Value::Bool(false)));
    list
}

/// The devices, for a systemd that keeps v1's list of them and would forget ours whenever it reloads. Rules that are not
/// given stay as they are.
///
/// # Errors
/// Rules that its list cannot say.
pub(crate) fn devices(resources: &Resources) -> Result<Vec<Property>> {
    let rules = device::rules(resources)?;
    if rules.is_empty() {
        return Ok(Vec::new());
    }
    let list = device::allowed(&rules)?;
    let policy = if list.is_some() { "strict" } else { "auto" };
    Ok(vec![
        property("DevicePolicy", Value::Text(policy.to_owned())),
        // An empty one takes back those before it; what follows is added.
        property("DeviceAllow", Value::Pairs(Vec::new())),
        property("DeviceAllow", Value::Pairs(list.unwrap_or_default())),
    ])
}

/// The limits that systemd has a word for.
///
/// # Errors
/// A set of processors that is none.
pub(crate) fn limits(resources: &Resources) -> Result<Vec<Property>> {
    let mut list = Vec::new();
    if let Some(memory) = &resources.memory {
        of_memory(&mut list, memory)?;
    }
    if let Some(cpu) = &resources.cpu {
        of_cpu(&mut list, cpu)?;
    }
    if let Some(limit) = resources.pids.as_ref().map(|pids| pids.limit).filter(|limit| *limit != 0) {
        list.push(property("TasksMax", Value::U64(u64::try_from(limit).unwrap_or(INFINITY))));
    }
    let weight = resources.block_io.as_ref().and_then(|io| io.weight).filter(|weight| *weight != 0);
    if let Some(weight) = weight {
        list.push(property("IOWeight", Value::U64(plan::io_weight(weight)?)));
    }
    for (file, value) in &resources.unified {
        list.extend(of_unified(file, value)?);
    }
    Ok(list)
}

fn of_memory(list: &mut Vec<Property>, memory: &Memory) -> Result<()> {
    let bytes = |bytes: i64| Value::U64(u64::try_from(bytes).unwrap_or(INFINITY));
    let limit = memory.limit.filter(|limit| *limit != 0);
    if let Some(limit) = limit {
        list.push(property("MemoryMax", bytes(limit)));
    }
    if let Some(reservation) = memory.reservation.filter(|reservation| *reservation != 0) {
        list.push(property("MemoryLow", bytes(reservation)));
    }
    if let Some(swap) = plan::swap_alone(limit, memory.swap)? {
        list.push(property("MemorySwapMax", bytes(swap)));
    }
    Ok(())
}

fn of_cpu(list: &mut Vec<Property>, cpu: &Cpu) -> Result<()> {
    // An idle group has no weight; systemd says so by a weight of zero.
    let weight = match (cpu.idle, cpu.shares) {
        (Some(1), _) => Some(0),
        (_, Some(shares)) if shares != 0 => Some(plan::weight_of_shares(shares)),
        _ => None,
    };
    list.extend(weight.map(|weight| property("CPUWeight", Value::U64(weight))));
    let (quota, period) = (cpu.quota.unwrap_or(0), cpu.period.unwrap_or(0));
    if quota != 0 || period != 0 {
        list.extend(quota_of(quota, period));
    }
    for (set, name) in [(&cpu.cpus, "AllowedCPUs"), (&cpu.mems, "AllowedMemoryNodes")] {
        if let Some(set) = set.as_deref().filter(|set| !set.is_empty()) {
            list.push(property(name, Value::Bytes(mask(set)?)));
        }
    }
    Ok(())
}

/// A share of each second, which systemd rounds to hundredths of a processor: upwards, or a small quota would be none.
fn quota_of(quota: i64, period: u64) -> Vec<Property> {
    const HUNDREDTH: u64 = 10_000;
    let mut list = Vec::new();
    if period != 0 {
        list.push(property("CPUQuotaPeriodUSec", Value::U64(period)));
    }
    let period = if period == 0 { 100_000 } else { period };
    let share = match u64::try_from(quota) {
        Ok(quota) if quota > 0 => {
            (quota.saturating_mul(1_000_000) / period).next_multiple_of(HUNDREDTH).max(HUNDREDTH)
        }
        _ => INFINITY,
    };
    list.push(property("CPUQuotaPerSecUSec", Value::U64(share)));
    list
}

/// `0-2,7` as bits, the lowest first.
fn mask(set: &str) -> Result<Vec<u8>> {
    let invalid =
        || Error::InvalidLimit { field: "cpu.cpus", reason: format!("{set:?} is no list such as \"0-2,7\"") };
    let mut bits = Vec::new();
    for range in set.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let first: usize = first.trim().parse().map_err(|_| invalid())?;
        let last: usize = last.trim().parse().map_err(|_| invalid())?;
        // No kernel counts further.
        if first > last || last >= 8192 {
            return Err(invalid());
        }
        bits.resize(bits.len().max(last / 8 + 1), 0);
        (first..=last).for_each(|bit| bits[bit / 8] |= 1_u8 << (bit % 8));
    }
    Ok(bits)
}

/// The files of `unified` that systemd would overwrite otherwise. One that it has no word for stands by itself.
fn of_unified(file: &str, value: &str) -> Result<Vec<Property>> {
    let invalid =
        || Error::InvalidLimit { field: "unified", reason: format!("{value:?} is no value of {file}") };
    let value = value.trim();
    let number = || if value == "max" { Ok(INFINITY) } else { value.parse().map_err(|_| invalid()) };
    let named = |name| Ok(vec![property(name, Value::U64(number()?))]);
    match file {
        "cpu.weight" => named("CPUWeight"),
        "cpu.idle" if value == "1" => Ok(vec![property("CPUWeight", Value::U64(0))]),
        "cpu.max" => {
            let (quota, period) = value.split_once(' ').unwrap_or((value, "100000"));
            let quota = if quota == "max" { -1 } else { quota.parse().map_err(|_| invalid())? };
            Ok(quota_of(quota, period.trim().parse().map_err(|_| invalid())?))
        }
        "cpuset.cpus" => Ok(vec![property("AllowedCPUs", Value::Bytes(mask(value)?))]),
        "cpuset.mems" => Ok(vec![property("AllowedMemoryNodes", Value::Bytes(mask(value)?))]),
        "memory.max" => named("MemoryMax"),
        "memory.high" => named("MemoryHigh"),
        "memory.low" => named("MemoryLow"),
        "memory.min" => named("MemoryMin"),
        "memory.swap.max" => named("MemorySwapMax"),
        "pids.max" => named("TasksMax"),
        _ => Ok(Vec::new()),
    }
}

/// Properties that annotations ask for: `org.systemd.property.TimeoutStopUSec: "uint64 1000000"`.
///
/// # Errors
/// A name or a value that cannot be one.
pub(crate) fn of_annotations(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>> {
    let asked = annotations.iter().filter_map(|(key, text)| Some((key.strip_prefix(ANNOTATION)?, text)));
    asked
        .map(|(name, text)| {
            let invalid = |rule: &str| Error::InvalidLimit {
                field: "annotations",
                reason: format!("{ANNOTATION}{name}: {text:?} {rule}"),
            };
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
                return Err(invalid("names no property"));
            }
            let value = parse(text.trim())
                .ok_or_else(|| invalid("is not of the form true, 'text', uint64 5 or int32 5"))?;
            Ok(in_microseconds(name, value))
        })
        .collect()
}

/// As much of GVariant's text format as properties need.
fn parse(text: &str) -> Option<Value> {
    let quoted = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    if let Some(inner) = quoted('\'').or_else(|| quoted('"')) {
        return (!inner.contains(['\'', '"', '\\'])).then(|| Value::Text(inner.to_owned()));
    }
    match text.split_once(' ') {
        Some(("uint64", number)) => number.trim().parse().ok().map(Value::U64),
        Some(("uint32", number)) => number.trim().parse().ok().map(Value::U32),
        Some(("int32", number)) => number.trim().parse().ok().map(Value::I32),
        Some(_) => None,
        None if text == "true" || text == "false" => Some(Value::Bool(text == "true")),
        // A bare number is an int32 there.
        None => text.parse().ok().map(Value::I32),
    }
}

/// Over D-Bus times are named `…USec`; in files, which people know, `…Sec`.
fn in_microseconds(name: &str, value: Value) -> Property {
    let seconds = match (name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')), &value) {
        (Some(stem), Value::U64(n)) => Some((stem, *n)),
        (Some(stem), Value::U32(n)) => Some((stem, u64::from(*n))),
        (Some(stem), Value::I32(n)) => u64::try_from(*n).ok().map(|n| (stem, n)),
        _ => None,
    };
    match seconds {
        Some((stem, n)) => (format!("{stem}USec"), Value::U64(n.saturating_mul(1_000_000))),
        None => (name.to_owned(), value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits_of(json: &str) -> Vec<(String, Value)> {
        limits(&serde_json::from_str(json).unwrap()).unwrap()
    }

    fn numbers(json: &str) -> Vec<(String, u64)> {
        let number = |(name, value)| match value {
            Value::U64(number) => (name, number),
            other => panic!("{other:?}"),
        };
        limits_of(json).into_iter().map(number).collect()
    }

    fn named(list: &[(&str, u64)]) -> Vec<(String, u64)> {
        list.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
    }

    #[test]
    fn limits_have_systemds_names_and_units() {
        assert_eq!(
            numbers(r#"{"memory": {"limit": 1000, "swap": 1500, "reservation": 10}, "pids": {"limit": 7}}"#),
            named(&[("MemoryMax", 1000), ("MemoryLow", 10), ("MemorySwapMax", 500), ("TasksMax", 7)])
        );
        assert_eq!(
            numbers(r#"{"memory": {"limit": -1}, "pids": {"limit": -1}}"#),
            named(&[("MemoryMax", INFINITY), ("MemorySwapMax", INFINITY), ("TasksMax", INFINITY)])
        );
        assert_eq!(
            numbers(r#"{"cpu": {"quota": 12345, "period": 100000, "shares": 1024}}"#),
            named(&[("CPUWeight", 100), ("CPUQuotaPeriodUSec", 100_000), ("CPUQuotaPerSecUSec", 130_000)])
        );
        assert_eq!(numbers(r#"{"cpu": {"quota": -1}}"#), named(&[("CPUQuotaPerSecUSec", INFINITY)]));
        assert_eq!(numbers(r#"{"cpu": {"idle": 1, "shares": 5}}"#), named(&[("CPUWeight", 0)]));
        assert_eq!(numbers(r#"{"blockIO": {"weight": 1000}}"#), named(&[("IOWeight", 10_000)]));
        assert_eq!(
            numbers(
                r#"{"unified": {"memory.high": "max", "cpu.max": "50000 100000", "hugetlb.2MB.max": "0"}}"#
            ),
            named(&[
                ("CPUQuotaPeriodUSec", 100_000),
                ("CPUQuotaPerSecUSec", 500_000),
                ("MemoryHigh", INFINITY)
            ])
        );
        assert!(limits_of("{}").is_empty());
    }

    #[test]
    fn processors_are_bits() {
        assert_eq!(mask("0-2,7,9").unwrap(), [0b1000_0111, 0b10]);
        assert_eq!(mask("8").unwrap(), [0, 1]);
        for bad in ["x", "3-1", "0-", "-1", "99999999"] {
            assert!(mask(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn annotations_become_properties() {
        let asked = |name: &str, text: &str| {
            of_annotations(&BTreeMap::from([(format!("{ANNOTATION}{name}"), text.to_owned())]))
        };
        let one = |name: &str, value| vec![(name.to_owned(), value)];
        assert_eq!(asked("TimeoutStopUSec", "uint64 5").unwrap(), one("TimeoutStopUSec", Value::U64(5)));
        assert_eq!(asked("TimeoutStopSec", "2").unwrap(), one("TimeoutStopUSec", Value::U64(2_000_000)));
        assert_eq!(
            asked("CollectMode", "'inactive'").unwrap(),
            one("CollectMode", Value::Text("inactive".into()))
        );
        assert_eq!(asked("SendSIGHUP", "true").unwrap(), one("SendSIGHUP", Value::Bool(true)));
        for (name, text) in [("X", "what"), ("X", "'a"), ("", "true"), ("A B", "true"), ("X", "uint64 -1")] {
            assert!(asked(name, text).is_err(), "{name} {text}");
        }
        assert!(of_annotations(&BTreeMap::from([("other".to_owned(), "x".to_owned())])).unwrap().is_empty());
    }
}
