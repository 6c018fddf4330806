//! A daemon of strings and sleeping threads: it says what a test tells it to.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use tempfile::TempDir;

/// A request as the daemon got it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Method and path, without the version: `POST /containers/create?name=x`.
    pub(crate) what: String,
    pub(crate) body: String,
    /// The body as it came.
    pub(crate) bytes: Vec<u8>,
}

/// What the daemon answers.
pub(crate) enum Reply {
    Json(u16, String),
    /// Lines of a stream.
    Lines(Vec<String>),
    /// The head at once, the JSON when the function returns.
    Later(Box<dyn FnOnce() -> String + Send>),
    /// The connection becomes a stream.
    Hijack(Box<dyn FnOnce(UnixStream) + Send>),
}

pub(crate) fn nothing() -> Reply {
    Reply::Json(204, String::new())
}

pub(crate) fn error(status: u16, message: &str) -> Reply {
    Reply::Json(status, format!(r#"{{"message":"{}"}}"#, message.replace('"', "\\\"")))
}

/// Something that happens once, for others to wait for.
#[derive(Clone, Default)]
pub(crate) struct Once<T>(Arc<(Mutex<Option<T>>, Condvar)>);

impl<T: Clone> Once<T> {
    pub(crate) fn set(&self, value: T) {
        *self.0.0.lock().unwrap() = Some(value);
        self.0.1.notify_all();
    }

    pub(crate) fn wait(&self) -> T {
        let mut slot = self.0.0.lock().unwrap();
        while slot.is_none() {
            slot = self.0.1.wait(slot).unwrap();
        }
        slot.clone().unwrap()
    }
}

pub(crate) struct Fake {
    dir: TempDir,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    pub(crate) fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let listener = UnixListener::bind(dir.path().join("tare.sock")).unwrap();
        let (seen, answer) = (asked.clone(), Arc::new(answer));
        std::thread::spawn(move || serve(&listener, &seen, &answer));
        Self { dir, asked }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("tare.sock")
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Everything that was asked so far, bodies left out.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|asked| asked.what.clone()).collect()
    }

    /// The body of a request as it came.
    pub(crate) fn bytes_of(&self, what: &str) -> Vec<u8> {
        let asked = self.asked.lock().unwrap();
        asked.iter().find(|asked| asked.what.starts_with(what)).unwrap().bytes.clone()
    }

    pub(crate) fn body_of(&self, what: &str) -> serde_json::Value {
        let asked = self.asked.lock().unwrap();
        let found = asked.iter().find(|asked| asked.what.starts_with(what)).unwrap();
        serde_json::from_str(&found.body).unwrap()
    }
}

pub(crate) fn serve<F: Fn(&Asked) -> Reply + Send + Sync + 'static>(
    listener: &UnixListener,
    seen: &Arc<Mutex<Vec<Asked>>>,
    answer: &Arc<F>,
) {
    for stream in listener.incoming() {
        let (seen, answer) = (seen.clone(), answer.clone());
        std::thread::spawn(move || converse(stream.unwrap(), &seen, &*answer));
    }
}

fn converse(stream: UnixStream, seen: &Mutex<Vec<Asked>>, answer: &dyn Fn(&Asked) -> Reply) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream.try_clone().unwrap();
    while let Some(asked) = read(&mut reader) {
        seen.lock().unwrap().push(asked.clone());
        match answer(&asked) {
            Reply::Json(204, _) => writer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap(),
            Reply::Json(status, json) => {
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    json.len()
                );
                let _ = writer.write_all((head + &json).as_bytes());
            }
            Reply::Lines(lines) => chunked(&mut writer, lines.into_iter().map(|line| line + "\r\n")),
            Reply::Later(wait) => chunked(&mut writer, std::iter::once_with(wait)),
            Reply::Hijack(streaming) => {
                let head = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
                writer.write_all(head.as_bytes()).unwrap();
                return streaming(stream);
            }
        }
    }
}

fn chunked(writer: &mut UnixStream, pieces: impl Iterator<Item = String>) {
    let _ = writer.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    for piece in pieces {
        let _ = write!(writer, "{:x}\r\n{piece}\r\n", piece.len());
    }
    let _ = writer.write_all(b"0\r\n\r\n");
}

fn read(reader: &mut BufReader<UnixStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split_whitespace();
    let what = format!("{} {}", words.next()?, words.next()?.replacen("/v1.51", "", 1));
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        chunked |= header.to_lowercase().starts_with("transfer-encoding: chunked");
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).ok()?;
    if chunked {
        bytes = read_chunks(reader)?;
    }
    Some(Asked { what, body: String::from_utf8_lossy(&bytes).into_owned(), bytes })
}

fn read_chunks(reader: &mut BufReader<UnixStream>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; length + 2];
        reader.read_exact(&mut chunk).ok()?;
        if length == 0 {
            return Some(bytes);
        }
        bytes.extend_from_slice(&chunk[..length]);
    }
}

/// One frame of multiplexed output.
pub(crate) fn frame(stream: u8, text: &str) -> Vec<u8> {
    let mut bytes = vec![stream, 0, 0, 0];
    bytes.extend((text.len() as u32).to_be_bytes());
    bytes.extend(text.as_bytes());
    bytes
}
