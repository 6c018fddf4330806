use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::stream::{Arrived, Stream};
use crate::{Error, Result};

const BACKLOG: i32 = 1024;
/// Members of the socket's group may connect, others not: who may speak to the daemon is root on this machine.
const SOCKET_MODE: u32 = 0o660;
/// Strangers, and slow networks.
const PATIENCE: Duration = Duration::from_secs(60);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// A socket on which clients arrive. One on a path of the file system removes it when dropped.
pub struct Listener(Socket, Manner);

enum Socket {
    Unix(UnixListener, Option<SocketFile>),
    /// By TLS or not.
    Tcp(TcpListener, Option<TlsAcceptor>),
}

/// How its clients are met.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// Whether pages in browsers are turned away.
    pub(crate) no_pages: bool,
    /// Whether a slash at the end of a path means nothing: a registry's addresses end with one in its specification, the
    /// daemon's do not.
    pub(crate) slashes: bool,
    /// How long a client may take nothing of what it asked for, and over which time a body has to come at some speed. Without
    /// it clients may be as slow as they like, as who follows logs is.
    pub(crate) patience: Option<Duration>,
}

/// The file of a unix socket that we have bound, known by its inode so that a successor's is not removed.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Listener").field(&self.address()).finish()
    }
}

impl Listener {
    /// Listens on a unix socket with mode 0660, owned by `group` where one is given. A socket file that nobody answers on is
    /// replaced; one that is answered is [`Error::InUse`]. Must be called inside a tokio runtime, as all of these.
    pub fn unix(path: &Path, group: Option<u32>) -> Result<Self> {
        remove_stale(path)?;
        let failed = |source| Error::Listen { address: path.display().to_string(), source };
        let socket = bind_unix(path, group).map_err(failed)?;
        let file = SocketFile { path: path.to_owned(), inode: inode_of(path).map_err(failed)? };
        let listener = UnixListener::from_std(socket.into()).map_err(failed)?;
        Ok(Self(Socket::Unix(listener, Some(file)), Manner::default()))
    }

    /// Listens on TCP. There is no authentication: any address that others can reach gives them this machine.
    pub fn tcp(address: SocketAddr) -> Result<Self> {
        let failed = |source| Error::Listen { address: address.to_string(), source };
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "whoever reaches this address controls this machine; listen on a unix socket instead");
        }
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        Self::from_tcp(listener).map_err(failed)
    }

    /// Listens on TCP for clients that the front end itself judges: under any name that leads here, by TLS where `tls` says
    /// with which certificate. One that takes nothing for a minute, or sends less than a kilobyte a second over one, is cut
    /// off.
    pub fn public(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        let failed = |source| Error::Listen { address: address.to_string(), source };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        let manner = Manner { no_pages: false, slashes: true, patience: Some(PATIENCE) };
        Ok(Self(Socket::Tcp(listener, tls.map(TlsAcceptor::from)), manner))
    }

    /// Turns away what pages in browsers send, and whoever calls us by a name that is none of this machine: for a front end
    /// that asks nobody who they are.
    pub fn without_pages(mut self) -> Self {
        self.1.no_pages = true;
        self
    }

    /// Takes a socket that already listens, as systemd passes them (sd_listen_fds(3)).
    pub fn inherited(socket: OwnedFd) -> Result<Self> {
        let failed = |source| Error::Listen { address: "the inherited socket".to_owned(), source };
        match sockopt::socket_domain(&socket).map_err(|errno| failed(errno.into()))? {
            AddressFamily::UNIX => {
                let listener = std::os::unix::net::UnixListener::from(socket);
                listener.set_nonblocking(true).map_err(failed)?;
                let listener = UnixListener::from_std(listener).map_err(failed)?;
                Ok(Self(Socket::Unix(listener, None), Manner::default()))
            }
            _ => Self::from_tcp(socket.into()).map_err(failed),
        }
    }

    fn from_tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        Ok(Self(Socket::Tcp(listener, None), Manner { no_pages: true, ..Manner::default() }))
    }

    /// Where it listens, for people: `unix:///run/tare/tare.sock`, `tcp://127.0.0.1:2375`.
    pub fn address(&self) -> String {
        match &self.0 {
            Socket::Unix(_, Some(file)) => format!("unix://{}", file.path.display()),
            Socket::Unix(_, None) => "fd://".to_owned(),
            Socket::Tcp(listener, _) => {
                listener.local_addr().map_or_else(|_| "tcp://".to_owned(), |a| format!("tcp://{a}"))
            }
        }
    }

    pub(crate) fn manner(&self) -> Manner {
        self.1
    }

    pub(crate) async fn accept(&self) -> io::Result<Arrived> {
        match &self.0 {
            Socket::Unix(listener, _) => Ok(Arrived::Ready(Stream::Unix(listener.accept().await?.0))),
            Socket::Tcp(listener, tls) => {
                let (stream, _) = listener.accept().await?;
                let _ = set_options(&stream); // a connection without keepalive serves as well
                Ok(match tls {
                    None => Arrived::Ready(Stream::Tcp(stream)),
                    Some(tls) => Arrived::Greets(tls.clone(), stream),
                })
            }
        }
    }
}

fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}

fn remove_stale(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(found) if !found.file_type().is_socket() => return Err(Error::NotSocket(path.to_owned())),
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)
            .map_err(|source| Error::Listen { address: path.display().to_string(), source }),
        _ => Err(Error::InUse(path.to_owned())),
    }
}

/// The mode is set before the name exists, so that at no moment more than the owner can connect.
fn bind_unix(path: &Path, group: Option<u32>) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    if group.is_some() {
        std::os::unix::fs::lchown(path, None, group)?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn inode_of(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode_of(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = std::fs::remove_file(&self.path); // whoever removed it first did our work
        }
    }
}

/// The id of a group of this machine, by name or number (group(5)).
pub fn group_id(name: &str) -> Option<u32> {
    if let Ok(id) = name.parse() {
        return Some(id);
    }
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}
