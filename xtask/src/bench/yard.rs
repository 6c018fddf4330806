//! Registries that are empty whenever somebody wants to push.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use tare_tests::{Registry, World, binaries, capture, until};

/// One registry at a time, at [`Yard::ADDRESS`].
pub(super) struct Yard<'a> {
    world: &'a World,
    server: RefCell<Option<Server>>,
}

/// Whose registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Debian's `docker-registry`.
    Docker,
    /// `tare registry serve`.
    Tare,
}

enum Server {
    Docker { _registry: Registry },
    Tare(Child),
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Self::Tare(server) = self {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

impl<'a> Yard<'a> {
    pub(super) const ADDRESS: &'static str = "127.0.0.1:5001";
    const PORT: u16 = 5001;

    pub(super) fn new(world: &'a World) -> Self {
        Self { world, server: RefCell::new(None) }
    }

    /// Puts an empty one in the place of the one that was there.
    pub(super) fn clear(&self, whose: Whose) -> Result<()> {
        let mut server = self.server.borrow_mut();
        *server = None;
        let dir = self.dir();
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
        *server = Some(match whose {
            Whose::Docker => Server::Docker {
                _registry: Registry::start(&dir, Self::PORT, &|program| self.world.command(program))?,
            },
            Whose::Tare => Server::Tare(self.serve()?),
        });
        Ok(())
    }

    fn dir(&self) -> PathBuf {
        self.world.dir().join("yard")
    }

    fn serve(&self) -> Result<Child> {
        let tare = binaries()?.join("tare");
        let log = std::fs::File::create(self.dir().join("log"))?;
        let mut command: Command = self.world.command(tare.to_str().context("a path that is text")?);
        command.args(["registry", "serve", "--addr", Self::ADDRESS, "--root"]).arg(self.dir().join("data"));
        let server = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let url = format!("http://{}/v2/", Self::ADDRESS);
        until("our registry to answer", || {
            let mut curl = self.world.command("curl");
            Ok(capture(curl.args(["-sf", "-o", "/dev/null", &url]))?.code == 0)
        })?;
        Ok(server)
    }
}
