use std::collections::BTreeMap;

use crate::wire::is_empty;

wire! {
    /// Every error reply.
    pub struct ErrorMessage {
        #[serde(rename = "message")]
        pub message: String,
    }

    /// Reply that is an id alone.
    pub struct IdResponse {
        pub id: String,
    }

    /// Body of `POST /auth`, and base64url-coded the header `X-Registry-Auth`.
    pub struct AuthConfig {
        #[serde(rename = "username", skip_serializing_if = "is_empty")]
        pub username: String,
        #[serde(rename = "password", skip_serializing_if = "is_empty")]
        pub password: String,
        #[serde(rename = "auth", skip_serializing_if = "is_empty")]
        pub auth: String,
        #[serde(rename = "email", skip_serializing_if = "is_empty")]
        pub email: String,
        #[serde(rename = "serveraddress", skip_serializing_if = "is_empty")]
        pub server_address: String,
        #[serde(rename = "identitytoken", skip_serializing_if = "is_empty")]
        pub identity_token: String,
        #[serde(rename = "registrytoken", skip_serializing_if = "is_empty")]
        pub registry_token: String,
    }

    /// Reply to `POST /auth`.
    pub struct AuthResponse {
        pub status: String,
        pub identity_token: String,
    }

    /// Reply to `GET /version`.
    pub struct SystemVersion {
        pub platform: PlatformName,
        pub components: Vec<Component>,
        pub version: String,
        pub api_version: String,
        #[serde(rename = "MinAPIVersion")]
        pub min_api_version: String,
        pub git_commit: String,
        pub go_version: String,
        pub os: String,
        pub arch: String,
        pub kernel_version: String,
        #[serde(skip_serializing_if = "is_empty")]
        pub experimental: bool,
        #[serde(skip_serializing_if = "is_empty")]
        pub build_time: String,
    }

    /// Who made the daemon.
    pub struct PlatformName {
        pub name: String,
    }

    /// A part of the daemon and its version.
    pub struct Component {
        pub name: String,
        pub version: String,
        pub details: Option<BTreeMap<String, String>>,
    }

    /// Reply to `GET /info`.
    pub struct SystemInfo {
        #[serde(rename = "ID")]
        pub id: String,
        pub containers: u64,
        pub containers_running: u64,
        pub containers_paused: u64,
        pub containers_stopped: u64,
        pub images: u64,
        pub driver: String,
        pub driver_status: Vec<[String; 2]>,
        pub plugins: PluginsInfo,
        pub memory_limit: bool,
        pub swap_limit: bool,
        pub cpu_cfs_period: bool,
        pub cpu_cfs_quota: bool,
        #[serde(rename = "CPUShares")]
        pub cpu_shares: bool,
        #[serde(rename = "CPUSet")]
        pub cpu_set: bool,
        pub pids_limit: bool,
        #[serde(rename = "IPv4Forwarding")]
        pub ipv4_forwarding: bool,
        pub debug: bool,
        pub n_fd: u64,
        pub oom_kill_disable: bool,
        pub n_goroutines: u64,
        pub system_time: String,
        pub logging_driver: String,
        pub cgroup_driver: String,
        #[serde(skip_serializing_if = "is_empty")]
        pub cgroup_version: String,
        pub n_events_listener: u64,
        pub kernel_version: String,
        pub operating_system: String,
        #[serde(rename = "OSVersion")]
        pub os_version: String,
        #[serde(rename = "OSType")]
        pub os_type: String,
        pub architecture: String,
        pub index_server_address: String,
        pub registry_config: RegistryServiceConfig,
        #[serde(rename = "NCPU")]
        pub ncpu: u64,
        pub mem_total: u64,
        pub generic_resources: Option<Vec<serde_json::Value>>,
        pub docker_root_dir: String,
        pub http_proxy: String,
        pub https_proxy: String,
        pub no_proxy: String,
        pub name: String,
        pub labels: Vec<String>,
        pub experimental_build: bool,
        pub server_version: String,
        pub runtimes: BTreeMap<String, Runtime>,
        pub default_runtime: String,
        pub swarm: SwarmInfo,
        pub live_restore_enabled: bool,
        pub isolation: String,
        pub init_binary: String,
        pub containerd_commit: Commit,
        pub runc_commit: Commit,
        pub init_commit: Commit,
        pub security_options: Vec<String>,
        #[serde(rename = "CDISpecDirs")]
        pub cdi_spec_dirs: Vec<String>,
        pub warnings: Option<Vec<String>>,
    }

    /// What kinds of plugins there are.
    pub struct PluginsInfo {
        pub volume: Vec<String>,
        pub network: Vec<String>,
        pub authorization: Option<Vec<String>>,
        pub log: Vec<String>,
    }

    /// How registries are reached.
    pub struct RegistryServiceConfig {
        #[serde(rename = "InsecureRegistryCIDRs")]
        pub insecure_registry_cidrs: Vec<String>,
        pub index_configs: BTreeMap<String, IndexInfo>,
        pub mirrors: Option<Vec<String>>,
    }

    /// How one registry is reached.
    pub struct IndexInfo {
        pub name: String,
        pub mirrors: Vec<String>,
        pub secure: bool,
        pub official: bool,
    }

    /// A runtime that containers can ask for.
    pub struct Runtime {
        #[serde(rename = "path", skip_serializing_if = "is_empty")]
        pub path: String,
        #[serde(rename = "runtimeArgs", skip_serializing_if = "Option::is_none")]
        pub runtime_args: Option<Vec<String>>,
    }

    /// A swarm; here always `inactive`.
    pub struct SwarmInfo {
        #[serde(rename = "NodeID")]
        pub node_id: String,
        pub node_addr: String,
        pub local_node_state: String,
        pub control_available: bool,
        pub error: String,
        pub remote_managers: Option<Vec<serde_json::Value>>,
    }

    /// Which revision a part was built from.
    pub struct Commit {
        #[serde(rename = "ID")]
        pub id: String,
    }
}
