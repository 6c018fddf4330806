use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tare_docker_api::Document;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

use crate::address::Address;
use crate::error::{Error, Result};
use crate::host::{Host, Target};
use crate::lines::Lines;
use crate::start;

type Sender = SendRequest<Body>;
/// What a request carries: nothing, a document, or pieces of which only the sender knows the number.
type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A daemon, spoken to over as few connections as the calls that run at the same time need. Belongs to a tokio runtime.
#[derive(Debug)]
pub struct Client {
    target: Target,
    idle: Mutex<Vec<Sender>>,
}

/// An answer whose body has not been read yet.
#[derive(Debug)]
pub struct Answer {
    call: String,
    response: Response<Incoming>,
}

/// A connection that has become a plain stream of bytes both ways.
#[derive(Debug)]
pub struct Hijacked {
    /// What comes from the container, and what goes to its standard input; `shutdown` ends the latter alone.
    pub io: TokioIo<hyper::upgrade::Upgraded>,
    /// Whether the output is in [`crate::Frames`]; plain otherwise, as of a terminal.
    pub multiplexed: bool,
}

/// Messages of type `T`, one JSON document a line.
#[derive(Debug)]
pub struct Messages {
    answer: Answer,
    lines: Lines,
}

/// Headers beside the usual ones.
pub(crate) type Headers<'a> = &'a [(HeaderName, HeaderValue)];

impl Client {
    /// A client of the daemon there. Nothing is dialled before the first call.
    pub fn new(target: Target) -> Self {
        Self { target, idle: Mutex::new(Vec::new()) }
    }

    /// Where this client connects to.
    pub fn host(&self) -> &Host {
        &self.target.host
    }

    /// Sends a request without a body.
    pub async fn send(&self, method: Method, address: &Address) -> Result<Answer> {
        self.request(method, address, &[], None).await?.successful().await
    }

    /// Sends a request with a JSON body.
    pub async fn send_json(
        &self,
        method: Method,
        address: &Address,
        body: &impl Serialize,
    ) -> Result<Answer> {
        self.send_json_with(method, address, &[], body).await
    }

    pub(crate) async fn send_json_with(
        &self,
        method: Method,
        address: &Address,
        headers: Headers<'_>,
        body: &impl Serialize,
    ) -> Result<Answer> {
        let json = serde_json::to_vec(body).map_err(|error| Error::answer(address.as_str(), &error))?;
        self.request(method, address, headers, Some(json.into())).await?.successful().await
    }

    pub(crate) async fn send_with(
        &self,
        method: Method,
        address: &Address,
        headers: Headers<'_>,
    ) -> Result<Answer> {
        self.request(method, address, headers, None).await?.successful().await
    }

    /// Asks, and reads the answer's JSON.
    pub async fn get<T: Document>(&self, address: &Address) -> Result<T> {
        self.send(Method::GET, address).await?.json().await
    }

    /// Asks, and gives the answer's JSON as the daemon wrote it.
    pub async fn text(&self, address: &Address) -> Result<String> {
        let bytes = self.send(Method::GET, address).await?.bytes().await?;
        String::from_utf8(bytes.into()).map_err(|error| Error::answer(address.as_str(), &error))
    }

    /// Orders something that answers nothing worth reading.
    pub async fn post(&self, address: &Address) -> Result<()> {
        self.send(Method::POST, address).await?.bytes().await.map(drop)
    }

    /// Deletes.
    pub async fn delete(&self, address: &Address) -> Result<Bytes> {
        self.send(Method::DELETE, address).await?.bytes().await
    }

    /// Turns the request's connection into a stream (`Upgrade: tcp`), as attach and exec do.
    pub async fn hijack(&self, address: &Address, body: Option<&serde_json::Value>) -> Result<Hijacked> {
        let headers =
            [(CONNECTION, HeaderValue::from_static("Upgrade")), (UPGRADE, HeaderValue::from_static("tcp"))];
        let body = body.map(|json| Bytes::from(json.to_string()));
        let answer = self.request(Method::POST, address, &headers, body).await?.successful().await?;
        if answer.response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::answer(&answer.call, &"it does not switch protocols"));
        }
        let multiplexed = answer.content_type() == Some("application/vnd.docker.multiplexed-stream");
        let upgraded = hyper::upgrade::on(answer.response).await.map_err(|error| broken(&error))?;
        Ok(Hijacked { io: TokioIo::new(upgraded), multiplexed })
    }

    async fn request(
        &self,
        method: Method,
        address: &Address,
        headers: Headers<'_>,
        body: Option<Bytes>,
    ) -> Result<Answer> {
        let call = format!("{method} {}", address.as_str());
        let mut request = Request::builder().method(method).uri(address.as_str()).header(HOST, "tare");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let body = Full::new(body.unwrap_or_default()).map_err(|never| match never {}).boxed_unsync();
        let request = request.body(body).map_err(|e| Error::answer(&call, &e))?;
        let response = self.deliver(request).await?;
        Ok(Answer { call, response })
    }

    /// Sends a request whose body comes piece by piece. An error among the pieces breaks the request off.
    pub(crate) async fn send_pieces(
        &self,
        method: Method,
        address: &Address,
        headers: Headers<'_>,
        content_type: &'static str,
        pieces: mpsc::Receiver<io::Result<Bytes>>,
    ) -> Result<Answer> {
        let call = format!("{method} {}", address.as_str());
        let request = Request::builder().method(method).uri(address.as_str()).header(HOST, "tare");
        let mut request = request.header(CONTENT_TYPE, content_type);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request =
            request.body(Pieces(pieces).boxed_unsync()).map_err(|error| Error::answer(&call, &error))?;
        // A connection of its own: a body that has begun cannot be sent again over another one.
        let mut sender = self.dial().await?;
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let response = self.keep(sender, response);
        Answer { call, response }.successful().await
    }

    /// Sends over an idle connection, and over a new one where the daemon has closed the idle one meanwhile.
    async fn deliver(&self, request: Request<Body>) -> Result<Response<Incoming>> {
        let mut request = request;
        while let Some(mut sender) = self.take_idle() {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(self.keep(sender, response)),
                Err(mut failure) => match failure.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(broken(&failure.into_error())),
                },
            }
        }
        let mut sender = self.dial().await?;
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        Ok(self.keep(sender, response))
    }

    fn keep(&self, sender: Sender, response: Response<Incoming>) -> Response<Incoming> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        response
    }

    /// A connection whose last answer has been read to its end.
    fn take_idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|sender| !sender.is_closed());
        let at = idle.iter().position(SendRequest::is_ready)?;
        Some(idle.swap_remove(at))
    }

    async fn dial(&self) -> Result<Sender> {
        match &self.target.host {
            Host::Tcp(authority) => {
                let stream = TcpStream::connect(authority).await.map_err(|e| self.unreachable(e))?;
                let _ = stream.set_nodelay(true);
                handshake(stream).await
            }
            Host::Unix(path) => match UnixStream::connect(path).await {
                Ok(stream) => handshake(stream).await,
                Err(error) if self.target.start && start::is_absent(&error) => {
                    start::start(path)?;
                    handshake(UnixStream::connect(path).await.map_err(|e| self.unreachable(e))?).await
                }
                Err(error) => Err(self.unreachable(error)),
            },
        }
    }

    fn unreachable(&self, source: io::Error) -> Error {
        Error::Connect { host: self.target.host.clone(), source }
    }
}

/// A body that somebody else feeds.
struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

async fn handshake(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Sender> {
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}

fn broken(error: &hyper::Error) -> Error {
    use std::error::Error as _;
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    Error::Transport(format!("{error}{cause}"))
}

impl Answer {
    /// The HTTP status, 101 to 399.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The content type without its parameters.
    pub fn content_type(&self) -> Option<&str> {
        let value = self.response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
        Some(value.split(';').next().unwrap_or(value).trim())
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The next piece of the body, `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.response.body_mut().frame().await {
            if let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The whole body.
    pub async fn bytes(self) -> Result<Bytes> {
        Ok(self.response.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes())
    }

    /// The whole body, read as JSON.
    pub async fn json<T: Document>(self) -> Result<T> {
        let call = self.call.clone();
        let bytes = self.bytes().await?;
        T::read(&bytes).map_err(|error| Error::answer(&call, &error))
    }

    /// The body as messages, one JSON document a line.
    pub fn messages(self) -> Messages {
        Messages { answer: self, lines: Lines::new() }
    }

    async fn successful(self) -> Result<Self> {
        let status = self.response.status();
        if status.as_u16() < 400 {
            return Ok(self);
        }
        let content_is_json = self.content_type() == Some("application/json");
        let bytes = self.bytes().await.unwrap_or_default();
        let message = message_of(&bytes, content_is_json)
            .unwrap_or_else(|| status.canonical_reason().unwrap_or("unknown error").to_lowercase());
        Err(Error::Api { status: status.as_u16(), message })
    }
}

fn message_of(body: &[u8], json: bool) -> Option<String> {
    let parsed: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = parsed.as_ref().and_then(|value| value.get("message")?.as_str()).map(str::to_owned);
    let plain = || String::from_utf8_lossy(body).trim().to_owned();
    message.or_else(|| (!json).then(plain)).filter(|text| !text.is_empty())
}

impl Messages {
    /// The next message, `None` at the end of the stream.
    pub async fn next<T: Document>(&mut self) -> Result<Option<T>> {
        loop {
            if let Some(line) = self.lines.next_line() {
                return self.read(&line).map(Some);
            }
            match self.answer.chunk().await? {
                Some(bytes) if self.lines.feed(&bytes) => {}
                Some(_) => return Err(Error::answer(&self.answer.call, &"a message is longer than 16 MiB")),
                None => return self.lines.rest().map(|line| self.read(&line)).transpose(),
            }
        }
    }

    /// Bytes between two messages, where the last one told of some: as many as there are at hand, up to `most`.
    pub async fn bytes(&mut self, most: usize) -> Result<Bytes> {
        let waiting = self.lines.take(most);
        if !waiting.is_empty() {
            return Ok(waiting.into());
        }
        let Some(mut piece) = self.answer.chunk().await? else {
            return Err(Error::answer(&self.answer.call, &"it ends in the middle of a file"));
        };
        let rest = piece.split_off(piece.len().min(most));
        if self.lines.feed(&rest) {
            Ok(piece)
        } else {
            Err(Error::answer(&self.answer.call, &"a message is longer than 16 MiB"))
        }
    }

    fn read<T: Document>(&self, line: &[u8]) -> Result<T> {
        T::read(line).map_err(|error| Error::answer(&self.answer.call, &error))
    }
}
