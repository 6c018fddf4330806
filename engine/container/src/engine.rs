#![allow(clippy::unused_async)]
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::Stream;
use tare_model::{Id, Name, Signal, Timestamp};

use crate::*;

/// What the daemon was configured with.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Everything that lasts.
    pub data_root: PathBuf,
}

/// All containers of one daemon.
pub struct Engine;

#[allow(missing_docs, unused_variables)]
impl Engine {
    pub async fn create(&self, name: Option<Name>, spec: ContainerSpec) -> Result<Created> { panic!("stands soon") }
    pub async fn start(&self, id: &str) -> Result<()> { panic!("stands soon") }
    pub async fn stop(&self, id: &str, options: StopOptions) -> Result<()> { panic!("stands soon") }
    pub async fn restart(&self, id: &str, options: StopOptions) -> Result<()> { panic!("stands soon") }
    pub async fn kill(&self, id: &str, signal: Signal) -> Result<()> { panic!("stands soon") }
    pub async fn pause(&self, id: &str) -> Result<()> { panic!("stands soon") }
    pub async fn unpause(&self, id: &str) -> Result<()> { panic!("stands soon") }
    pub async fn rename(&self, id: &str, name: Name) -> Result<()> { panic!("stands soon") }
    pub async fn remove(&self, id: &str, options: RemoveOptions) -> Result<()> { panic!("stands soon") }
    /// Registered when the outer future returns.
    pub async fn wait(&self, id: &str, condition: WaitCondition) -> Result<impl Future<Output = WaitResult> + Send + 'static + use<>> { Ok(async { panic!("stands soon") }) }
    pub fn inspect(&self, id: &str) -> Result<Arc<Container>> { panic!("stands soon") }
    pub fn list(&self) -> Vec<Arc<Container>> { panic!("stands soon") }
    /// tokio AsyncRead + AsyncWrite + Unpin + Send; may be asked before the start.
    pub async fn attach(&self, id: &str, options: AttachOptions) -> Result<Attachment> { panic!("stands soon") }
    pub async fn logs(&self, id: &str, options: LogOptions) -> Result<impl Stream<Item = Result<LogEntry>> + Send + 'static + use<>> { Ok(futures_util::stream::empty()) }
    pub async fn resize(&self, id: &str, rows: u16, columns: u16) -> Result<()> { panic!("stands soon") }
    pub async fn top(&self, id: &str, ps_args: &str) -> Result<Top> { panic!("stands soon") }
    pub async fn exec_create(&self, id: &str, spec: ExecSpec) -> Result<Id> { panic!("stands soon") }
    /// Attached when `options` asks for a stream, detached when it does not.
    pub async fn exec_start(&self, exec: &str, options: AttachOptions, console_size: Option<(u16, u16)>) -> Result<Option<Attachment>> { panic!("stands soon") }
    pub async fn exec_resize(&self, exec: &str, rows: u16, columns: u16) -> Result<()> { panic!("stands soon") }
    pub fn exec_inspect(&self, exec: &str) -> Result<Exec> { panic!("stands soon") }
    pub fn events(&self, since: Option<Timestamp>) -> EventStream { panic!("stands soon") }
    pub fn publish(&self, event: Event) { panic!("stands soon") }
    pub fn counts(&self) -> Counts { panic!("stands soon") }
    pub fn endpoint(&self, id: &Id) -> Option<tare_network::Endpoint> { panic!("stands soon") }
    pub fn config(&self) -> &Config { panic!("stands soon") }
    pub fn images(&self) -> &Arc<tare_image::Images> { panic!("stands soon") }
    pub fn networks(&self) -> &Arc<tare_network::Networks> { panic!("stands soon") }
    pub fn volumes(&self) -> &Arc<tare_volume::Volumes> { panic!("stands soon") }
    pub fn snapshots(&self) -> &Arc<tare_snapshot::Snapshots> { panic!("stands soon") }
}

/// A raw stream to and from a program: `AsyncRead + AsyncWrite`.
pub struct Attachment(tokio::net::UnixStream);
