//! The program itself: found, started and ended.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process_group, prlimit, waitid,
};

use super::Fetch;
use crate::context::LIMITS;
use crate::error::io;
use crate::{Error, Result, in_a_thread, room};

/// Where programs are when nobody says.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// What is passed on: how the world is reached, and which authorities are believed.
const KEPT: [&str; 12] = [
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_EXEC_PATH",
];
/// No configuration of the machine or a user, no question at a terminal, nothing but these protocols (git(1)).
const SET: [&str; 8] = [
    "LC_ALL=C",
    "GIT_CONFIG_NOSYSTEM=1",
    "GIT_CONFIG_GLOBAL=/dev/null",
    "GIT_TERMINAL_PROMPT=0",
    "GIT_ALLOW_PROTOCOL=https:http:ssh:git",
    "GIT_PROTOCOL_FROM_USER=0",
    "GIT_LFS_SKIP_SMUDGE=1",
    // The machine's own keys and settings are nobody's to use: what counts is the agent that came with the build.
    "GIT_SSH_COMMAND=ssh -F /dev/null -o IdentityFile=none -o BatchMode=yes -o StrictHostKeyChecking=yes",
];
/// A repository's own configuration is ours: it is made empty here, and what is fetched cannot write to it.
const CONFIGURED: [&str; 11] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "credential.helper=",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    // One pack however few objects: each of them as a file of its own is looked up thirty times as slowly.
    "fetch.unpackLimit=1",
    "gc.auto=0",
    "maintenance.auto=false",
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
    // They were followed before it is asked, by who knows where they may lead.
    "http.followRedirects=false",
];
/// Bytes of what git says that are kept, and of those that are shown.
const KEPT_OF_SAID: usize = 64 << 10;
const SAID: usize = 2000;
/// What it says in the C locale where there is no room (errno(3), ENOSPC).
const FULL: &str = "No space left on device";
/// The most bytes of a file that git writes, and of one that it answers with: a list of some million files.
const FILE: u64 = LIMITS.bytes;
const ANSWER: u64 = 512 << 20;

pub(super) struct Program {
    git: CString,
    env: Vec<CString>,
    /// `scrap/tree` is the repository, `scrap/answer` what git answers.
    scrap: PathBuf,
    url: String,
    /// The same, for messages.
    shown: String,
    /// What its host stands for; a git before 2.37 looks for itself.
    found: Option<String>,
}

impl Program {
    pub(super) fn find(fetch: &Fetch, scrap: &Path) -> Result<Self> {
        Self::find_in(&std::env::var_os("PATH").unwrap_or_else(|| PATH.into()), fetch, scrap)
    }

    fn find_in(path: &OsStr, fetch: &Fetch, scrap: &Path) -> Result<Self> {
        let (url, shown) = (fetch.address.url.clone(), fetch.address.shown());
        let is_program = |place: &PathBuf| {
            use std::os::unix::fs::PermissionsExt;
            place.is_absolute()
                && place
                    .metadata()
                    .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        };
        let git = std::env::split_paths(path).map(|directory| directory.join("git")).find(is_program);
        let git = git.ok_or_else(|| {
            Error::Request(format!(
                "{shown}: the program git is needed on the daemon's machine and is not in its PATH: install it, or clone the repository yourself and send the directory"
            ))
        })?;
        let mut env: Vec<CString> = SET.iter().map(|text| word(text.as_ref())).collect::<Result<_>>()?;
        let mut add = |name: &str, value: &OsStr| -> Result<()> {
            env.push(word(OsStr::from_bytes(&[name.as_bytes(), b"=", value.as_bytes()].concat()))?);
            Ok(())
        };
        add("PATH", path)?;
        add("HOME", scrap.as_os_str())?;
        for name in KEPT {
            std::env::var_os(name).map_or(Ok(()), |value| add(name, &value))?;
        }
        fetch.agent.as_ref().map_or(Ok(()), |agent| add("SSH_AUTH_SOCK", agent.as_os_str()))?;
        Ok(Self { git: word(git.as_os_str())?, env, scrap: scrap.to_owned(), url, shown, found: None })
    }

    /// Has it connect to what was found of its host, whatever its name stands for a moment later.
    pub(super) fn at(self, found: Option<String>) -> Self {
        Self { found, ..self }
    }

    /// Runs git in the repository to its end.
    pub(super) async fn run(&self, words: &[&str]) -> Result<()> {
        let said = Said::new()?;
        self.end(self.start(words, None, &said)?, words, said).await
    }

    /// The same; what it writes.
    pub(super) async fn ask(&self, words: &[&str]) -> Result<File> {
        let path = self.scrap.join("answer");
        let answer = File::create(&path).map_err(io("make a file for git's answer"))?;
        let said = Said::new()?;
        self.end(self.start(words, Some(answer.as_fd()), &said)?, words, said).await?;
        File::open(&path).map_err(io("read git's answer"))
    }

    async fn end(&self, child: Child, words: &[&str], said: Said) -> Result<()> {
        let pid = child.0;
        let wait = move || {
            let ended = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            Ok(ended.map_err(io("wait for git"))?.and_then(|ended| ended.exit_status()))
        };
        let code = in_a_thread("git", wait)?.await.unwrap_or(Err(Error::Cancelled))?;
        drop(child);
        match code {
            Some(0) => return Ok(()),
            // Nobody but the kernel ends it by a signal, where a file grows beyond what it may have.
            None => return Err(Error::Limit(format!("{}: git {} came to too much", self.shown, words[0]))),
            Some(_) => {}
        }
        let said = said.read();
        let lacking = if said.contains(FULL) { Some(String::new()) } else { room::lacking(&self.scrap) };
        let said = if said.is_empty() { "it ended without a word".to_owned() } else { said };
        let said = format!("git {} {}: {}", words[0], self.shown, said.replace(&self.url, &self.shown));
        Err(match lacking {
            None => Error::Request(said),
            Some(lacking) if lacking.is_empty() => Error::Limit(said),
            Some(lacking) => Error::Limit(format!("{said}: {lacking}")),
        })
    }

    fn start(&self, words: &[&str], stdout: Option<BorrowedFd>, said: &Said) -> Result<Child> {
        let mut args = vec![word("git".as_ref())?, word("-C".as_ref())?];
        args.push(word(self.scrap.join("tree").as_os_str())?);
        let found = self.found.as_ref().map(|found| format!("http.curloptResolve={found}"));
        for setting in CONFIGURED.into_iter().chain(found.as_deref()) {
            args.extend([word("-c".as_ref())?, word(setting.as_ref())?]);
        }
        for text in words {
            args.push(word(text.as_ref())?);
        }
        let program = tare_sys::spawn::Program {
            path: &self.git,
            args: &args,
            env: &self.env,
            stdout,
            stderr: said.0.as_fd(),
            fds: &[],
        };
        let pid = tare_sys::spawn::spawn(&program).map_err(io("start git"))?;
        let child = Pid::from_raw(pid).map(Child).ok_or(Error::Cancelled)?;
        let most = Some(if stdout.is_some() { ANSWER } else { FILE });
        tare_sys::descriptors::give_back(pid);
        let limits = [(Resource::Fsize, most), (Resource::Core, Some(0))];
        for (resource, most) in limits {
            // Nothing that it may not have can be on the disk so early.
            prlimit(Some(child.0), resource, Rlimit { current: most, maximum: most })
                .map_err(io("limit git"))?;
        }
        Ok(child)
    }
}

/// What git says: in memory, as it may have to say that the disk is full, and no more than so much, as a server has it say
/// what it likes.
struct Said(File);

impl Said {
    fn new() -> Result<Self> {
        let made = memfd_create(c"git", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .and_then(|file| ftruncate(&file, KEPT_OF_SAID as u64).map(|()| file))
            .and_then(|file| fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK).map(|()| file));
        Ok(Self(made.map_err(io("make a file for what git says"))?.into()))
    }

    /// The last of it.
    fn read(mut self) -> String {
        let mut said = Vec::new();
        let read = self.0.rewind().and_then(|()| self.0.read_to_end(&mut said));
        let end = said.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let shown = if read.is_ok() { &said[end.saturating_sub(SAID)..end] } else { &[][..] };
        String::from_utf8_lossy(shown).trim().replace('\r', "\n")
    }
}

fn word(text: &OsStr) -> Result<CString> {
    let refused = |_| Error::Request("a word for git holds a zero byte".to_owned());
    CString::new(text.as_bytes()).map_err(refused)
}

/// Git and what it has started, a session of its own. All of it ends with this value; its number is nobody else's before.
struct Child(Pid);

impl Drop for Child {
    fn drop(&mut self) {
        let pid = self.0;
        let _ = kill_process_group(pid, Signal::KILL);
        let reap = move || {
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(reap)),
            Err(_) => reap(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_machine_without_git_is_told_what_to_do() {
        let nowhere = tempfile::tempdir().unwrap();
        std::fs::write(nowhere.path().join("git"), "not to be executed").unwrap();
        for path in [nowhere.path().as_os_str(), "".as_ref(), "relative:.".as_ref()] {
            let refused = Program::find_in(path, &Fetch::default(), nowhere.path());
            let said = refused.map(drop).unwrap_err().to_string();
            assert!(said.contains("the program git is needed on the daemon's machine"), "{said}");
        }
    }

    /// A container's start needs such a thread, and a git server may take all the time it wants.
    #[test]
    fn a_git_that_stalls_keeps_no_thread_that_others_need() {
        let place = tempfile::tempdir().unwrap();
        let script = place.path().join("script");
        std::fs::write(&script, "#!/bin/sh\nexec sleep 600\n").unwrap();
        // By another process: a program is busy for as long as anybody has it open for writing, a child of another test too.
        let mut install = std::process::Command::new("install");
        let git = place.path().join("git");
        assert!(install.arg("-m755").args([&script, &git]).status().unwrap().success());
        let path = std::env::join_paths([place.path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
        let git = Program::find_in(&path, &Fetch::default(), place.path()).unwrap();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.max_blocking_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let other = async { tokio::task::spawn_blocking(|| ()).await.unwrap() };
            tokio::select! {
                biased;
                ended = git.run(&["fetch"]) => panic!("{ended:?}"),
                in_time = tokio::time::timeout(Duration::from_secs(20), other) => in_time.unwrap(),
            }
        });
    }
}
