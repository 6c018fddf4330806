use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use crate::hangup::Hangup;
use crate::listener::Manner;
use crate::origin;
use crate::paced::Paced;
use crate::reply::{Body, Content, Reply, Takeover, into_response, takeover_head};
use crate::request::Request;
use crate::router::Router;
use crate::serve::stopped;
use crate::stream::{Arrived, Stream, Upgraded};

/// How long a head may take to arrive, and how long a connection may idle between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes that a head, or a piece of a body, may occupy. Registry tokens travel in headers and are long.
const HEAD_MAX: usize = 128 << 10;
const HEADERS_MAX: usize = 128;

/// What the service of a connection tells its driver.
#[derive(Default)]
struct Signals {
    /// A request has begun, so a client that hangs up no longer waits for it to be read.
    busy: AtomicBool,
    manner: Manner,
    handed_over: Mutex<Option<(StatusCode, HeaderMap, Takeover)>>,
}

/// One client, from its first byte to its last.
///
/// Hyper drives the connection until a handler takes it over. Then hyper is put aside in the middle of its request and gives
/// back the socket and what it has read ahead: that works with and without `Upgrade` in the request, which hyper's own
/// upgrades do not.
pub(crate) async fn serve(
    arrived: Arrived,
    manner: Manner,
    router: Arc<Router>,
    mut stop: watch::Receiver<bool>,
) {
    let Some(stream) = arrived.greeted().await else { return };
    let Ok(hangup) = Hangup::of(&stream) else {
        return; // out of descriptors: the client sees a closed connection
    };
    let signals = Arc::new(Signals { manner, ..Signals::default() });
    let service = service_fn({
        let signals = Arc::clone(&signals);
        move |request| {
            let refused = if manner.no_pages { origin::refusal(request.headers()) } else { None };
            answer(Arc::clone(&router), Arc::clone(&signals), request, refused)
        }
    });
    let mut connection = http1::Builder::new()
        .half_close(true)
        .title_case_headers(true) // simple clients compare them letter by letter
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(Paced::new(stream, manner.patience)), service);

    let mut stopping = pin!(stopped(&mut stop));
    let mut gone = pin!(hangup.wait());
    let mut asked_to_stop = false;
    let over = poll_fn(|cx: &mut Context<'_>| {
        let ended = Pin::new(&mut connection).poll(cx).is_ready();
        if let Some(over) = signals.handed_over.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Poll::Ready(Some(over));
        }
        if ended || (signals.busy.load(Ordering::Relaxed) && gone.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(None);
        }
        if !asked_to_stop && stopping.as_mut().poll(cx).is_ready() {
            asked_to_stop = true;
            Pin::new(&mut connection).graceful_shutdown();
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await;
    if let Some((status, headers, takeover)) = over {
        let parts = connection.into_parts();
        hand_over(parts.io.into_inner().stream, parts.read_buf, &takeover_head(status, &headers), takeover)
            .await;
    }
}

async fn hand_over(mut stream: Stream, early: bytes::Bytes, head: &[u8], takeover: Takeover) {
    if stream.write_all(head).await.is_ok() {
        takeover(Upgraded::new(stream, early)).await;
    }
}

async fn answer(
    router: Arc<Router>,
    signals: Arc<Signals>,
    request: hyper::Request<Incoming>,
    page: Option<String>,
) -> Result<Response<Body>, Infallible> {
    signals.busy.store(true, Ordering::Relaxed);
    let (head, body) = request.into_parts();
    let body = (!body.is_end_stream()).then_some(body);
    let reply = match Request::new(head, body, signals.manner) {
        Ok(_) if page.is_some() => router.refusal(StatusCode::FORBIDDEN, page.unwrap_or_default()),
        Ok(request) => router.answer(request).await,
        Err(refused) => router.refusal(StatusCode::BAD_REQUEST, refused.to_string()),
    };
    let Reply { status, headers, content } = reply;
    if let Content::Takeover(takeover) = content {
        *signals.handed_over.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((status, headers, takeover));
        return std::future::pending().await; // the driver sees the takeover as soon as this poll returns
    }
    Ok(into_response(status, headers, content).unwrap_or_default())
}
