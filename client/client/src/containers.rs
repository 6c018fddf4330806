use http::Method;
use tare_docker_api::{
    ContainerCreateRequest, ContainerCreateResponse, ContainerInspect, ContainerSummary, ContainerTop,
    ContainerWait,
};

use crate::address::Address;
use crate::error::{Error, Result};
use crate::transport::{Answer, Client, Hijacked};

/// What `GET /containers/json` is asked for.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Those that do not run too.
    pub all: bool,
    /// The newest so many; implies `all`.
    pub limit: Option<i64>,
    /// Measure what each has written.
    pub size: bool,
    /// The API's filters, as JSON.
    pub filters: Option<String>,
}

/// Which streams an attach connects.
#[derive(Clone, Debug, Default)]
pub struct AttachOptions {
    /// Send input.
    pub stdin: bool,
    /// Receive standard output.
    pub stdout: bool,
    /// Receive standard error.
    pub stderr: bool,
    /// First what was said before.
    pub logs: bool,
    /// The keys that end the connection, for daemons that watch for them.
    pub detach_keys: Option<String>,
}

/// Which part of a log is wanted.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Go on while the container runs.
    pub follow: bool,
    /// Seconds since 1970 or RFC 3339.
    pub since: Option<String>,
    /// Likewise.
    pub until: Option<String>,
    /// Put the time before each line.
    pub timestamps: bool,
    /// Put the log driver's attributes before each line.
    pub details: bool,
    /// So many lines of the end, or `all`.
    pub tail: Option<String>,
}

/// What a wait waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// That it does not run; at once where it does not.
    NotRunning,
    /// The next time it ends.
    NextExit,
    /// That it is gone.
    Removed,
}

/// A wait that the daemon has registered: no exit from here on is missed.
#[derive(Debug)]
pub struct PendingExit(Answer);

impl PendingExit {
    /// Waits for the exit.
    pub async fn exit(self) -> Result<ContainerWait> {
        self.0.json().await
    }
}

fn container(id: &str, verb: &str) -> Address {
    Address::new("containers").name(id).word(verb)
}

impl Client {
    /// `POST /containers/create`. Who `starts` the container at once lets Tare's daemon write it down meanwhile: it is on the
    /// disk when the start is answered.
    pub async fn create_container(
        &self,
        name: Option<&str>,
        platform: Option<&str>,
        request: &ContainerCreateRequest,
        starts: bool,
    ) -> Result<ContainerCreateResponse> {
        let address = Address::new("containers")
            .word("create")
            .query_some("name", name)
            .query_some("platform", platform)
            .flag("starts", starts);
        self.send_json(Method::POST, &address, request).await?.json().await
    }

    /// `GET /containers/json`
    pub async fn containers(&self, options: &ListOptions) -> Result<Vec<ContainerSummary>> {
        let limit = options.limit.map(|limit| limit.to_string());
        let address = Address::new("containers")
            .word("json")
            .flag("all", options.all)
            .query_some("limit", limit.as_deref())
            .flag("size", options.size)
            .query_some("filters", options.filters.as_deref());
        self.get(&address).await
    }

    /// `GET /containers/{id}/json`, as the daemon wrote it.
    pub async fn inspect_container_raw(&self, id: &str, size: bool) -> Result<String> {
        self.text(&container(id, "json").flag("size", size)).await
    }

    /// `GET /containers/{id}/json`
    pub async fn inspect_container(&self, id: &str) -> Result<ContainerInspect> {
        self.get(&container(id, "json")).await
    }

    /// `POST /containers/{id}/start`
    pub async fn start_container(&self, id: &str) -> Result<()> {
        self.post(&container(id, "start")).await
    }

    /// `POST /containers/{id}/stop`; the daemon's defaults where nothing is said. A negative timeout waits for ever.
    pub async fn stop_container(&self, id: &str, signal: Option<&str>, timeout: Option<i64>) -> Result<()> {
        self.post(&with_signal(container(id, "stop"), signal, timeout)).await
    }

    /// `POST /containers/{id}/restart`
    pub async fn restart_container(
        &self,
        id: &str,
        signal: Option<&str>,
        timeout: Option<i64>,
    ) -> Result<()> {
        self.post(&with_signal(container(id, "restart"), signal, timeout)).await
    }

    /// `POST /containers/{id}/kill`
    pub async fn kill_container(&self, id: &str, signal: Option<&str>) -> Result<()> {
        self.post(&container(id, "kill").query_some("signal", signal)).await
    }

    /// `POST /containers/{id}/pause`
    pub async fn pause_container(&self, id: &str) -> Result<()> {
        self.post(&container(id, "pause")).await
    }

    /// `POST /containers/{id}/unpause`
    pub async fn unpause_container(&self, id: &str) -> Result<()> {
        self.post(&container(id, "unpause")).await
    }

    /// `POST /containers/{id}/rename`
    pub async fn rename_container(&self, id: &str, name: &str) -> Result<()> {
        self.post(&container(id, "rename").query("name", name)).await
    }

    /// `DELETE /containers/{id}`
    pub async fn remove_container(&self, id: &str, force: bool, volumes: bool, link: bool) -> Result<()> {
        let address =
            Address::new("containers").name(id).flag("v", volumes).flag("force", force).flag("link", link);
        self.delete(&address).await.map(drop)
    }

    /// `POST /containers/{id}/wait`. Returns once the wait is registered.
    pub async fn wait_container(&self, id: &str, condition: WaitFor) -> Result<PendingExit> {
        let condition = match condition {
            WaitFor::NotRunning => "not-running",
            WaitFor::NextExit => "next-exit",
            WaitFor::Removed => "removed",
        };
        let address = container(id, "wait").query("condition", condition);
        self.send(Method::POST, &address).await.map(PendingExit)
    }

    /// `POST /containers/{id}/attach`. May be called before the start; then nothing of the output is missed.
    pub async fn attach_container(&self, id: &str, options: &AttachOptions) -> Result<Hijacked> {
        let address = container(id, "attach")
            .query("stream", "1")
            .flag("stdin", options.stdin)
            .flag("stdout", options.stdout)
            .flag("stderr", options.stderr)
            .flag("logs", options.logs)
            .query_some("detachKeys", options.detach_keys.as_deref());
        self.hijack(&address, None).await
    }

    /// `POST /containers/{id}/resize`
    pub async fn resize_container(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        self.post(&sized(container(id, "resize"), rows, columns)).await
    }

    /// `GET /containers/{id}/logs`
    pub async fn container_logs(&self, id: &str, options: &LogOptions) -> Result<Answer> {
        let address = container(id, "logs")
            .query("stdout", "1")
            .query("stderr", "1")
            .flag("follow", options.follow)
            .flag("timestamps", options.timestamps)
            .flag("details", options.details)
            .query_some("since", options.since.as_deref())
            .query_some("until", options.until.as_deref())
            .query_some("tail", options.tail.as_deref());
        self.send(Method::GET, &address).await
    }

    /// `GET /containers/{id}/top`
    pub async fn top_container(&self, id: &str, arguments: Option<&str>) -> Result<ContainerTop> {
        self.get(&container(id, "top").query_some("ps_args", arguments)).await
    }
}

impl Error {
    /// Whether an image that a container was to be made of is not on the machine yet.
    pub fn is_missing_image(&self) -> bool {
        let words = ["no such image", "image not known"];
        matches!(self, Self::Api { status: 404, message } if words.iter().any(|w| message.to_lowercase().contains(w)))
    }
}

pub(crate) fn sized(address: Address, rows: u16, columns: u16) -> Address {
    address.query("h", &rows.to_string()).query("w", &columns.to_string())
}

fn with_signal(address: Address, signal: Option<&str>, timeout: Option<i64>) -> Address {
    let timeout = timeout.map(|seconds| seconds.to_string());
    address.query_some("t", timeout.as_deref()).query_some("signal", signal)
}
