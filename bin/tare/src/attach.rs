//! `attach`, `start` and `exec`: sessions with what exists already.

use tare_client::{AttachOptions, WaitFor};
use tare_docker_api::{ContainerInspect, ExecCreateRequest, ExecStartRequest};

use crate::call::Call;
use crate::create::words;
use crate::failure::{Failure, Result};
use crate::flags::{Flag, list, switch, switch_on, text};
use crate::output;
use crate::run::{keys, start_failure};
use crate::session::{self, Ended, Forwarded, Process, Session, check_terminal, exit_code, size};

pub(crate) const ATTACH: &[Flag] = &[
    text("detach-keys", "string", "Override the key sequence for detaching a container"),
    switch("no-stdin", "Do not attach STDIN"),
    switch_on("sig-proxy", "Proxy all received signals to the process"),
];

pub(crate) const START: &[Flag] = &[
    switch("attach", "Attach STDOUT/STDERR and forward signals").short('a'),
    text("checkpoint", "string", "Restore from this checkpoint").hidden(),
    text("checkpoint-dir", "string", "Use a custom checkpoint storage directory").hidden(),
    text("detach-keys", "string", "Override the key sequence for detaching a container"),
    switch("interactive", "Attach container's STDIN").short('i'),
    switch_on("sig-proxy", "Proxy all received signals to the process").hidden(),
];

pub(crate) const EXEC: &[Flag] = &[
    switch("detach", "Detached mode: run command in the background").short('d'),
    text("detach-keys", "string", "Override the key sequence for detaching a container"),
    list("env", "list", "Set environment variables").short('e'),
    list("env-file", "list", "Read in a file of environment variables"),
    switch("interactive", "Keep STDIN open even if not attached").short('i'),
    switch("privileged", "Give extended privileges to the command"),
    switch("tty", "Allocate a pseudo-TTY").short('t'),
    text("user", "string", "Username or UID (format: <name|uid>[:<group|gid>])").short('u'),
    text("workdir", "string", "Working directory inside the container").short('w'),
];

/// `tare attach`
pub(crate) async fn attach(call: Call) -> Result<u8> {
    let container = call.client.inspect_container(&call.given.operands[0]).await?;
    let refusal = match &container.state {
        state if !state.running => {
            Some(("cannot attach to a stopped container", "start it first: tare start -ai"))
        }
        state if state.paused => {
            Some(("cannot attach to a paused container", "unpause it first: tare unpause"))
        }
        state if state.restarting => {
            Some(("cannot attach to a restarting container", "wait until it is running"))
        }
        _ => None,
    };
    if let Some((message, hint)) = refusal {
        return Err(Failure::new(message).hint(hint));
    }
    let stdin = !call.given.on("no-stdin") && container.config.open_stdin;
    check_terminal(stdin, container.config.tty)?;
    follow(&call, &container, stdin, async || Ok(())).await
}

/// `tare start`
pub(crate) async fn start(call: Call) -> Result<u8> {
    let given = &call.given;
    if given.has("checkpoint") || given.has("checkpoint-dir") {
        return Err(Failure::not_supported("--checkpoint"));
    }
    if !given.on("attach") && !given.on("interactive") {
        let start = async |name: &str| {
            call.client.start_container(name).await.map_err(|error| start_failure(error).code(1))
        };
        return output::for_each(&given.operands, start).await;
    }
    let [name] = &given.operands[..] else {
        return Err(Failure::new("you cannot start and attach multiple containers at once"));
    };
    let container = call.client.inspect_container(name).await?;
    let stdin = given.on("interactive") && container.config.open_stdin;
    check_terminal(stdin, container.config.tty)?;
    let begin = async || call.client.start_container(&container.id).await.map_err(start_failure);
    follow(&call, &container, stdin, begin).await
}

/// Connects to a container, does what makes it run, and stays until it ends or the person leaves.
async fn follow(
    call: &Call,
    container: &ContainerInspect,
    stdin: bool,
    begin: impl AsyncFn() -> Result<()>,
) -> Result<u8> {
    let (client, id, tty) = (&call.client, container.id.as_str(), container.config.tty);
    let detach_keys = call.given.text("detach-keys").map(str::to_owned);
    let options = AttachOptions { stdin, stdout: true, stderr: true, logs: false, detach_keys };
    let detach = keys(&call.given)?;
    let mut proxy = if call.given.on("sig-proxy") && !tty { Some(Forwarded::new()?) } else { None };
    let condition = if container.host_config.auto_remove { WaitFor::Removed } else { WaitFor::NextExit };
    let (hijacked, pending) =
        tokio::try_join!(client.attach_container(id, &options), client.wait_container(id, condition))?;
    session::begin(client, id, begin(), proxy.as_mut()).await?;
    let mut session = Session { client, process: Process::Container(id), tty, stdin, detach, proxy };
    match session.connect(hijacked).await? {
        Ended::Output => session.exit(pending).await,
        Ended::Detached => Ok(0),
        Ended::Signalled(code) => Ok(code),
    }
}

/// `tare exec`
pub(crate) async fn exec(call: Call) -> Result<u8> {
    let given = &call.given;
    let [container, command @ ..] = &given.operands[..] else {
        return Err(Failure::usage("no container given"));
    };
    let (tty, detached) = (given.on("tty"), given.on("detach"));
    let stdin = given.on("interactive") && !detached;
    check_terminal(stdin, tty)?;
    let detach = keys(given)?;
    given.each("env", words::variable)?;
    let env = words::variables(&given.list("env-file"), &given.list("env"), |name| std::env::var(name).ok());
    let console_size = size().filter(|_| tty).map(|(rows, columns)| [rows.into(), columns.into()]);
    let request = ExecCreateRequest {
        user: given.owned("user"),
        privileged: given.on("privileged"),
        tty,
        console_size,
        attach_stdin: stdin,
        attach_stderr: !detached,
        attach_stdout: !detached,
        detach_keys: given.owned("detach-keys"),
        env: words::some(env.map_err(Failure::usage)?),
        working_dir: given.owned("workdir"),
        cmd: Some(command.to_vec()),
    };
    let id = call.client.create_exec(container, &request).await?;
    let start = ExecStartRequest { detach: detached, tty, console_size };
    if detached {
        call.client.start_exec(&id, &start).await.map_err(exec_failure)?;
        return Ok(0);
    }
    let hijacked = call.client.attach_exec(&id, &start).await.map_err(exec_failure)?;
    let mut session =
        Session { client: &call.client, process: Process::Exec(&id), tty, stdin, detach, proxy: None };
    match session.connect(hijacked).await? {
        Ended::Output => Ok(exit_code(call.client.inspect_exec(&id).await?.exit_code.unwrap_or(0))),
        Ended::Detached => Ok(0),
        Ended::Signalled(code) => Ok(code),
    }
}

/// The daemon's refusal of an exec has no exit code of its own, other than a program that cannot be run.
fn exec_failure(error: tare_client::Error) -> Failure {
    let failure = start_failure(error);
    let code = if matches!(failure.code, 126 | 127) { failure.code } else { 1 };
    failure.code(code)
}
