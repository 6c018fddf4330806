//! A registry on 127.0.0.1 that says what a test wants, lies included, and remembers what it was asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) manner: Manner,
}

/// How a body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As announced.
    Whole,
    /// As announced, and from the byte that a Range header names.
    Ranges,
    /// Announced whole, cut off after so many bytes.
    CutAfter(usize),
    /// Announced whole, silent after so many bytes.
    StallAfter(usize),
    /// As announced, a byte every few milliseconds.
    Drip,
    /// In chunks, without a length.
    Chunked,
    /// Not at all: the connection ends.
    HangUp,
    /// Not at all: the connection stays.
    Silent,
}

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

#[derive(Default)]
struct State {
    always: HashMap<String, Answer>,
    once: HashMap<String, Vec<Answer>>,
    asked: Vec<Asked>,
}

/// The registry; it ends with its value.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), manner: Manner::Whole }
    }

    pub(crate) fn header(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn manner(self, manner: Manner) -> Self {
        Self { manner, ..self }
    }

    /// What a registry answers when it refuses.
    pub(crate) fn refusal(status: u16, code: &str, message: &str) -> Self {
        Self::new(status, format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#))
    }
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let task = tokio::spawn(accept(listener, state.clone()));
        Self { address, state, task }
    }

    /// What is always answered to a path; queries do not count.
    pub(crate) fn always(&self, path: &str, answer: Answer) {
        self.state.lock().unwrap().always.insert(path.to_owned(), answer);
    }

    /// What is answered once, before that; several in order.
    pub(crate) fn once(&self, path: &str, answer: Answer) {
        self.state.lock().unwrap().once.entry(path.to_owned()).or_default().push(answer);
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    /// How often a path was asked for.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.asked().iter().filter(|asked| asked.path.split('?').next() == Some(path)).count()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = state.clone();
        connections.spawn(async move {
            let _ = serve(stream, &state).await;
        });
    }
}

async fn serve(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let Some(asked) = read(&mut stream).await? else {
        // Somebody who speaks TLS learns that this is plain HTTP.
        return stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    };
    let answer = {
        let mut state = state.lock().unwrap();
        state.asked.push(asked.clone());
        let path = asked.path.split('?').next().unwrap_or_default().to_owned();
        match state.once.get_mut(&path).filter(|queue| !queue.is_empty()) {
            Some(queue) => queue.remove(0),
            None => state.always.get(&path).cloned().unwrap_or_else(|| Answer::new(404, "")),
        }
    };
    write(&mut stream, &asked, answer).await
}

async fn read(stream: &mut TcpStream) -> std::io::Result<Option<Asked>> {
    let mut bytes = Vec::new();
    let head = loop {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await?;
        bytes.extend_from_slice(&buffer[..read]);
        if read == 0 || !bytes[0].is_ascii_uppercase() {
            return Ok(None);
        }
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let mut lines = text.lines();
    let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let pairs = lines.filter_map(|line| line.split_once(": "));
    let headers: HashMap<_, _> = pairs.map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned())).collect();
    let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = bytes.split_off(head);
    while body.len() < length {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await?;
        body.extend_from_slice(&buffer[..read]);
    }
    Ok(Some(Asked { method, path, headers, body: String::from_utf8_lossy(&body).into_owned() }))
}

async fn write(stream: &mut TcpStream, asked: &Asked, mut answer: Answer) -> std::io::Result<()> {
    match answer.manner {
        Manner::HangUp => return Ok(()),
        Manner::Silent => return stream.read(&mut [0; 1]).await.map(drop),
        _ => {}
    }
    let total = answer.body.len();
    let range: Option<usize> =
        asked.headers.get("range").and_then(|r| r.strip_prefix("bytes=")?.trim_end_matches('-').parse().ok());
    if let (Manner::Ranges, Some(first), 200) = (answer.manner, range, answer.status) {
        answer.body.drain(..first);
        answer.status = 206;
        answer = answer.header("Content-Range", format!("bytes {first}-{}/{total}", total - 1));
    }
    let mut head = format!("HTTP/1.1 {} Said\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match answer.manner {
        Manner::Chunked => head.push_str("Transfer-Encoding: chunked\r\n\r\n"),
        _ => head.push_str(&format!("Content-Length: {}\r\n\r\n", answer.body.len())),
    }
    stream.write_all(head.as_bytes()).await?;
    match answer.manner {
        Manner::HangUp | Manner::Silent => Ok(()),
        Manner::Whole | Manner::Ranges => stream.write_all(&answer.body).await,
        Manner::CutAfter(length) => stream.write_all(&answer.body[..length]).await,
        Manner::StallAfter(length) => {
            stream.write_all(&answer.body[..length]).await?;
            // Until the client hangs up.
            stream.read(&mut [0; 1]).await.map(drop)
        }
        Manner::Drip => {
            for byte in answer.body {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            Ok(())
        }
        Manner::Chunked => {
            for chunk in answer.body.chunks(1000) {
                stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await?;
                stream.write_all(chunk).await?;
                stream.write_all(b"\r\n").await?;
            }
            stream.write_all(b"0\r\n\r\n").await
        }
    }
}
