//! The plan for disks: weights and throttles.

use tare_oci::runtime::{BlockIo, ThrottleDevice};

use super::{Missing, Plan};
use crate::error::{Error, Result};

fn weight_fits(weight: u16, field: &'static str) -> Result<u16> {
    if (10..=1000).contains(&weight) {
        return Ok(weight);
    }
    Err(Error::InvalidLimit { field, reason: format!("{weight} is not within 10 and 1000") })
}

/// v1's range of weights (10 to 1000) as that of `io.weight` (1 to 10000).
pub(crate) fn io_weight(weight: u16) -> Result<u64> {
    let weight = u64::from(weight_fits(weight, "blockIO.weight")?);
    Ok(1 + (weight - 10) * 9999 / 990)
}

pub(super) fn v1_block_io(plan: &mut Plan, io: &BlockIo) -> Result<()> {
    if let Some(weight) = io.weight.filter(|w| *w != 0) {
        let value = weight_fits(weight, "blockIO.weight")?.to_string();
        let instead = Missing::Instead("blkio.bfq.weight", value.clone());
        plan.add("blkio", "blkio.weight".into(), "blockIO.weight", value, instead);
    }
    if let Some(weight) = io.leaf_weight.filter(|w| *w != 0) {
        plan.set(
            "blkio",
            "blkio.leaf_weight",
            "blockIO.leafWeight",
            &weight_fits(weight, "blockIO.leafWeight")?,
        );
    }
    for device in &io.weight_device {
        let (major, minor) = (device.major, device.minor);
        if let Some(weight) = device.weight.filter(|w| *w != 0) {
            let value = format!("{major}:{minor} {}", weight_fits(weight, "blockIO.weightDevice")?);
            let instead = Missing::Instead("blkio.bfq.weight_device", value.clone());
            plan.add("blkio", "blkio.weight_device".into(), "blockIO.weightDevice", value, instead);
        }
        if let Some(weight) = device.leaf_weight.filter(|w| *w != 0) {
            let value = format!("{major}:{minor} {}", weight_fits(weight, "blockIO.weightDevice")?);
            plan.set("blkio", "blkio.leaf_weight_device", "blockIO.weightDevice", &value);
        }
    }
    for (rates, file, _, field) in throttles(io) {
        for rate in rates {
            plan.set("blkio", file, field, &format!("{}:{} {}", rate.major, rate.minor, rate.rate));
        }
    }
    Ok(())
}

pub(super) fn v2_block_io(plan: &mut Plan, io: &BlockIo) -> Result<()> {
    if let Some(weight) = io.weight.filter(|w| *w != 0) {
        // BFQ takes v1's range as it is.
        let instead = Missing::Instead("io.weight", io_weight(weight)?.to_string());
        plan.add("io", "io.bfq.weight".into(), "blockIO.weight", weight.to_string(), instead);
    }
    for device in &io.weight_device {
        if let Some(weight) = device.weight.filter(|w| *w != 0) {
            let (major, minor) = (device.major, device.minor);
            let value = format!("{major}:{minor} {}", weight_fits(weight, "blockIO.weightDevice")?);
            let instead = Missing::Instead("io.weight", format!("{major}:{minor} {}", io_weight(weight)?));
            plan.add("io", "io.bfq.weight".into(), "blockIO.weightDevice", value, instead);
        }
    }
    for (rates, _, key, field) in throttles(io) {
        for rate in rates {
            plan.set("io", "io.max", field, &format!("{}:{} {key}={}", rate.major, rate.minor, rate.rate));
        }
    }
    Ok(())
}

/// The four throttles: rates, v1's file, v2's key, the field.
fn throttles(io: &BlockIo) -> [(&[ThrottleDevice], &'static str, &'static str, &'static str); 4] {
    [
        (
            &io.throttle_read_bps_device,
            "blkio.throttle.read_bps_device",
            "rbps",
            "blockIO.throttleReadBpsDevice",
        ),
        (
            &io.throttle_write_bps_device,
            "blkio.throttle.write_bps_device",
            "wbps",
            "blockIO.throttleWriteBpsDevice",
        ),
        (
            &io.throttle_read_iops_device,
            "blkio.throttle.read_iops_device",
            "riops",
            "blockIO.throttleReadIOPSDevice",
        ),
        (
            &io.throttle_write_iops_device,
            "blkio.throttle.write_iops_device",
            "wiops",
            "blockIO.throttleWriteIOPSDevice",
        ),
    ]
}
