//! A person's terminal, connected to a process in a container.

mod detach;
mod signals;
mod streams;
mod terminal;

use tare_client::{Client, Hijacked, PendingExit};

pub(crate) use detach::DetachKeys;
pub(crate) use signals::Forwarded;
pub(crate) use streams::{Copied, copy_log};
pub(crate) use terminal::{restore, size};

use crate::failure::{Failure, Result};

/// What is connected, and how.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(crate) client: &'a Client,
    pub(crate) process: Process<'a>,
    pub(crate) tty: bool,
    pub(crate) stdin: bool,
    pub(crate) detach: DetachKeys,
    /// Signals that go to the process instead of ending us.
    pub(crate) proxy: Option<Forwarded>,
}

/// Whose streams they are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Process<'a> {
    Container(&'a str),
    Exec(&'a str),
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The process closed its output.
    Output,
    /// The person typed the keys that leave it alone.
    Detached,
    /// A signal told us to end.
    Signalled(u8),
}

impl Process<'_> {
    async fn resize(self, client: &Client, (rows, columns): (u16, u16)) -> tare_client::Result<()> {
        match self {
            Self::Container(id) => client.resize_container(id, rows, columns).await,
            Self::Exec(id) => client.resize_exec(id, rows, columns).await,
        }
    }
}

/// Waits until a container has started. A signal meanwhile reaches it then; a second one is a person who does not want
/// to wait.
pub(crate) async fn begin(
    client: &Client,
    id: &str,
    start: impl Future<Output = Result<()>>,
    mut signals: Option<&mut Forwarded>,
) -> Result<()> {
    let mut start = std::pin::pin!(start);
    let mut early = None;
    loop {
        tokio::select! {
            biased;
            started = &mut start => {
                started?;
                break;
            }
            signal = signals::next(signals.as_deref_mut()) => match early.replace(signal) {
                None => {}
                Some(_) => return Err(Failure::said(128 + signal)),
            },
        }
    }
    if let Some(signal) = early {
        let _ = client.kill_container(id, Some(&signal.to_string())).await;
    }
    Ok(())
}

/// Reads a line from the terminal without showing it. A signal that ends us finds the terminal as it was.
pub(crate) async fn hidden_line() -> Result<String> {
    let _restored = terminal::silent()?;
    let mut interrupts = signals::ending()?;
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    tokio::select! {
        line = read => Ok(line.map_err(|error| Failure::new(error.to_string()))??.trim_end_matches(['\n', '\r']).to_owned()),
        signal = signals::next(Some(&mut interrupts)) => Err(Failure::said(128 + signal)),
    }
}

/// A person who wants a terminal must have one.
pub(crate) fn check_terminal(stdin: bool, tty: bool) -> Result<()> {
    use std::io::IsTerminal;
    match stdin && tty && !std::io::stdin().is_terminal() {
        true => {
            Err(Failure::new("the input device is not a TTY").hint("leave out -t, or run it from a terminal"))
        }
        false => Ok(()),
    }
}

impl Session<'_> {
    /// Copies until the process closes its output, the person leaves or a signal ends us. The terminal is raw meanwhile
    /// where the process has one, and as it was afterwards.
    pub(crate) async fn connect(&mut self, hijacked: Hijacked) -> Result<Ended> {
        let raw = self.tty && self.stdin;
        let _restored = if raw { terminal::raw()? } else { None };
        let mut interrupts = if raw { Some(signals::ending()?) } else { None };
        let (client, process, tty) = (self.client, self.process, self.tty);
        let copied = streams::copy(hijacked, self.stdin, tty, &mut self.detach);
        let sized = follow_size(client, process, tty);
        let proxied = forward(client, process, self.proxy.as_mut());
        tokio::select! {
            copied = copied => Ok(match copied? {
                Copied::Output => Ended::Output,
                Copied::Detached => Ended::Detached,
            }),
            signal = signals::next(interrupts.as_mut()) => Ok(Ended::Signalled(128 + signal)),
            never = sized => never,
            never = proxied => never,
        }
    }

    /// Waits for the exit while signals go on to the process.
    pub(crate) async fn exit(&mut self, pending: PendingExit) -> Result<u8> {
        let proxied = forward(self.client, self.process, self.proxy.as_mut());
        let exit = tokio::select! {
            exit = pending.exit() => exit?,
            never = proxied => return never,
        };
        match exit.error {
            Some(error) if !error.message.is_empty() => Err(Failure::new(error.message).code(125)),
            _ => Ok(exit_code(exit.status_code)),
        }
    }
}

/// The code that a shell sees.
pub(crate) fn exit_code(status: i64) -> u8 {
    (status & 0xff) as u8
}

/// The terminal of the process is made as large as ours, now and whenever ours changes.
async fn follow_size<T>(client: &Client, process: Process<'_>, tty: bool) -> Result<T> {
    let Some(mut changes) = tty.then(signals::resized).transpose()? else {
        return std::future::pending().await;
    };
    loop {
        if let Some(size) = size() {
            // It may have ended a moment ago, which is no failure of ours.
            let _ = process.resize(client, size).await;
        }
        changes.recv().await;
    }
}

async fn forward<T>(client: &Client, process: Process<'_>, signals: Option<&mut Forwarded>) -> Result<T> {
    let (Some(signals), Process::Container(id)) = (signals, process) else {
        return std::future::pending().await;
    };
    loop {
        let signal = signals.next().await;
        // The container may not run yet or any more; the signal is then nobody's.
        let _ = client.kill_container(id, Some(&signal)).await;
    }
}
