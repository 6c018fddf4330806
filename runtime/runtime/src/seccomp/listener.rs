//! The seccomp agent: who decides about calls with `SCMP_ACT_NOTIFY`. It listens on a socket of the host and is sent the
//! listener's descriptor with the container process state, as the runtime specification has it.

use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;

use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use serde::Serialize;
use tare_oci::runtime::Spec;

use crate::channel;
use crate::error::{Error, Result};
use crate::failure::{Failure, Step};
use crate::kept::State;
use crate::seccomp::Filter;

/// A connection to the agent, and what it is told.
#[derive(Debug)]
pub(crate) struct Listener {
    agent: UnixStream,
    metadata: Option<String>,
    state: State,
}

/// <https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#the-container-process-state>
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: &'a State,
}

impl Listener {
    /// None where no call is left to an agent. Connected before anything is made, so that nothing is where there is no agent.
    pub(crate) fn connect(
        spec: &Spec,
        filter: Option<&Filter>,
        state: impl FnOnce() -> State,
    ) -> Result<Option<Self>> {
        let profile = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
        let (Some(profile), true) = (profile, filter.is_some_and(Filter::notifies)) else { return Ok(None) };
        // The compiler has refused a profile that notifies nobody.
        let Some(path) = &profile.listener_path else { return Ok(None) };
        let agent = UnixStream::connect(path)
            .map_err(|e| Error::step(&format!("connect to the seccomp agent at {}", path.display()), e))?;
        Ok(Some(Self { agent, metadata: profile.listener_metadata.clone(), state: state() }))
    }

    /// Takes the listener from the process that has loaded its filter, which need not be able to send it itself then.
    pub(crate) fn hand_over(&self, pid: i32, pidfd: BorrowedFd<'_>, number: RawFd) -> Result<(), Failure> {
        let listener =
            pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty()).at("take the seccomp listener")?;
        let state = State { pid, ..self.state.clone() };
        let message = ProcessState {
            oci_version: &state.oci_version,
            fds: ["seccompFd"],
            pid,
            metadata: self.metadata.as_deref(),
            state: &state,
        };
        let step = "send the seccomp listener to its agent";
        let text = serde_json::to_vec(&message).at(step)?;
        channel::send_all(self.agent.as_fd(), &text, listener.as_fd()).at(step)
    }
}
