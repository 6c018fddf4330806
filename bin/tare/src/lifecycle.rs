//! `stop`, `kill`, `restart`, `rm`, `pause`, `unpause`, `wait`, `rename`.

use tare_client::WaitFor;

use crate::call::Call;
use crate::failure::Result;
use crate::flags::{Flag, switch, text};
use crate::output::{self, line};
use crate::session::exit_code;

pub(crate) const STOP: &[Flag] = &[
    text("signal", "string", "Signal to send to the container").short('s'),
    text("timeout", "int", "Seconds to wait before killing the container").short('t'),
    text("time", "int", "Seconds to wait before killing the container").hidden(),
];

pub(crate) const KILL: &[Flag] = &[text("signal", "string", "Signal to send to the container").short('s')];

pub(crate) const RM: &[Flag] = &[
    switch("force", "Force the removal of a running container (uses SIGKILL)").short('f'),
    switch("link", "Remove the specified link").short('l'),
    switch("volumes", "Remove anonymous volumes associated with the container").short('v'),
];

fn timeout(call: &Call) -> Result<Option<i64>> {
    Ok(call.given.number("timeout")?.or(call.given.number("time")?))
}

/// `tare stop`
pub(crate) async fn stop(call: Call) -> Result<u8> {
    let (signal, timeout) = (call.given.text("signal"), timeout(&call)?);
    let stop = async |name: &str| Ok(call.client.stop_container(name, signal, timeout).await?);
    output::for_each(&call.given.operands, stop).await
}

/// `tare restart`
pub(crate) async fn restart(call: Call) -> Result<u8> {
    let (signal, timeout) = (call.given.text("signal"), timeout(&call)?);
    let restart = async |name: &str| Ok(call.client.restart_container(name, signal, timeout).await?);
    output::for_each(&call.given.operands, restart).await
}

/// `tare kill`
pub(crate) async fn kill(call: Call) -> Result<u8> {
    let signal = call.given.text("signal");
    let kill = async |name: &str| Ok(call.client.kill_container(name, signal).await?);
    output::for_each(&call.given.operands, kill).await
}

/// `tare pause`
pub(crate) async fn pause(call: Call) -> Result<u8> {
    output::for_each(&call.given.operands, async |name: &str| Ok(call.client.pause_container(name).await?))
        .await
}

/// `tare unpause`
pub(crate) async fn unpause(call: Call) -> Result<u8> {
    output::for_each(&call.given.operands, async |name: &str| Ok(call.client.unpause_container(name).await?))
        .await
}

/// `tare rm`. With `--force` a container that is gone already is no failure.
pub(crate) async fn remove(call: Call) -> Result<u8> {
    let given = &call.given;
    let (force, volumes, link) = (given.on("force"), given.on("volumes"), given.on("link"));
    let mut code = 0;
    for name in &given.operands {
        match call.client.remove_container(name, force, volumes, link).await {
            Ok(()) => line(name)?,
            Err(error) => {
                code = if force && error.status() == Some(404) { code } else { 1 };
                output::complain(&error.into());
            }
        }
    }
    Ok(code)
}

/// `tare wait`: one exit code a line.
pub(crate) async fn wait(call: Call) -> Result<u8> {
    let mut code = 0;
    for name in &call.given.operands {
        let waited = async { call.client.wait_container(name, WaitFor::NotRunning).await?.exit().await };
        match waited.await {
            Ok(exit) => line(exit_code(exit.status_code).to_string())?,
            Err(error) => {
                code = 1;
                output::complain(&error.into());
            }
        }
    }
    Ok(code)
}

/// `tare rename`
pub(crate) async fn rename(call: Call) -> Result<u8> {
    let [old, new] = &call.given.operands[..] else { return Ok(1) };
    call.client.rename_container(old, new).await?;
    Ok(0)
}
