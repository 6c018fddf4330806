use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Result;
use tare_tests::{binaries, capture, unpacked_peers};

/// A runtime's command line.
pub(crate) struct Runtime {
    pub(crate) name: &'static str,
    program: PathBuf,
    /// crun refuses a machine on which the unified hierarchy beside v1 has controllers: show it one that has none.
    hide_unified: bool,
}

/// The root of the second hierarchy on a hybrid machine.
const UNIFIED: &str = "/sys/fs/cgroup/unified/cgroup.controllers";
/// In a mount namespace of its own, so that the machine does not change.
const HIDE: &str = "mount --bind /dev/null /sys/fs/cgroup/unified/cgroup.controllers && exec \"$@\"";

impl Runtime {
    /// This build's.
    pub(crate) fn ours() -> Result<Self> {
        Ok(Self { name: "tare-runtime", program: binaries()?.join("tare-runtime"), hide_unified: false })
    }

    /// Those of the peers that are installed.
    pub(crate) fn peers() -> Vec<Self> {
        let hybrid = Path::new(UNIFIED).exists();
        let peer = |name: &'static str, hide_unified| Self { name, program: name.into(), hide_unified };
        // The machine's own, which have flaws that were repaired since, and the newest.
        let newest =
            |name, hide_unified| Self { program: unpacked_peers().join(name), ..peer(name, hide_unified) };
        let peers =
            [peer("runc", false), newest("runc", false), peer("crun", hybrid), newest("crun", hybrid)];
        peers.into_iter().filter(|peer| peer.version().is_some()).collect()
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.name == "tare-runtime"
    }

    /// The program on disk.
    pub(crate) fn file(&self) -> PathBuf {
        let named = capture(Command::new("which").arg(&self.program)).map(|ran| ran.out.trim().to_owned());
        named.ok().filter(|path| !path.is_empty()).map_or(self.program.clone(), PathBuf::from)
    }

    /// `runc 1.1.5`.
    pub(crate) fn version(&self) -> Option<String> {
        let ran = capture(Command::new(&self.program).arg("--version")).ok()?;
        let word = ran.out.lines().next()?.rsplit(' ').next()?.to_owned();
        (ran.code == 0).then(|| format!("{} {word}", self.name))
    }

    /// A process that has a mount namespace for the runtime to run in.
    pub(crate) fn host(&self) -> Child {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg(if self.hide_unified { HIDE } else { "exec \"$@\"" });
        command.args(["sh", "sh", "-c", "echo up; exec sleep 1000"]);
        let mut host = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut word = [0; 3];
        host.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
        host
    }

    /// Words are to be added. Nothing here takes a minute, so what does is stuck.
    pub(crate) fn command(&self, state: &Path, host: Option<u32>) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--foreground", "--kill-after=5", "60"]);
        if let Some(host) = host {
            command.args(["nsenter", "--mount", "--target"]).arg(host.to_string());
        } else if self.hide_unified {
            command.args(["unshare", "--mount", "--propagation", "slave", "sh", "-c", HIDE, "sh"]);
        }
        command.arg(&self.program).arg("--root").arg(state);
        command
    }
}
