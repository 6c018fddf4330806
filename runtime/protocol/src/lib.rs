//! # protocol: what the daemon and a shim say to each other
//!
//! - **Owns**: `launch.json`, `exit.json`, the messages over `shim.sock` and their framing.
//! - **In**: bytes of a stream; values of the types here.
//! - **Out**: the same the other way round.
//! - **Leans on**: cgroup (the shape of its figures), oci, model.
//! - **Never**: opens a socket or a file, knows what a message is answered with.
//! - **Invariant**: nothing longer than [`MAX_MESSAGE`] is allocated for, whatever a peer says.
//!
//! A room of its own, so that the daemon speaks to shims without carrying the runtime.
//!
//! Every message, both ways, is a big-endian `u32` length and so many bytes of JSON.
//!
//! A connection starts with one [`Request`], which the shim answers with one [`Response`]. After `Watch` more responses
//! (events) follow for ever. After `Attach` the connection is a raw stream: towards the peer Docker's multiplex frames
//! (without a terminal) or raw bytes (with one), from the peer bytes for stdin, whose end is the peer's
//! `shutdown(SHUT_WR)`. After everything else the next request may follow.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tare_model::{Kind, RootMount, Timestamp};
use tare_oci::runtime::{Process, Resources};

/// The longest message, bytes: room for a process with the longest environment that execve(2) takes.
pub const MAX_MESSAGE: usize = 8 << 20;

/// The descriptor at which the shim finds its listening socket.
pub const LISTENER_FD: i32 = 3;

/// `launch.json`: what the shim is to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// The container's id.
    pub id: String,
    /// Directory that holds `config.json`.
    pub bundle: PathBuf,
    /// Mounted over the root's path, in order, inside the container's mount namespace only.
    #[serde(default)]
    pub rootfs: Vec<RootMount>,
    /// From the hierarchies' roots: `/tare/<id>`.
    pub cgroup: String,
    /// Where output is kept; absent = nowhere.
    #[serde(default)]
    pub log: Option<LogFile>,
    /// Whether init has a stdin other than /dev/null; a terminal always has.
    #[serde(default)]
    pub open_stdin: bool,
    /// Whether init's stdin ends when the first peer that was attached to it ends its own.
    #[serde(default)]
    pub stdin_once: bool,
    /// Directory of compiled seccomp filters.
    #[serde(default)]
    pub seccomp_cache: Option<PathBuf>,
    /// How many sockets from descriptor 4 on are only to be kept open.
    #[serde(default)]
    pub reserved_fds: u32,
}

/// A log in Docker's json-file format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// The newest file; older ones are `<path>.1`, `<path>.2`, …
    pub path: PathBuf,
    /// Bytes a file; 0 = it never rotates.
    pub max_size: u64,
    /// How many files in all, at least 1.
    pub max_files: u32,
}

/// What a peer asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// The state, then every event.
    Watch,
    /// Lets init run its program; answered when execve has succeeded or failed.
    Start,
    /// Turns the connection into a stream.
    Attach {
        /// An exec's id; absent = init.
        session: Option<String>,
        /// Whether the peer's bytes go to stdin.
        stdin: bool,
        /// Whether stdout is wanted.
        stdout: bool,
        /// Whether stderr is wanted.
        stderr: bool,
    },
    /// Runs one more process; answered by `Pid` when execve has succeeded.
    Exec {
        /// Its id, not in use yet.
        id: String,
        /// What to run.
        process: Box<Process>,
        /// Whether it has a stdin other than /dev/null.
        stdin: bool,
        /// Whether its output is kept for the attach that follows.
        attach: bool,
    },
    /// Sends a signal.
    Kill {
        /// An exec's id; absent = init.
        session: Option<String>,
        /// The signal's number.
        signal: i32,
        /// To every process of the container.
        all: bool,
    },
    /// Changes a terminal's size.
    Resize {
        /// An exec's id; absent = init.
        session: Option<String>,
        /// Characters.
        rows: u16,
        /// Characters.
        columns: u16,
    },
    /// Ends stdin.
    CloseStdin {
        /// An exec's id; absent = init.
        session: Option<String>,
    },
    /// Freezes all processes.
    Pause,
    /// Lets them go on.
    Resume,
    /// Changes limits.
    Update(Box<Resources>),
    /// Figures.
    Stats,
    /// Process ids, as the host sees them.
    Processes,
    /// Drops the record of an exec that has ended.
    ForgetExec {
        /// Its id.
        id: String,
    },
}

/// What the shim says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// Done.
    Ok,
    /// An exec runs.
    Pid(i32),
    /// First answer to `Watch`.
    State(State),
    /// All further answers to `Watch`.
    Event(Event),
    /// Process ids.
    Processes(Vec<i32>),
    /// Figures.
    Stats(Box<tare_cgroup::Stats>),
    /// It could not be done.
    Error {
        /// For a person.
        message: String,
        /// For a program.
        kind: Kind,
        /// 125, 126 or 127 where a process could not be started.
        exit_code: Option<u8>,
    },
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Init exists, its namespaces too; it prepares its root meanwhile.
    Pid {
        /// As the host sees it.
        pid: i32,
    },
    /// Init waits for `Start`.
    Ready,
    /// The program runs.
    Started {
        /// Since when.
        at: Timestamp,
    },
    /// The container could not be made or its program not be run. `Exited` follows, when all is cleaned up.
    Failed {
        /// Why.
        message: String,
        /// 125, 126 or 127.
        exit_code: u8,
    },
    /// The kernel ended a process for want of memory.
    Oom,
    /// An exec has ended, and its output was read to the end.
    ExecExited {
        /// Its id.
        id: String,
        /// 128 + n for signals.
        exit_code: i32,
    },
    /// Init has ended, its group is gone, `exit.json` is written. The last event.
    Exited(Exit),
}

/// How far a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Init prepares.
    Creating,
    /// Init waits for `Start`.
    Ready,
    /// The program runs.
    Running,
    /// Init has ended.
    Exited,
}

/// All that a new daemon needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// How far it is.
    pub phase: Phase,
    /// Init's, as the host sees it.
    pub pid: Option<i32>,
    /// When the program started.
    pub started_at: Option<Timestamp>,
    /// Whether it is frozen.
    pub paused: bool,
    /// Execs that were not forgotten.
    pub execs: Vec<ExecState>,
    /// How it ended.
    pub exit: Option<Exit>,
    /// Why it could not start, and 125, 126 or 127.
    pub failed: Option<(String, u8)>,
}

/// One exec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecState {
    /// Its id.
    pub id: String,
    /// As the host sees it.
    pub pid: i32,
    /// Whether it has not ended yet.
    pub running: bool,
    /// 128 + n for signals.
    pub exit_code: Option<i32>,
}

/// `exit.json`: how init ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// 128 + n for signals; 125, 126 or 127 when it could not start.
    pub exit_code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When.
    pub at: Timestamp,
    /// Whether the kernel ended one of its processes for want of memory.
    pub oom_killed: bool,
    /// Why it could not start.
    pub error: Option<String>,
}

/// One message with its length before it.
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    if length > MAX_MESSAGE {
        return Err(too_long(length));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(bytes)
}

/// The first message in `bytes` and how many of them it takes; nothing as long as it is not whole.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<Option<(T, usize)>> {
    let Some((head, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*head) as usize;
    if length > MAX_MESSAGE {
        return Err(too_long(length));
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    Ok(Some((serde_json::from_slice(body)?, 4 + length)))
}

/// Writes one message to a blocking stream.
pub fn write<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    to.write_all(&encode(message)?)
}

/// Reads one message from a blocking stream.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut head = [0; 4];
    from.read_exact(&mut head)?;
    let length = u32::from_be_bytes(head) as usize;
    if length > MAX_MESSAGE {
        return Err(too_long(length));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

fn too_long(length: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("a message of {length} bytes: at most {MAX_MESSAGE} are taken"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back_as_written_and_only_whole() {
        let request =
            Request::Attach { session: Some("e1".into()), stdin: true, stdout: true, stderr: false };
        let mut bytes = encode(&request).unwrap();
        bytes.extend_from_slice(b"stdin follows");
        for end in 0..bytes.len() - 13 {
            assert_eq!(decode::<Request>(&bytes[..end]).unwrap(), None);
        }
        assert_eq!(decode::<Request>(&bytes).unwrap(), Some((request.clone(), bytes.len() - 13)));
        assert_eq!(read::<Request>(&mut &bytes[..]).unwrap(), request);
    }

    #[test]
    fn absurd_lengths_and_nonsense_are_refused() {
        assert!(decode::<Request>(&[0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(decode::<Request>(&[0, 0, 0, 2, b'{', b'}']).is_err());
        assert!(read::<Request>(&mut &[0xff_u8, 0xff, 0xff, 0xff][..]).is_err());
    }
}
