//! Devices, rates, processor shares and resource limits.

use tare_docker_api::{DeviceMapping, DeviceRequest, RestartPolicy, ThrottleDevice, Ulimit, WeightDevice};
use tare_model::{ULIMITS, parse_bytes};

use super::words::{Said, fields};

/// One value of `--device`.
#[derive(Debug, PartialEq)]
pub(crate) enum Device {
    /// `host[:container[:mode]]`
    Path(DeviceMapping),
    /// `vendor.com/class=name`
    Named(String),
}

/// Reads a value of `--device`.
pub(crate) fn device(text: &str) -> Said<Device> {
    let named = !text.starts_with('/') && text.split_once('=').is_some_and(|(class, _)| class.contains('/'));
    if named {
        return Ok(Device::Named(text.to_owned()));
    }
    let is_mode = |mode: &str| !mode.is_empty() && mode.bytes().all(|b| b"rwm".contains(&b));
    let (host, container, mode) = match text.split(':').collect::<Vec<_>>()[..] {
        [host] => (host, host, "rwm"),
        [host, mode] if is_mode(mode) => (host, host, mode),
        [host, container] => (host, container, "rwm"),
        [host, container, mode] if is_mode(mode) => (host, container, mode),
        [_, _, mode] => return Err(format!("bad mode specified: {mode}")),
        _ => return Err(format!("invalid device specification: {text}")),
    };
    if host.is_empty() || !container.starts_with('/') {
        return Err(format!("{text} is not an absolute path"));
    }
    Ok(Device::Path(DeviceMapping {
        path_on_host: host.to_owned(),
        path_in_container: container.to_owned(),
        cgroup_permissions: mode.to_owned(),
    }))
}

fn of_device(text: &str) -> Said<(String, &str)> {
    let (path, value) = text.split_once(':').ok_or_else(|| format!("bad format: {text}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    Ok((path.to_owned(), value))
}

/// `--blkio-weight-device path:weight`
pub(crate) fn weight(text: &str) -> Said<WeightDevice> {
    let (path, value) = of_device(text)?;
    let weight = value.parse().ok().filter(|weight| *weight == 0 || (10..=1000).contains(weight));
    Ok(WeightDevice { path, weight: weight.ok_or_else(|| format!("invalid weight for device: {text}"))? })
}

/// `--device-read-bps path:rate[unit]`
pub(crate) fn bytes_a_second(text: &str) -> Said<ThrottleDevice> {
    let (path, value) = of_device(text)?;
    let bad =
        || format!("invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]");
    Ok(ThrottleDevice { path, rate: parse_bytes(value).map_err(|_| bad())? })
}

/// `--device-read-iops path:rate`
pub(crate) fn operations_a_second(text: &str) -> Said<ThrottleDevice> {
    let (path, value) = of_device(text)?;
    let bad = || format!("invalid rate for device: {text}. The correct format is <device-path>:<number>");
    Ok(ThrottleDevice { path, rate: value.parse().map_err(|_| bad())? })
}

/// `--gpus all`, `--gpus 2`, `--gpus device=0,1`, `--gpus '"capabilities=utility,video",count=2'`
pub(crate) fn gpus(text: &str) -> Said<DeviceRequest> {
    let mut request = DeviceRequest { options: Some([].into()), ..DeviceRequest::default() };
    let mut capabilities = Vec::new();
    let mut named = false;
    for field in split_list(text)? {
        let (key, value) = field.split_once('=').unwrap_or(("count", &field));
        match key {
            "driver" => request.driver = value.to_owned(),
            "count" => {
                request.count = count(value)?;
                named = true;
            }
            "device" => {
                request.device_ids = Some(value.split(',').map(str::to_owned).collect());
                named = true;
            }
            "capabilities" => capabilities.extend(value.split(',').map(str::to_owned)),
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if !named {
        request.count = 1;
    }
    capabilities.push("gpu".to_owned());
    request.capabilities = Some(vec![capabilities]);
    Ok(request)
}

/// A list in which `device=0,1` is one field although nobody quoted it.
fn split_list(text: &str) -> Said<Vec<String>> {
    let mut all: Vec<String> = Vec::new();
    for field in fields(text)? {
        match all.last_mut() {
            Some(last) if last.starts_with("device=") && !field.contains('=') => {
                *last += &format!(",{field}")
            }
            _ => all.push(field),
        }
    }
    Ok(all)
}

fn count(text: &str) -> Said<i64> {
    match text {
        "all" => Ok(-1),
        number => number.parse().map_err(|_| format!("count must be an integer, not \"{number}\"")),
    }
}

/// `--ulimit name=soft[:hard]`
pub(crate) fn ulimit(text: &str) -> Said<Ulimit> {
    let (name, limits) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |digits: &str| digits.parse::<i64>().map_err(|_| format!("invalid ulimit value: {limits}"));
    let (soft, hard) = match limits.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(limits)?, number(limits)?),
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(Ulimit { name: name.to_owned(), hard, soft })
}

/// `--cpus 1.5`, in billionths.
pub(crate) fn cpus(text: &str) -> Said<i64> {
    let bad = || format!("failed to parse {text} as a decimal number");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.len() + fraction.len() == 0 {
        return Err(bad());
    }
    if fraction.trim_end_matches('0').len() > 9 {
        return Err("value is too precise".into());
    }
    let fraction: i64 = format!("{:0<9.9}", fraction).parse().map_err(|_| bad())?;
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
    whole.checked_mul(1_000_000_000).and_then(|whole| whole.checked_add(fraction)).ok_or_else(bad)
}

/// `--memory-swap`: a size, or -1 for no limit.
pub(crate) fn swap(text: &str) -> Said<i64> {
    if text == "-1" {
        return Ok(-1);
    }
    let bytes = parse_bytes(text).map_err(|error| error.to_string())?;
    i64::try_from(bytes).map_err(|_| "too large".to_owned())
}

/// `--restart name[:count]`
pub(crate) fn restart(text: &str) -> Said<RestartPolicy> {
    let (name, count) = text.split_once(':').unwrap_or((text, "0"));
    if name.is_empty() {
        return Err(format!("invalid restart policy format: no policy provided before colon in \"{text}\""));
    }
    let count = count
        .parse()
        .map_err(|_| "invalid restart policy format: maximum retry count must be an integer".to_owned())?;
    Ok(RestartPolicy { name: name.to_owned(), maximum_retry_count: count })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mapping(host: &str, container: &str, mode: &str) -> Device {
        let [path_on_host, path_in_container, cgroup_permissions] =
            [host, container, mode].map(str::to_owned);
        Device::Path(DeviceMapping { path_on_host, path_in_container, cgroup_permissions })
    }

    #[test]
    fn devices_are_read_in_every_form() {
        assert_eq!(device("/dev/null").unwrap(), mapping("/dev/null", "/dev/null", "rwm"));
        assert_eq!(device("/dev/null:r").unwrap(), mapping("/dev/null", "/dev/null", "r"));
        assert_eq!(device("/dev/fuse:/dev/x:rw").unwrap(), mapping("/dev/fuse", "/dev/x", "rw"));
        assert_eq!(device("vendor.com/net=eth0").unwrap(), Device::Named("vendor.com/net=eth0".into()));
        assert_eq!(device("/dev/a:/b:zz").unwrap_err(), "bad mode specified: zz");
        assert!(device("/a:/b:r:w").is_err() && device("/dev/a:b").is_err() && device("").is_err());
    }

    #[test]
    fn numbers_keep_their_meaning() {
        assert_eq!(cpus("1.5"), Ok(1_500_000_000));
        assert_eq!(cpus(".25"), Ok(250_000_000));
        assert_eq!(cpus("2"), Ok(2_000_000_000));
        assert_eq!(cpus("0.000000001"), Ok(1));
        for bad in ["", ".", "x", "-1", "1e3", "0.0000000001", "99999999999"] {
            assert!(cpus(bad).is_err(), "{bad}");
        }
        assert_eq!((swap("-1"), swap("1k")), (Ok(-1), Ok(1024)));
        assert_eq!(restart("on-failure:3").unwrap().maximum_retry_count, 3);
        assert!(restart("on-failure:x").is_err() && restart(":1").is_err());
    }

    #[test]
    fn limits_have_known_names_and_an_order() {
        let limit = |soft, hard| Ulimit { name: "nofile".into(), soft, hard };
        assert_eq!(ulimit("nofile=10:20").unwrap(), limit(10, 20));
        assert_eq!(ulimit("nofile=5").unwrap(), limit(5, 5));
        assert_eq!(ulimit("nofile=-1").unwrap(), limit(-1, -1));
        assert_eq!(ulimit("x=1").unwrap_err(), "invalid ulimit type: x");
        assert!(ulimit("nofile=3:2").is_err() && ulimit("nofile=-1:2").is_err() && ulimit("nofile").is_err());
    }

    #[test]
    fn rates_belong_to_devices() {
        assert_eq!(bytes_a_second("/dev/sda:1mb").unwrap().rate, 1 << 20);
        assert_eq!(operations_a_second("/dev/sda:7").unwrap().rate, 7);
        assert_eq!(weight("/dev/sda:100").unwrap().weight, 100);
        assert!(
            weight("/dev/sda:5").is_err()
                && weight("/sda:100").is_err()
                && bytes_a_second("/dev/sda:x").is_err()
        );
    }

    #[test]
    fn gpus_are_counted_or_named() {
        assert_eq!(gpus("all").unwrap().count, -1);
        assert_eq!(gpus("device=0,1").unwrap().device_ids.unwrap(), ["0", "1"]);
        let both = gpus("\"capabilities=utility,video\",count=2").unwrap();
        assert_eq!((both.count, both.capabilities.unwrap()[0].len()), (2, 3));
        assert!(gpus("some").is_err() && gpus("a=b").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9a-z=:,./\"-]{0,24}") {
            let _ = (device(&text), weight(&text), bytes_a_second(&text), operations_a_second(&text), gpus(&text));
            let _ = (ulimit(&text), cpus(&text), swap(&text), restart(&text));
        }
    }
}
