use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::wire::{Empty, is_empty, null_as_default, words};
use crate::{EndpointSettings, GraphDriver, HostConfig, NetworkingConfig, PortMap};

/// What runs, independent of the host. Also `Config` of images and the body of `POST /containers/create`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the fields are the Engine API's own, which its reference describes")]
pub struct ContainerConfig {
    #[serde(deserialize_with = "null_as_default")]
    pub hostname: String,
    #[serde(deserialize_with = "null_as_default")]
    pub domainname: String,
    #[serde(deserialize_with = "null_as_default")]
    pub user: String,
    #[serde(deserialize_with = "null_as_default")]
    pub attach_stdin: bool,
    #[serde(deserialize_with = "null_as_default")]
    pub attach_stdout: bool,
    #[serde(deserialize_with = "null_as_default")]
    pub attach_stderr: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, Empty>>,
    #[serde(deserialize_with = "null_as_default")]
    pub tty: bool,
    #[serde(deserialize_with = "null_as_default")]
    pub open_stdin: bool,
    #[serde(deserialize_with = "null_as_default")]
    pub stdin_once: bool,
    pub env: Option<Vec<String>>,
    #[serde(deserialize_with = "words")]
    pub cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "is_empty")]
    pub args_escaped: bool,
    #[serde(deserialize_with = "null_as_default")]
    pub image: String,
    pub volumes: Option<BTreeMap<String, Empty>>,
    #[serde(deserialize_with = "null_as_default")]
    pub working_dir: String,
    #[serde(deserialize_with = "words")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "is_empty")]
    pub network_disabled: bool,
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "is_empty")]
    pub mac_address: String,
    pub on_build: Option<Vec<String>>,
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "is_empty")]
    pub stop_signal: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    #[serde(deserialize_with = "words", skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

wire! {
    /// One of `GET /containers/{id}/changes`.
    pub struct FileChange {
        pub path: String,
        pub kind: u8,
    }

    /// How health is probed; times in nanoseconds, 0 = inherit.
    pub struct HealthConfig {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub test: Option<Vec<String>>,
        #[serde(skip_serializing_if = "is_empty")]
        pub interval: i64,
        #[serde(skip_serializing_if = "is_empty")]
        pub timeout: i64,
        #[serde(skip_serializing_if = "is_empty")]
        pub start_period: i64,
        #[serde(skip_serializing_if = "is_empty")]
        pub start_interval: i64,
        #[serde(skip_serializing_if = "is_empty")]
        pub retries: i64,
    }
}

/// Body of `POST /containers/create`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerCreateRequest {
    /// What runs.
    #[serde(flatten)]
    pub config: ContainerConfig,
    /// How the host runs it.
    #[serde(deserialize_with = "null_as_default")]
    pub host_config: HostConfig,
    /// Which networks it is on.
    #[serde(deserialize_with = "null_as_default")]
    pub networking_config: NetworkingConfig,
}

wire! {
    /// Reply to `POST /containers/create`.
    pub struct ContainerCreateResponse {
        pub id: String,
        pub warnings: Vec<String>,
    }

    /// One of `GET /containers/json`.
    pub struct ContainerSummary {
        pub id: String,
        pub names: Vec<String>,
        pub image: String,
        #[serde(rename = "ImageID")]
        pub image_id: String,
        pub command: String,
        pub created: i64,
        pub ports: Vec<Port>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_rw: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_root_fs: Option<i64>,
        pub labels: BTreeMap<String, String>,
        pub state: String,
        pub status: String,
        pub host_config: ContainerSummaryHost,
        pub network_settings: ContainerSummaryNetworks,
        pub mounts: Vec<MountPoint>,
    }

    /// The little of [`HostConfig`] that a list shows.
    pub struct ContainerSummaryHost {
        pub network_mode: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub annotations: Option<BTreeMap<String, String>>,
    }

    /// The little of [`NetworkSettings`] that a list shows.
    pub struct ContainerSummaryNetworks {
        pub networks: BTreeMap<String, EndpointSettings>,
    }

    /// A port as lists show it; without a public port it is exposed only.
    pub struct Port {
        #[serde(rename = "IP", skip_serializing_if = "is_empty")]
        pub ip: String,
        pub private_port: u16,
        #[serde(skip_serializing_if = "is_empty")]
        pub public_port: u16,
        #[serde(rename = "Type")]
        pub kind: String,
    }

    /// Something mounted in a container.
    pub struct MountPoint {
        #[serde(rename = "Type")]
        pub kind: String,
        #[serde(skip_serializing_if = "is_empty")]
        pub name: String,
        pub source: String,
        pub destination: String,
        #[serde(skip_serializing_if = "is_empty")]
        pub driver: String,
        pub mode: String,
        #[serde(rename = "RW")]
        pub rw: bool,
        pub propagation: String,
    }

    /// Reply to `GET /containers/{id}/json`.
    pub struct ContainerInspect {
        pub id: String,
        pub created: String,
        pub path: String,
        pub args: Vec<String>,
        pub state: ContainerState,
        pub image: String,
        pub resolv_conf_path: String,
        pub hostname_path: String,
        pub hosts_path: String,
        pub log_path: String,
        pub name: String,
        pub restart_count: i64,
        pub driver: String,
        pub platform: String,
        pub mount_label: String,
        pub process_label: String,
        pub app_armor_profile: String,
        #[serde(rename = "ExecIDs")]
        pub exec_ids: Option<Vec<String>>,
        pub host_config: HostConfig,
        pub graph_driver: GraphDriver,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_rw: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_root_fs: Option<i64>,
        pub mounts: Vec<MountPoint>,
        pub config: ContainerConfig,
        pub network_settings: NetworkSettings,
    }

    /// What a container is doing. Times are RFC 3339, `0001-01-01T00:00:00Z` for never.
    pub struct ContainerState {
        pub status: String,
        pub running: bool,
        pub paused: bool,
        pub restarting: bool,
        #[serde(rename = "OOMKilled")]
        pub oom_killed: bool,
        pub dead: bool,
        pub pid: i64,
        pub exit_code: i64,
        pub error: String,
        pub started_at: String,
        pub finished_at: String,
    }

    /// A container's place in the network.
    pub struct NetworkSettings {
        pub bridge: String,
        #[serde(rename = "SandboxID")]
        pub sandbox_id: String,
        pub sandbox_key: String,
        pub ports: PortMap,
        pub hairpin_mode: bool,
        #[serde(rename = "LinkLocalIPv6Address")]
        pub link_local_ipv6_address: String,
        #[serde(rename = "LinkLocalIPv6PrefixLen")]
        pub link_local_ipv6_prefix_len: i64,
        #[serde(rename = "SecondaryIPAddresses")]
        pub secondary_ip_addresses: Option<Vec<serde_json::Value>>,
        #[serde(rename = "SecondaryIPv6Addresses")]
        pub secondary_ipv6_addresses: Option<Vec<serde_json::Value>>,
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        pub gateway: String,
        #[serde(rename = "GlobalIPv6Address")]
        pub global_ipv6_address: String,
        #[serde(rename = "GlobalIPv6PrefixLen")]
        pub global_ipv6_prefix_len: i64,
        #[serde(rename = "IPAddress")]
        pub ip_address: String,
        #[serde(rename = "IPPrefixLen")]
        pub ip_prefix_len: i64,
        #[serde(rename = "IPv6Gateway")]
        pub ipv6_gateway: String,
        pub mac_address: String,
        pub networks: BTreeMap<String, EndpointSettings>,
    }

    /// Reply to `GET /containers/{id}/top`.
    pub struct ContainerTop {
        pub titles: Vec<String>,
        pub processes: Vec<Vec<String>>,
    }

    /// Reply to `POST /containers/{id}/wait`.
    pub struct ContainerWait {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub error: Option<ContainerWaitError>,
        pub status_code: i64,
    }

    /// Why a wait ended without an exit of its own.
    pub struct ContainerWaitError {
        pub message: String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_create_body_reads_as_go_reads_it() {
        let body = r#"{"Image":"debian","Cmd":"true","Entrypoint":null,"Tty":null,"Unknown":{"a":1},"Labels":null,
            "ExposedPorts":{"80/tcp":{}},"HostConfig":{"Memory":1048576,"PortBindings":{"80/tcp":null},"Binds":null},
            "NetworkingConfig":null}"#;
        let request: ContainerCreateRequest = serde_json::from_str(body).unwrap();
        assert_eq!(request.config.cmd.as_deref(), Some(&["true".to_owned()][..]));
        assert_eq!((request.config.entrypoint, request.config.tty), (None, false));
        assert_eq!(request.host_config.memory, 1 << 20);
        assert_eq!(request.host_config.port_bindings.unwrap()["80/tcp"], None);
        assert_eq!(
            serde_json::from_str::<ContainerCreateRequest>("{}").unwrap(),
            ContainerCreateRequest::default()
        );
    }

    #[test]
    fn wrong_types_are_refused() {
        for bad in [
            r#"{"Image":1}"#,
            r#"{"Cmd":{}}"#,
            r#"{"HostConfig":7}"#,
            r#"{"HostConfig":{"Memory":"1g"}}"#,
            "[]",
        ] {
            assert!(serde_json::from_str::<ContainerCreateRequest>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn absent_lists_are_null_and_omitted_fields_stay_out() {
        let json = serde_json::to_value(ContainerConfig::default()).unwrap();
        assert!(json["Cmd"].is_null() && json["Volumes"].is_null() && json["Labels"].is_null());
        assert!(json.get("ExposedPorts").is_none() && json.get("StopSignal").is_none());
    }

    #[test]
    fn a_port_that_is_only_exposed_has_no_public_side() {
        let port = Port { private_port: 80, kind: "tcp".into(), ..Port::default() };
        assert_eq!(serde_json::to_string(&port).unwrap(), r#"{"PrivatePort":80,"Type":"tcp"}"#);
    }
}
