//! Interfaces that are moved in.

use std::process::Command;

use tare_oci::runtime::{IntelRdt, NamespaceKind, NetDevice};
use tare_runtime::Error;
use tare_sys::{clone, namespace};

use crate::world::{Bundle, childless};

fn ip(arguments: &str) -> Option<String> {
    let output = Command::new("ip").args(arguments.split(' ')).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs in a network namespace of the test's own, from which the caller comes back.
fn in_own_network(test: impl FnOnce()) {
    let own = std::fs::File::open("/proc/self/ns/net").unwrap();
    namespace::unshare(clone::NEW_NETWORK).unwrap();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
    namespace::enter(std::os::fd::AsFd::as_fd(&own), clone::NEW_NETWORK).unwrap();
    result.unwrap();
}

fn with(device: &str, inside: &str, script: &str) -> Bundle {
    let mut bundle = Bundle::of(script);
    bundle.linux().net_devices.insert(device.to_owned(), NetDevice { name: inside.to_owned() });
    bundle
}

pub(crate) fn an_interface_is_moved_in_with_its_addresses() {
    in_own_network(|| {
        let make = "link add tare0 type veth peer name tare1";
        if ip(make).is_none() {
            println!("skipped: needs iproute2 and veth");
            return;
        }
        for command in [
            "addr add 192.0.2.7/24 dev tare0",
            "addr add 2001:db8::7/64 dev tare0 nodad",
            "link set tare0 mtu 1400 up",
        ] {
            ip(command).unwrap();
        }
        let before = std::fs::read_link("/proc/self/ns/net").unwrap();
        let bundle = with("tare0", "eth0", "ip addr show dev eth0; ip link show dev lo");
        let text = bundle.text();
        for part in ["192.0.2.7/24", "2001:db8::7/64", "mtu 1400", "UP"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(std::fs::read_link("/proc/self/ns/net").unwrap(), before, "the caller is where it was");
        assert!(ip("link show dev tare0").is_none(), "it is here no more");
        // Under its own name, into a user namespace.
        ip("link delete tare1");
        ip(make).unwrap();
        let mut bundle = with("tare0", "", "ip link show dev tare0");
        bundle.map_ids();
        assert!(bundle.text().contains("tare0"));
    });
    assert!(childless());
}

pub(crate) fn an_interface_that_is_not_there_is_named() {
    in_own_network(|| {
        let refusal = with("nothing0", "", "true").refusal().to_string();
        assert_eq!(refusal, "move network interface nothing0: there is none of that name on the host");
        let refusal = with("lo", "lo7", "true").refusal().to_string();
        assert!(refusal.starts_with("move network interface lo: "), "{refusal}");
    });
    let mut bundle = with("tare0", "", "true");
    bundle.join(NamespaceKind::Network, "/proc/self/ns/net".as_ref());
    assert!(bundle.refusal().to_string().contains("the runtime's own"));
    assert!(childless());
}

pub(crate) fn a_class_of_service_needs_resctrl() {
    if std::path::Path::new("/sys/fs/resctrl/schemata").exists() {
        println!("skipped: needs a machine without resctrl");
        return;
    }
    let mut bundle = Bundle::of("true");
    bundle.linux().intel_rdt = Some(IntelRdt { l3_cache_schema: "L3:0=f".to_owned(), ..IntelRdt::default() });
    let error = bundle.refusal();
    assert!(matches!(&error, Error::Spec { field, .. } if field == "linux.intelRdt"), "{error}");
}
