//! RUN: a container like any other upon the layers so far; what it wrote is the next layer.

pub(crate) mod keep;
pub(crate) mod mounts;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tare_container::{
    AttachOptions, Attachment, CommandSpec, ContainerSpec, Engine, IdentitySpec, ImageUse, LifecycleSpec,
    LogSpec, NetworkMode, NetworkSpec, RemoveOptions, SecuritySpec, WaitCondition,
};
use tare_dockerfile::{Run, RunCommand, RunNetwork, RunSecurity};
use tare_image::{LayerRequest, LayerUse};
use tare_model::{Digest, Id};
use tare_snapshot::PackOptions;
use tokio::io::AsyncReadExt;

use crate::cache::key::Key;
use crate::job::Job;
use crate::room;
use crate::scratch::Scrap;
use crate::stage::state::{State, pair};
use crate::{Error, Progress, Result};
use mounts::Mounted;

/// What the runtime mounts in every container; what it had to make for that is no part of a layer.
const ALWAYS_MOUNTED: [&str; 6] =
    ["/proc", "/dev", "/sys", "/etc/resolv.conf", "/etc/hostname", "/etc/hosts"];
/// Every step is on the same machine, for those that write its name into files.
const HOSTNAME: &str = "build";

/// A RUN with everything that decides about it.
pub(crate) struct RunStep<'a> {
    pub job: &'a Arc<Job>,
    pub step: usize,
    pub state: &'a State,
    pub run: &'a Run<String>,
    /// Arguments that it sees as variables.
    pub args: Vec<(String, String)>,
    /// Proxies, which neither the cache nor the history sees.
    pub proxies: Vec<(String, String)>,
}

impl RunStep<'_> {
    /// What it is in the history, in Docker's form.
    pub(crate) fn created_by(&self) -> String {
        let args: Vec<String> = self.args.iter().map(|(name, value)| pair(name, value)).collect();
        let told =
            if args.is_empty() { String::new() } else { format!("|{} {} ", args.len(), args.join(" ")) };
        format!("RUN {told}{}", self.words().join(" "))
    }

    /// What is run, a script by its text.
    fn words(&self) -> Vec<String> {
        match &self.run.command {
            RunCommand::Script(script) => [self.state.shell(), vec![script.body.clone()]].concat(),
            RunCommand::Shell(text) => [self.state.shell(), vec![text.clone()]].concat(),
            RunCommand::Exec(words) => words.clone(),
        }
    }

    /// Whether the history tells all that makes a difference, so that another's history can stand for it: it has no mounts,
    /// and lists of words read alike.
    pub(crate) fn is_told_whole(&self) -> bool {
        self.run.mounts.is_empty()
            && self.run.network == RunNetwork::Default
            && self.run.security == RunSecurity::Sandbox
            && !matches!(self.run.command, RunCommand::Exec(_))
    }

    /// What it is known by.
    pub(crate) async fn key(&self) -> Result<Digest> {
        self.entitled()?;
        let (state, config) = (self.state, &self.state.config);
        let mut key = Key::new("run");
        key.maybe(state.top().map(|top| top.to_string()));
        key.list(config.env.iter().flatten()).add(&config.user).add(&config.working_dir);
        key.list(state.shell()).add(format!("{:?}", self.run.command));
        key.list(self.args.iter().map(|(name, value)| format!("{name}={value}")));
        key.add(format!("{:?} {:?}", self.network(), self.run.security))
            .list(&self.job.build.run.extra_hosts);
        key.add(serde_json::to_vec(&self.job.build.run.limits).unwrap_or_default());
        key.add(state.platform.to_string()).maybe(self.job.build.epoch.map(i64::to_be_bytes));
        mounts::describe(self.job, self.run, &mut key).await?;
        Ok(key.finish())
    }

    /// Whether it may do what takes it out of its confinement.
    fn entitled(&self) -> Result<()> {
        let (granted, allowed) = (self.job.build.builder.granted, self.job.build.run.allowed);
        let insecure = self.run.security == RunSecurity::Insecure;
        // Where the whole build has the host's network, that was allowed already.
        let host = self.run.network == RunNetwork::Host && self.job.build.run.network != NetworkMode::Host;
        for (wanted, what, granted, allowed) in [
            (insecure, "security.insecure", granted.insecure, allowed.insecure),
            (host, "network.host", granted.host_network, allowed.host_network),
        ] {
            if wanted && !granted {
                return Err(Error::Forbidden(format!(
                    "{what} is not allowed by this daemon: leave it out, or have it among the builder's entitlements in daemon.json"
                )));
            }
            if wanted && !allowed {
                return Err(Error::Forbidden(format!(
                    "{what} needs the consent of who builds: add --allow {what}"
                )));
            }
        }
        Ok(())
    }

    fn network(&self) -> NetworkMode {
        match self.run.network {
            RunNetwork::Default => self.job.build.run.network.clone(),
            RunNetwork::None => NetworkMode::None,
            RunNetwork::Host => NetworkMode::Host,
        }
    }

    /// Runs it; the layer that it made.
    pub(crate) async fn execute(&self) -> Result<LayerUse> {
        let platform = self.state.platform.clone();
        crate::blocking(move || crate::foreign::check(&platform)).await?;
        let _running = self.job.build.builder.steps.acquire().await.map_err(|_| Error::Cancelled)?;
        let engine = &self.job.build.builder.engine;
        let mut mounted = mounts::prepare(self.job, self.run, &self.state.absolute("")).await?;
        let script = self.script(&mut mounted)?;
        let spec = self.spec(&mounted, script.as_ref().map(|(path, _)| path.clone()));
        let top = self.state.top();
        let base = ImageUse { id: self.state.position, top, config: self.state.config.clone() };
        // A task of its own: whoever stops waiting in the middle leaves nothing half made, as what it makes goes with it.
        let creator = engine.clone();
        let creating = tokio::spawn(async move {
            let id = creator.create_step(base, spec).await?;
            Ok::<_, Error>(Running { id, engine: creator })
        });
        let container = creating.await.map_err(|_| Error::Cancelled)??;
        self.job.tell(Progress::Running(self.step, container.id.clone()));
        let exit_code = self.supervise(&container).await?;
        if exit_code != 0 {
            // What the step has written is still there.
            if let Some(lacking) = room::lacking(&engine.config().data_root) {
                self.job.tell(Progress::Warning(format!("{lacking}: see tare system df")));
            }
            return Err(Error::Command { command: self.words().join(" "), exit_code });
        }
        let always = ALWAYS_MOUNTED.iter().map(PathBuf::from);
        let pack = PackOptions {
            latest: self.job.build.epoch,
            mounted: always.chain(mounted.mounts.iter().map(|mount| mount.target.clone())).collect(),
        };
        let key = container.id.to_string();
        let layer = LayerRequest { key, parent: top, take: true, pack };
        let layer = engine.images().commit_layer(layer).await?;
        drop(mounted);
        Ok(layer)
    }

    /// Starts it and passes on what it writes, to the last byte.
    async fn supervise(&self, container: &Running) -> Result<i32> {
        let (engine, id) = (&container.engine, container.id.as_str());
        let options = AttachOptions { stdin: false, stdout: true, stderr: true };
        let output = engine.attach(id, options).await?;
        let ended = engine.wait(id, WaitCondition::NextExit).await?;
        engine.start(id).await?;
        let (output, ended) = tokio::join!(self.pass_on(output), ended);
        output?;
        Ok(ended.exit_code)
    }

    /// Reads the frames of an attached stream (Engine API, *ContainerAttach*, "Stream format").
    async fn pass_on(&self, mut output: Attachment) -> Result<()> {
        let mut received = BytesMut::with_capacity(16 << 10);
        loop {
            while let Some((error, bytes)) = frame(&mut received) {
                self.job.tell(Progress::Output { step: self.step, bytes, error });
            }
            let read = output.read_buf(&mut received).await;
            if read.map_err(crate::error::io("read what a step writes"))? == 0 {
                return Ok(());
            }
        }
    }

    /// A script with an interpreter of its own becomes a file that only this step sees.
    fn script(&self, mounted: &mut Mounted) -> Result<Option<(String, Arc<Scrap>)>> {
        use std::os::unix::fs::PermissionsExt;
        let RunCommand::Script(script) = &self.run.command else { return Ok(None) };
        if !script.body.starts_with("#!") {
            return Ok(None);
        }
        let scrap = Arc::new(self.job.build.builder.on_disk.scrap()?);
        let file = scrap.path().join("script");
        std::fs::write(&file, &script.body)
            .and_then(|()| std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)))
            .map_err(crate::error::io("write a script"))?;
        let target = format!("/dev/pipes/{}", script.name);
        mounted.bind(&file, &target, true);
        Ok(Some((target, scrap)))
    }

    fn spec(&self, mounted: &Mounted, script: Option<String>) -> ContainerSpec {
        let line = script.map_or_else(|| self.words(), |script| vec![script]);
        let variables = self.args.iter().chain(&self.proxies).map(|(name, value)| format!("{name}={value}"));
        let network = NetworkSpec {
            mode: self.network(),
            extra_hosts: self.job.build.run.extra_hosts.clone(),
            ..NetworkSpec::default()
        };
        // Who shares another's network shares its name.
        let own_name = !matches!(network.mode, NetworkMode::Container(_));
        ContainerSpec {
            image: self.job.build.name.clone(),
            command: CommandSpec {
                entrypoint: Some(line),
                environment: variables.chain(mounted.variables.iter().cloned()).collect(),
                ..CommandSpec::default()
            },
            identity: IdentitySpec {
                hostname: own_name.then(|| HOSTNAME.to_owned()),
                ..IdentitySpec::default()
            },
            lifecycle: LifecycleSpec {
                log: LogSpec { enabled: false, ..LogSpec::default() },
                init: Some(false),
                ..LifecycleSpec::default()
            },
            network,
            mounts: mounted.mounts.clone(),
            security: SecuritySpec {
                privileged: self.run.security == RunSecurity::Insecure,
                ..SecuritySpec::default()
            },
            limits: self.job.build.run.limits.clone(),
            ..ContainerSpec::default()
        }
    }
}

/// A container that goes with this value.
struct Running {
    engine: Arc<Engine>,
    id: Id,
}

impl Drop for Running {
    fn drop(&mut self) {
        let (engine, id) = (self.engine.clone(), self.id.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let options = RemoveOptions { force: true, volumes: false };
                if let Err(error) = engine.remove(id.as_str(), options).await {
                    tracing::warn!(container = %id, "cannot remove what a step ran in: {error}");
                }
            });
        }
    }
}

/// The next whole frame: whether it was written to standard error, and its bytes.
fn frame(received: &mut BytesMut) -> Option<(bool, Bytes)> {
    let head = received.get(..8)?;
    let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
    let error = head[0] == 2;
    if received.len() < 8 + length {
        return None;
    }
    received.advance(8);
    Some((error, received.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_apart_however_they_arrive() {
        let mut all = Vec::new();
        for (stream, text) in [(1_u8, "out"), (2, "error"), (1, "")] {
            all.extend_from_slice(&[stream, 0, 0, 0]);
            all.extend_from_slice(&(text.len() as u32).to_be_bytes());
            all.extend_from_slice(text.as_bytes());
        }
        let (mut received, mut found) = (BytesMut::new(), Vec::new());
        for byte in all {
            received.extend_from_slice(&[byte]);
            found.extend(frame(&mut received));
        }
        let found: Vec<_> = found.iter().map(|(error, bytes)| (*error, &bytes[..])).collect();
        assert_eq!(found, [(false, &b"out"[..]), (true, b"error"), (false, b"")]);
        assert!(received.is_empty());
    }
}
