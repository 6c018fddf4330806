use std::pin::pin;

use bytes::Bytes;
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
    /// Sent before anything else.
    pub(crate) first: Vec<Bytes>,
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
    for piece in &session.first {
        if client.write_all(piece).await.is_err() {
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
