use std::pin::pin;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tare_http::{Reply, Request, Upgraded};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

use super::detach::{DetachKeys, Filtered};

const PIECE: usize = 32 << 10;

/// How a client and a program are joined.
pub(crate) struct Session {
    /// With a terminal: the client leaving ends the session and nothing else, and keys can leave it too.
    pub(crate) tty: bool,
    /// The client's bytes go to the program.
    pub(crate) stdin: bool,
    /// What leaves a terminal.
    pub(crate) keys: DetachKeys,
    /// Sent before anything else, as fast as the client reads: a log may be longer than memory.
    pub(crate) first: BoxStream<'static, Bytes>,
}

/// Why copying the client's bytes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InputEnd {
    /// The client finished sending, and the program has been told; or nothing of it was wanted.
    Finished,
    /// The client typed the keys, or left a terminal.
    Left,
}

/// Hands the request's connection to a session between client and program.
pub(crate) fn hijack<P>(request: &Request, content_type: &'static str, session: Session, program: P) -> Reply
where
    P: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    Reply::hijack(request.wants_upgrade(), content_type, move |client| join(session, client, program))
}

/// Copies both ways until the program's output ends, the client types the keys, or the client is gone. Errors are the
/// client's leaving, or the program's end.
async fn join<P>(mut session: Session, mut client: Upgraded, program: P)
where
    P: AsyncRead + AsyncWrite + Unpin + Send,
{
    while let Some(piece) = session.first.next().await {
        if client.write_all(&piece).await.is_err() {
            return;
        }
    }
    let mut gone = pin!(client.gone());
    let (mut from_client, mut to_client) = split(client);
    let (mut from_program, mut to_program) = split(program);
    {
        let mut output = pin!(copy_output(&mut from_program, &mut to_client));
        let mut input = pin!(copy_input(&mut session, &mut from_client, &mut to_program));
        let mut sending = true;
        loop {
            tokio::select! {
                end = &mut input, if sending => match end {
                    InputEnd::Left => break,
                    InputEnd::Finished => sending = false,
                },
                () = &mut output => break,
                () = &mut gone => return,
            }
        }
    }
    from_client.unsplit(to_client).finish().await;
}

async fn copy_output(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) {
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

async fn copy_input(
    session: &mut Session,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> InputEnd {
    if !session.stdin {
        return InputEnd::Finished;
    }
    if session.tty { copy_typed(&mut session.keys, from, to).await } else { copy_piped(from, to).await }
}

/// From a terminal. Its end is the client's leaving: a program's terminal has no end of file to be passed on.
async fn copy_typed(
    keys: &mut DetachKeys,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> InputEnd {
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let Filtered { passed, detached } = keys.filter(&piece[..length]);
        if to.write_all(&passed).await.is_err() || detached {
            break;
        }
    }
    InputEnd::Left
}

/// From a pipe. Its end is passed on; what the program still writes comes nevertheless.
async fn copy_piped(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> InputEnd {
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        if to.write_all(&piece[..length]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
    InputEnd::Finished
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tare_http::{Listener, Method, Router};
    use tokio::io::{DuplexStream, duplex};
    use tokio::net::UnixStream;

    use super::*;

    /// A client and a program, joined over a real socket.
    async fn joined(tty: bool, stdin: bool) -> (UnixStream, DuplexStream, tempfile::TempDir) {
        let (ours, theirs) = duplex(64 << 10);
        let first = futures_util::stream::iter([Bytes::from_static(b"log ")]).boxed();
        let (mut client, directory) = joined_with(tty, stdin, first, theirs).await;
        let mut log = [0; 4];
        client.read_exact(&mut log).await.unwrap();
        assert_eq!(&log, b"log ");
        (client, ours, directory)
    }

    async fn joined_with(
        tty: bool,
        stdin: bool,
        first: BoxStream<'static, Bytes>,
        program: DuplexStream,
    ) -> (UnixStream, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let once = Mutex::new(Some((first, program)));
        let mut router = Router::new();
        router.route(Method::POST, "/attach", move |request: Request| {
            let (first, program) = once.lock().unwrap().take().unwrap();
            let session = Session { tty, stdin, keys: DetachKeys::parse("").unwrap(), first };
            async move { hijack(&request, "application/x-raw", session, program) }
        });
        let listener = Listener::unix(&socket, None).unwrap();
        tokio::spawn(tare_http::serve(vec![listener], router, || (), std::future::pending()));
        let mut client = UnixStream::connect(&socket).await.unwrap();
        client
            .write_all(b"POST /attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
            .await
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        (client, directory)
    }

    async fn all(from: &mut (impl AsyncRead + Unpin)) -> String {
        let mut text = String::new();
        let read = from.read_to_string(&mut text);
        tokio::time::timeout(Duration::from_secs(60), read).await.expect("it ends").unwrap();
        text
    }

    #[tokio::test]
    async fn a_pipes_end_reaches_the_program_which_still_answers() {
        let (mut client, mut program, _directory) = joined(false, true).await;
        client.write_all(b"one\ntwo\n").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(all(&mut program).await, "one\ntwo\n");
        program.write_all(b"2 lines").await.unwrap();
        drop(program);
        assert_eq!(all(&mut client).await, "2 lines");
    }

    #[tokio::test]
    async fn an_endless_log_is_not_gathered_for_a_client_that_does_not_read() {
        let asked = Arc::new(AtomicUsize::new(0));
        let pieces = asked.clone();
        let first = futures_util::stream::repeat_with(move || {
            pieces.fetch_add(1, Relaxed);
            Bytes::from_static(&[b'x'; 64 << 10])
        });
        let (mut ours, theirs) = duplex(1);
        let (client, _directory) = joined_with(false, false, first.boxed(), theirs).await;
        while asked.load(Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(asked.load(Relaxed) < 64);
        drop(client);
        assert_eq!(all(&mut ours).await, "", "the client has gone, and the program is let go");
    }

    #[tokio::test]
    async fn the_detach_keys_leave_the_program_alone() {
        let (mut client, mut program, _directory) = joined(true, true).await;
        client.write_all(b"ls\n\x10\x11more").await.unwrap();
        assert_eq!(all(&mut program).await, "ls\n");
        assert_eq!(all(&mut client).await, "");
    }

    #[tokio::test]
    async fn a_client_that_only_reads_may_close_its_side() {
        let (mut client, mut program, _directory) = joined(true, false).await;
        client.shutdown().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        program.write_all(b"later").await.unwrap();
        drop(program);
        assert_eq!(all(&mut client).await, "later");
    }

    #[tokio::test]
    async fn a_client_that_has_gone_frees_a_silent_program() {
        for tty in [false, true] {
            let (client, mut program, _directory) = joined(tty, false).await;
            drop(client);
            assert_eq!(all(&mut program).await, "");
        }
    }

    #[tokio::test]
    async fn input_that_nobody_reads_does_not_spoil_the_output() {
        let (mut client, mut program, _directory) = joined(false, true).await;
        client.write_all(&vec![b'x'; 200 << 10]).await.unwrap();
        program.write_all(b"done").await.unwrap();
        drop(program);
        assert_eq!(all(&mut client).await, "done");
    }
}
