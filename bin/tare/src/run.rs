//! `run` and `create`.

use std::fs::OpenOptions;
use std::io::Write;

use tare_client::{AttachOptions, Client, Error, WaitFor};
use tare_model::Reference;

use crate::call::Call;
use crate::create::{self, Creation, Pull};
use crate::failure::{Failure, Result};
use crate::flags::Given;
use crate::output::{line, say};
use crate::progress::Shown;
use crate::pull::{self, Wanted};
use crate::session::{self, DetachKeys, Ended, Forwarded, Process, Session, check_terminal, size};

/// The daemon's refusals of `run` and `create` have an exit code that no program in a container has.
const REFUSED: u8 = 125;

/// `tare create`
pub(crate) async fn create(call: Call) -> Result<u8> {
    let creation = create::creation(&call.given)?;
    let id = make(&call, &creation, false).await.map_err(|failure| failure.code(1))?;
    line(id)?;
    Ok(0)
}

/// `tare run`
pub(crate) async fn run(call: Call) -> Result<u8> {
    let given = &call.given;
    let mut creation = create::creation(given)?;
    let detach = given.on("detach");
    if detach && given.has("attach") {
        return Err(Failure::usage("conflicting options: cannot specify both --attach and --detach"));
    }
    let keys = DetachKeys::new(given.text("detach-keys")).map_err(Failure::usage)?;
    let config = &mut creation.request.config;
    if detach {
        (config.attach_stdin, config.attach_stdout, config.attach_stderr) = (false, false, false);
        config.stdin_once = false;
    } else {
        check_terminal(config.attach_stdin, config.tty)?;
    }
    if let Some((rows, columns)) = size() {
        creation.request.host_config.console_size = [rows.into(), columns.into()];
    }
    let id = make(&call, &creation, true).await?;
    if detach {
        call.client.start_container(&id).await.map_err(start_failure)?;
        line(&id)?;
        return Ok(0);
    }
    foreground(&call, &creation, &id, keys).await
}

/// Connects first and starts then, so that neither output nor exit can be missed.
async fn foreground(call: &Call, creation: &Creation, id: &str, keys: DetachKeys) -> Result<u8> {
    let (client, config) = (&call.client, &creation.request.config);
    let options = AttachOptions {
        stdin: config.attach_stdin,
        stdout: config.attach_stdout,
        stderr: config.attach_stderr,
        logs: false,
        detach_keys: call.given.text("detach-keys").map(str::to_owned),
    };
    let condition =
        if creation.request.host_config.auto_remove { WaitFor::Removed } else { WaitFor::NextExit };
    let proxied = call.given.on("sig-proxy") && !config.tty;
    let mut proxy = if proxied { Some(Forwarded::new()?) } else { None };
    let connected =
        tokio::try_join!(client.attach_container(id, &options), client.wait_container(id, condition));
    let (hijacked, pending) = connected.map_err(refused)?;
    let start = async { client.start_container(id).await.map_err(start_failure) };
    session::begin(client, id, start, proxy.as_mut()).await?;
    let mut session = Session {
        client,
        process: Process::Container(id),
        tty: config.tty,
        stdin: options.stdin,
        detach: keys,
        proxy,
    };
    match session.connect(hijacked).await? {
        Ended::Output => session.exit(pending).await.map_err(|failure| failure.code(REFUSED)),
        Ended::Detached => Ok(0),
        Ended::Signalled(code) => Ok(code),
    }
}

/// Makes the container, fetching its image where it is missing and may be fetched; gives its id.
async fn make(call: &Call, creation: &Creation, starts: bool) -> Result<String> {
    let mut cidfile = cidfile(call.given.text("cidfile"))?;
    let image = &creation.request.config.image;
    if creation.pull == Pull::Always {
        fetch(call, creation).await?;
    }
    let created = match send(&call.client, creation, starts).await {
        Err(error) if error.is_missing_image() && creation.pull == Pull::Missing => {
            let name = image.parse::<Reference>().map_or(image.clone(), |name| name.or_latest().familiar());
            say(format!("Unable to find image '{name}' locally"));
            fetch(call, creation).await?;
            send(&call.client, creation, starts).await
        }
        other => other,
    };
    let created = created.inspect_err(|_| drop_cidfile(call.given.text("cidfile"))).map_err(refused)?;
    created.warnings.iter().for_each(|warning| say(format!("WARNING: {warning}")));
    if let Some(file) = &mut cidfile {
        file.write_all(created.id.as_bytes())?;
    }
    Ok(created.id)
}

async fn send(
    client: &Client,
    creation: &Creation,
    starts: bool,
) -> Result<tare_docker_api::ContainerCreateResponse, Error> {
    let (name, platform) = (creation.name.as_deref(), creation.platform.as_deref());
    client.create_container(name, platform, &creation.request, starts).await
}

async fn fetch(call: &Call, creation: &Creation) -> Result<()> {
    let shown = if call.given.on("quiet") { Shown::Nothing } else { Shown::OnStderr };
    let wanted = Wanted::One(creation.platform.as_deref());
    pull::fetch(call, &creation.request.config.image, wanted, shown)
        .await
        .map(drop)
        .map_err(|f| f.code(REFUSED))
}

fn cidfile(path: Option<&str>) -> Result<Option<std::fs::File>> {
    let Some(path) = path else { return Ok(None) };
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let message = "container ID file found, make sure the other container isn't running or delete";
            Err(Failure::usage(format!("{message} {path}")))
        }
        Err(error) => Err(Failure::usage(format!("failed to create the container ID file {path}: {error}"))),
    }
}

fn drop_cidfile(path: Option<&str>) {
    if let Some(path) = path {
        let _ = std::fs::remove_file(path);
    }
}

fn refused(error: Error) -> Failure {
    Failure::from(error).code(REFUSED)
}

/// A program that is not there or may not be run has the exit codes that shells give it.
pub(crate) fn start_failure(error: Error) -> Failure {
    let message = error.to_string();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let (code, hint) = if says(&["executable file not found", "no such file or directory"]) {
        (127, Some("is the program in the image? look with: tare run -it --entrypoint sh IMAGE"))
    } else if says(&["permission denied", "Permission denied", "is a directory", "Is a directory"]) {
        (126, Some("is it a program, and may this user run it?"))
    } else {
        (REFUSED, None)
    };
    let failure = Failure::from(error).code(code);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Whether flags of `run` ask for a session with a terminal; used where a container exists already.
pub(crate) fn keys(given: &Given) -> Result<DetachKeys> {
    DetachKeys::new(given.text("detach-keys")).map_err(Failure::usage)
}
