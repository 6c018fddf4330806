//! Network namespaces that a test works in. Each is held by a thread that does in it what it is told; what the test makes
//! in them goes with them. No packet leaves.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use tare_model::Id;
use tare_network::{Config, Endpoint, EndpointRequest, Networks, PortRequest, Protocol};
use tare_store::Store;

type Work = Box<dyn FnOnce() + Send>;

/// How long what must come is waited for, on a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long what is dropped is waited for.
const IN_VAIN: Duration = Duration::from_millis(250);

/// A network namespace of its own.
pub(crate) struct Namespace {
    work: Option<Sender<Work>>,
    thread: Option<std::thread::JoinHandle<()>>,
    /// What `/proc/<this>/ns/net` is the namespace of.
    pub(crate) pid: i32,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let (work, orders) = channel::<Work>();
        let (report, born) = channel();
        let thread = std::thread::spawn(move || {
            #[allow(
                deprecated,
                reason = "its successor is unsafe only because of other flags than this one"
            )]
            rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).unwrap();
            report.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
            orders.into_iter().for_each(|order| order());
        });
        let pid = born.recv().unwrap();
        let namespace = Self { work: Some(work), thread: Some(thread), pid };
        namespace.shell("ip link set lo up");
        namespace
    }

    /// Does something in the namespace and returns what came of it.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, result) = channel();
        let order = Box::new(move || drop(answer.send(work())));
        self.work.as_ref().unwrap().send(order).unwrap();
        result.recv().expect("the work panicked")
    }

    /// Runs commands in the namespace; they must succeed.
    pub(crate) fn shell(&self, script: &str) -> String {
        let script = script.to_owned();
        self.run(move || {
            let output = Command::new("sh").args(["-ec", &script]).output().unwrap();
            assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        })
    }

    /// Starts a server that answers every connection with the address it came from, until the test's process ends.
    pub(crate) fn serve(&self, address: &str) {
        let address: SocketAddr = address.parse().unwrap();
        let listener = self.run(move || TcpListener::bind(address)).unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let peer = stream.peer_addr().unwrap();
                let _ = stream.write_all(peer.ip().to_string().as_bytes());
            }
        });
    }

    /// Connects and returns what the server said: our address as the server sees it.
    pub(crate) fn ask(&self, address: &str) -> Option<String> {
        self.ask_within(PATIENCE, address)
    }

    /// Whether nobody answers there.
    pub(crate) fn asks_in_vain(&self, address: &str) -> bool {
        self.ask_within(IN_VAIN, address).is_none()
    }

    fn ask_within(&self, patience: Duration, address: &str) -> Option<String> {
        let address: SocketAddr = address.parse().unwrap();
        self.run(move || {
            let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
            stream.set_read_timeout(Some(patience)).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            Some(text).filter(|text| !text.is_empty())
        })
    }

    /// Opens a datagram socket.
    pub(crate) fn udp(&self, address: &str) -> UdpSocket {
        let address: SocketAddr = address.parse().unwrap();
        let socket =
            self.run(move || eventually(|| UdpSocket::bind(address).ok())).expect("the port is free");
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A machine with a daemon's networks, and a neighbour on its LAN: the machine is 10.9.0.1, the neighbour 10.9.0.2.
pub(crate) struct World {
    pub(crate) host: Namespace,
    pub(crate) neighbour: Namespace,
    directory: tempfile::TempDir,
}

pub(crate) const HOST: &str = "10.9.0.1";
pub(crate) const NEIGHBOUR: &str = "10.9.0.2";

impl World {
    pub(crate) fn new() -> Self {
        let (host, neighbour) = (Namespace::new(), Namespace::new());
        host.shell(&format!(
            "ip link add lan type veth peer name lan netns {}; ip addr add {HOST}/24 dev lan; ip link set lan up",
            neighbour.pid
        ));
        neighbour.shell(&format!("ip addr add {NEIGHBOUR}/24 dev lan; ip link set lan up"));
        // A new namespace begins with what the machine has; this one's daemon is the first that wants it.
        host.shell("echo 0 > /proc/sys/net/ipv4/ip_forward");
        // To be asked for makes the kernel notice now that the other end is up.
        host.shell("ip link show dev lan");
        Self { host, neighbour, directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn daemon(&self) -> Daemon<'_> {
        self.daemon_with(Config::default())
    }

    pub(crate) fn daemon_with(&self, config: Config) -> Daemon<'_> {
        let root = self.directory.path().join(format!("instance-{}", config.instance));
        std::fs::create_dir_all(&root).unwrap();
        Daemon::open(&self.host, config, root)
    }
}

/// A daemon's networks, used from within the machine's namespace.
pub(crate) struct Daemon<'a> {
    host: &'a Namespace,
    pub(crate) networks: Arc<Networks>,
}

impl<'a> Daemon<'a> {
    fn open(host: &'a Namespace, config: Config, root: PathBuf) -> Self {
        let networks = host.run(move || {
            let store = Store::open(&root.join("store")).unwrap();
            runtime().block_on(Networks::open(config, store, &root)).unwrap()
        });
        Self { host, networks }
    }

    pub(crate) fn try_allocate(
        &self,
        container: &Id,
        request: EndpointRequest,
    ) -> tare_network::Result<Endpoint> {
        let (networks, container) = (Arc::clone(&self.networks), container.clone());
        self.host.run(move || runtime().block_on(networks.allocate(&container, request)))
    }

    pub(crate) fn try_connect(&self, container: &Id, pid: i32) -> tare_network::Result<()> {
        let (networks, container) = (Arc::clone(&self.networks), container.clone());
        self.host.run(move || runtime().block_on(networks.connect(&container, pid)))
    }

    pub(crate) fn release(&self, container: &Id) {
        let (networks, container) = (Arc::clone(&self.networks), container.clone());
        self.host.run(move || runtime().block_on(networks.release(&container))).unwrap();
    }

    pub(crate) fn reconcile(&self, live: &[&Id]) {
        let networks = Arc::clone(&self.networks);
        let live: BTreeSet<Id> = live.iter().map(|id| (*id).clone()).collect();
        self.host.run(move || runtime().block_on(networks.reconcile(&live))).unwrap();
    }

    pub(crate) fn teardown(&self) {
        let networks = Arc::clone(&self.networks);
        self.host.run(move || runtime().block_on(networks.teardown())).unwrap();
    }

    /// A container with these ports, connected.
    pub(crate) fn container(&self, ports: Vec<PortRequest>) -> Container {
        let container = self.unconnected(ports);
        self.try_connect(&container.id, container.inside.pid).unwrap();
        container
    }

    /// A container with these ports, in no network yet.
    pub(crate) fn unconnected(&self, ports: Vec<PortRequest>) -> Container {
        let (id, inside) = (random_id(), Namespace::new());
        let request = EndpointRequest { name: "web".to_owned(), ports, ..EndpointRequest::default() };
        let endpoint = self.try_allocate(&id, request).unwrap();
        let reserved = self.networks.take_reserved(&id);
        Container { id, endpoint, inside, reserved }
    }

    /// Connects all of them at the same time.
    pub(crate) fn connect_all(&self, containers: &[Container]) {
        let networks = Arc::clone(&self.networks);
        let all: Vec<(Id, i32)> =
            containers.iter().map(|container| (container.id.clone(), container.inside.pid)).collect();
        let connect_all = async move {
            let mut running = tokio::task::JoinSet::new();
            for (container, pid) in all {
                let networks = Arc::clone(&networks);
                running.spawn(async move { networks.connect(&container, pid).await.unwrap() });
            }
            running.join_all().await;
        };
        self.host.run(move || runtime().block_on(connect_all));
    }
}

/// A namespace that a daemon has connected.
pub(crate) struct Container {
    pub(crate) id: Id,
    pub(crate) endpoint: Endpoint,
    pub(crate) inside: Namespace,
    pub(crate) reserved: Vec<std::os::fd::OwnedFd>,
}

impl Container {
    /// `address:port` of a port inside.
    pub(crate) fn at(&self, port: u16) -> String {
        SocketAddrV4::new(self.endpoint.address, port).to_string()
    }
}

/// Tries until something comes of it. A descriptor that this process closed may stay open for a moment
/// in the child that another test has forked and that has not become its program yet.
pub(crate) fn eventually<T>(attempt: impl Fn() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = attempt();
        if found.is_some() || Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn publish(host_ip: &str, host_port: u16, container_port: u16, protocol: Protocol) -> PortRequest {
    let host_ip: Ipv4Addr = host_ip.parse().unwrap();
    PortRequest {
        container_port,
        protocol,
        host_ip: Some(host_ip.into()),
        host_port: Some(host_port),
        host_port_range: None,
    }
}

pub(crate) fn random_id() -> Id {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap();
    Id::from_random(bytes)
}

/// Its threads are born in the namespace of the thread that it is made on.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}
