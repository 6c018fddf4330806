use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{capture, until};

/// Debian's `docker-registry` with a file store of its own, on loopback.
#[derive(Debug)]
pub struct Registry {
    /// `127.0.0.1:port`
    pub address: String,
    server: Child,
}

impl Registry {
    /// Starts it; `wrap` makes the commands, inside a network namespace for instance.
    pub fn start(dir: &Path, port: u16, wrap: &dyn Fn(&str) -> Command) -> Result<Self> {
        let address = format!("127.0.0.1:{port}");
        let store = dir.join("registry");
        std::fs::create_dir_all(&store)?;
        let config = dir.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {address}\n",
            store.display()
        );
        std::fs::write(&config, text)?;
        let log = std::fs::File::create(dir.join("registry.log"))?;
        let mut command = wrap("docker-registry");
        let command =
            command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let server =
            command.spawn().context("docker-registry does not start (cargo xtask setup installs it)")?;
        let registry = Self { address, server };
        let url = format!("http://{}/v2/", registry.address);
        until("the registry to answer", || {
            Ok(capture(wrap("curl").args(["-sf", "-o", "/dev/null", &url]))?.code == 0)
        })?;
        Ok(registry)
    }

    /// Copies an image of an OCI layout into it under this name (`web:v1`) and returns the full reference.
    pub fn push(&self, layout: &str, name: &str, wrap: &dyn Fn(&str) -> Command) -> Result<String> {
        let reference = format!("{}/{name}", self.address);
        let mut skopeo = wrap("skopeo");
        let copied = capture(skopeo.args([
            "copy",
            "-q",
            "--dest-tls-verify=false",
            layout,
            &format!("docker://{reference}"),
        ]))?;
        ensure!(copied.code == 0, "{}: {}", copied.line, copied.err);
        Ok(reference)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
