//! Signals as events.

use std::future::poll_fn;
use std::task::Poll;

use tare_model::Signal;
use tokio::signal::unix::{self, SignalKind};

use crate::failure::Result;

/// What a foreground container gets in our place. Stopping and continuing stay with the shell's job control, and what
/// reports a fault of our own program is ours.
const FORWARDED: [&str; 10] = ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "WINCH", "IO", "PWR"];

/// What ends us while the terminal is raw, which must not stay so.
const ENDING: [&str; 4] = ["HUP", "INT", "QUIT", "TERM"];

/// Signals that arrive from now on.
#[derive(Debug)]
pub(crate) struct Forwarded(Vec<(i32, unix::Signal)>);

impl Forwarded {
    /// Catches every signal that is forwarded.
    pub(crate) fn new() -> Result<Self> {
        catch(&FORWARDED)
    }

    /// The next one's number, as text for the API.
    pub(crate) async fn next(&mut self) -> String {
        self.number().await.to_string()
    }

    async fn number(&mut self) -> i32 {
        poll_fn(|context| {
            for (number, signal) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(*number);
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn catch(names: &[&str]) -> Result<Forwarded> {
    let mut caught = Vec::with_capacity(names.len());
    for number in names.iter().filter_map(|name| name.parse().ok()).map(Signal::number) {
        caught.push((number, unix::signal(SignalKind::from_raw(number))?));
    }
    Ok(Forwarded(caught))
}

/// Catches the signals that end us.
pub(super) fn ending() -> Result<Forwarded> {
    catch(&ENDING)
}

/// The next signal of `signals`; never where there are none.
pub(super) async fn next(signals: Option<&mut Forwarded>) -> u8 {
    match signals {
        Some(signals) => u8::try_from(signals.number().await).unwrap_or(0),
        None => std::future::pending().await,
    }
}

/// Changes of the terminal's size.
pub(super) fn resized() -> Result<unix::Signal> {
    Ok(unix::signal(SignalKind::window_change())?)
}
