//! Huge pages, and RDMA.

use std::collections::BTreeMap;
use std::fs;

use super::{number, text};
use crate::error::Result;
use crate::file::keyed;
use crate::group::Dir;
use crate::stats::{HugePageStats, RdmaStats};

/// Figures of every size that the kernel has, by its name in control files: `2MB`.
pub(super) fn huge_pages(dir: &Dir) -> Result<BTreeMap<String, HugePageStats>> {
    let Ok(sizes) = fs::read_dir("/sys/kernel/mm/hugepages") else { return Ok(BTreeMap::new()) };
    let names = sizes.flatten().filter_map(|entry| size(entry.file_name().to_str()?));
    names.map(|name| figures(dir, &name).map(|figures| (name, figures))).collect()
}

fn figures(dir: &Dir, size: &str) -> Result<HugePageStats> {
    if dir.hierarchy.unified {
        let events = text(dir, &format!("hugetlb.{size}.events"))?;
        let usage = number(dir, &format!("hugetlb.{size}.current"))?;
        return Ok(HugePageStats { usage, max_usage: 0, failures: keyed(&events, "max").unwrap_or(0) });
    }
    Ok(HugePageStats {
        usage: number(dir, &format!("hugetlb.{size}.usage_in_bytes"))?,
        max_usage: number(dir, &format!("hugetlb.{size}.max_usage_in_bytes"))?,
        failures: number(dir, &format!("hugetlb.{size}.failcnt"))?,
    })
}

/// `hugepages-2048kB` is `2MB` to cgroups.
fn size(directory: &str) -> Option<String> {
    let kilobytes: u64 = directory.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match kilobytes {
        kb if kb >= 1 << 20 => format!("{}GB", kb >> 20),
        kb if kb >= 1 << 10 => format!("{}MB", kb >> 10),
        kb => format!("{kb}KB"),
    })
}

/// Devices with what is used of them and what may be.
pub(super) fn rdma(dir: &Dir) -> Result<BTreeMap<String, RdmaStats>> {
    Ok(parse_rdma(&text(dir, "rdma.current")?, &text(dir, "rdma.max")?))
}

/// Lines of `mlx5_0 hca_handle=2 hca_object=max`.
fn parse_rdma(current: &str, limit: &str) -> BTreeMap<String, RdmaStats> {
    let mut devices: BTreeMap<String, RdmaStats> = BTreeMap::new();
    for (text, is_limit) in [(current, false), (limit, true)] {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let Some(device) = words.next() else { continue };
            let entry = devices.entry(device.to_owned()).or_default();
            for (key, value) in words.filter_map(|word| word.split_once('=')) {
                let value: Option<u32> = value.parse().ok();
                match (key, is_limit) {
                    ("hca_handle", false) => entry.handles = value.unwrap_or(0),
                    ("hca_object", false) => entry.objects = value.unwrap_or(0),
                    ("hca_handle", true) => entry.handle_limit = value,
                    ("hca_object", true) => entry.object_limit = value,
                    _ => {}
                }
            }
        }
    }
    devices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_names_of_control_files() {
        let names =
            ["hugepages-2048kB", "hugepages-1048576kB", "hugepages-64kB", "x", "hugepages-kB"].map(size);
        assert_eq!(names, [Some("2MB".into()), Some("1GB".into()), Some("64KB".into()), None, None]);
    }

    #[test]
    fn rdma_devices_have_use_and_limit() {
        let devices =
            parse_rdma("mlx5_0 hca_handle=2 hca_object=20\n", "mlx5_0 hca_handle=3 hca_object=max\n\n");
        let wanted = RdmaStats { handles: 2, objects: 20, handle_limit: Some(3), object_limit: None };
        assert_eq!(devices, BTreeMap::from([("mlx5_0".to_owned(), wanted)]));
    }
}
