//! A connection to a systemd: to its own socket where that answers, else through the bus.

use std::env;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::wire::{self, Body, Call, HEAD, Kind, Message, Reader};

/// How long systemd may take for one answer or job: it moves processes and writes limits, which is milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const OBJECT: &str = "/org/freedesktop/systemd1";

/// What went wrong in a conversation.
#[derive(Debug)]
pub(crate) enum Fault {
    /// systemd's own error: its D-Bus name, and its text.
    Refused(String, String),
    /// The connection.
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(name, text) if text.is_empty() => f.write_str(name),
            Self::Refused(_, text) => f.write_str(text.trim_end_matches('.')),
            Self::Io(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                write!(f, "no answer within {} s", PATIENCE.as_secs())
            }
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

/// An open connection.
pub(crate) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// Whether a bus stands between, whose messages need an addressee.
    routed: bool,
    /// Finished jobs that were told while something else was waited for: object, result.
    finished: Vec<(String, String)>,
}

impl Bus {
    /// Connects to the system's systemd, or to that of the user.
    ///
    /// # Errors
    /// The last socket's, with its path.
    pub(crate) fn connect(user: bool) -> Result<Self, Fault> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "XDG_RUNTIME_DIR is not set");
        for (path, routed) in sockets(user) {
            match Self::open(&path, routed) {
                Ok(bus) => return Ok(bus),
                Err(Fault::Io(e)) => last = io::Error::new(e.kind(), format!("{}: {e}", path.display())),
                Err(refused) => return Err(refused),
            }
        }
        Err(last.into())
    }

    fn open(path: &Path, routed: bool) -> Result<Self, Fault> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        authenticate(&mut stream)?;
        let mut bus = Self { stream, serial: 0, routed, finished: Vec::new() };
        if routed {
            bus.subscribe()?;
        }
        Ok(bus)
    }

    /// On its own socket systemd tells every job's end; through a bus only to those who asked.
    fn subscribe(&mut self) -> Result<(), Fault> {
        const RULE: &str = "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
        let (path, bus) = ("/org/freedesktop/DBus", "org.freedesktop.DBus");
        for (member, body) in [("Hello", Body::default()), ("AddMatch", Body::default().text(RULE))] {
            self.send(&Call { destination: Some(bus), path, interface: bus, member, body })?;
        }
        self.manager("Subscribe", Body::default()).map(drop)
    }

    /// Calls a method of the manager; its answer's arguments.
    pub(crate) fn manager(&mut self, member: &str, body: Body) -> Result<Vec<u8>, Fault> {
        self.call(OBJECT, MANAGER, member, body)
    }

    /// Calls a method of any of systemd's objects.
    pub(crate) fn call(
        &mut self,
        path: &str,
        interface: &str,
        member: &str,
        body: Body,
    ) -> Result<Vec<u8>, Fault> {
        let destination = self.routed.then_some("org.freedesktop.systemd1");
        self.send(&Call { destination, path, interface, member, body })
    }

    /// Calls a method that answers with a job, and waits for the job's end; its result, `done` if all went well.
    pub(crate) fn job(&mut self, member: &str, body: Body) -> Result<String, Fault> {
        let answer = self.manager(member, body)?;
        let job = Reader::new(&answer).text()?.to_owned();
        loop {
            if let Some(at) = self.finished.iter().position(|(finished, _)| *finished == job) {
                return Ok(self.finished.swap_remove(at).1);
            }
            let message = self.receive()?;
            self.note(&message)?;
        }
    }

    fn send(&mut self, call: &Call<'_>) -> Result<Vec<u8>, Fault> {
        self.serial += 1;
        self.stream.write_all(&call.bytes(self.serial))?;
        loop {
            let message = self.receive()?;
            match message.kind {
                Kind::Answer if message.reply_to == self.serial => return Ok(message.body),
                Kind::Error if message.reply_to == self.serial => {
                    let text = Reader::new(&message.body).text().unwrap_or_default().to_owned();
                    return Err(Fault::Refused(message.error, text));
                }
                _ => self.note(&message)?,
            }
        }
    }

    /// `JobRemoved`: number, job, unit, result.
    fn note(&mut self, message: &Message) -> io::Result<()> {
        if message.kind != Kind::Signal || message.member != "JobRemoved" {
            return Ok(());
        }
        let mut reader = Reader::new(&message.body);
        reader.u32()?;
        let job = reader.text()?.to_owned();
        reader.text()?;
        self.finished.push((job, reader.text()?.to_owned()));
        Ok(())
    }

    fn receive(&mut self) -> io::Result<Message> {
        let mut head = [0; HEAD];
        self.stream.read_exact(&mut head)?;
        let mut bytes = head.to_vec();
        bytes.resize(HEAD + wire::rest(&head)?, 0);
        self.stream.read_exact(&mut bytes[HEAD..])?;
        wire::parse(&bytes)
    }
}

/// Where a systemd may listen, and whether a bus stands between.
fn sockets(user: bool) -> Vec<(PathBuf, bool)> {
    let named = if user { "DBUS_SESSION_BUS_ADDRESS" } else { "DBUS_SYSTEM_BUS_ADDRESS" };
    let named = env::var(named).ok().and_then(|address| address_path(&address)).map(|path| (path, true));
    let own: Vec<(PathBuf, bool)> = if user {
        let dir = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        dir.map(|dir| vec![(dir.join("systemd/private"), false), (dir.join("bus"), true)]).unwrap_or_default()
    } else {
        vec![("/run/systemd/private".into(), false), ("/run/dbus/system_bus_socket".into(), true)]
    };
    own.into_iter().chain(named).collect()
}

/// The path in an address such as `unix:path=/run/user/1000/bus,guid=…`.
fn address_path(address: &str) -> Option<PathBuf> {
    let keys = address.split(';').find_map(|one| one.strip_prefix("unix:"))?;
    keys.split(',').find_map(|pair| pair.strip_prefix("path=")).map(PathBuf::from)
}

/// SASL EXTERNAL without a name: one is who the kernel says, also in a user namespace, where numbers differ.
///
/// All of it is sent at once, and the answer awaited before the first message: one that systemd reads together with
/// BEGIN lies in its buffer until something else comes in.
fn authenticate(stream: &mut UnixStream) -> io::Result<()> {
    stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
    loop {
        let line = line(stream)?;
        match line.split(' ').next() {
            Some("OK") => return Ok(()),
            Some("DATA") => {}
            _ => return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("not let in: {line}"))),
        }
    }
}

/// Byte by byte: what follows the line is no longer text.
fn line(stream: &mut UnixStream) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < 1024 {
        stream.read_exact(&mut byte)?;
        match byte[0] {
            b'\n' => break,
            b'\r' => {}
            other => line.push(other),
        }
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_their_socket() {
        let path = |address| address_path(address).map(|path| path.display().to_string());
        assert_eq!(path("unix:path=/run/bus,guid=12").as_deref(), Some("/run/bus"));
        assert_eq!(path("tcp:host=x;unix:guid=1,path=/b").as_deref(), Some("/b"));
        assert_eq!(path("unix:abstract=/b"), None);
    }

    /// What `ask` gets from a systemd that says what is written in advance, and then nothing more.
    fn told<T>(script: &[u8], ask: impl FnOnce(&mut Bus) -> T) -> T {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(script).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        ask(&mut Bus { stream: ours, serial: 0, routed: false, finished: Vec::new() })
    }

    fn message(kind: u8, reply_to: u32, member: &str, texts: &[&str]) -> Vec<u8> {
        let mut fields = vec![5, 1, b'u', 0];
        fields.extend_from_slice(&reply_to.to_le_bytes());
        fields.extend_from_slice(&[if kind == 3 { 4 } else { 3 }, 1, b's', 0]);
        fields.extend_from_slice(&(member.len() as u32).to_le_bytes());
        fields.extend_from_slice(member.as_bytes());
        fields.push(0);
        let mut body = Vec::new();
        for text in texts {
            body.resize(body.len().next_multiple_of(4), 0);
            body.extend_from_slice(&(text.len() as u32).to_le_bytes());
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        if kind == 4 {
            body.splice(..0, [0; 4]);
        }
        let mut bytes = vec![b'l', kind, 0, 1];
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&[1, 0, 0, 0]);
        bytes.extend_from_slice(&(fields.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&fields);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend_from_slice(&body);
        bytes
    }

    #[test]
    fn a_job_may_end_before_it_is_answered() {
        let mut script = message(4, 0, "JobRemoved", &["/job/2", "other.scope", "failed"]);
        script.extend(message(4, 0, "JobRemoved", &["/job/1", "x.scope", "done"]));
        script.extend(message(2, 1, "", &["/job/1"]));
        let result = told(&script, |bus| bus.job("StartTransientUnit", Body::default()));
        assert_eq!(result.unwrap(), "done");
    }

    #[test]
    fn a_refusal_is_told_in_systemds_words() {
        let script = message(3, 1, "org.x.UnitExists", &["Unit x.scope already exists."]);
        let fault = told(&script, |bus| bus.manager("StartTransientUnit", Body::default())).unwrap_err();
        assert_eq!(fault.to_string(), "Unit x.scope already exists");
        assert!(matches!(fault, Fault::Refused(name, _) if name == "org.x.UnitExists"));
    }

    #[test]
    fn an_end_in_the_middle_is_an_error() {
        let script = message(2, 1, "", &["/job/1"]);
        for broken in [&script[..script.len() - 3], b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"] {
            assert!(told(broken, |bus| bus.manager("X", Body::default())).is_err());
        }
    }
}
