//! The instructions of the Dockerfile reference as types. `T` is [`crate::Word`] as parsed and `String` once expanded.

use std::time::Duration;

use crate::{Heredoc, Word};

/// One instruction of a stage. FROM is not among them: it opens the [`crate::Stage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction<T = Word> {
    /// `ADD [flags] source… destination`
    Add(AddFiles<T>),
    /// `ARG name[=default]…`
    Arg(Vec<Argument<T>>),
    /// `CMD`; `Exec([])` resets it.
    Cmd(Command),
    /// `COPY [flags] source… destination`
    Copy(CopyFiles<T>),
    /// `ENTRYPOINT`; `Exec([])` resets it.
    Entrypoint(Command),
    /// `ENV name=value…`, also the old `ENV name value`.
    Env(Vec<(T, T)>),
    /// `EXPOSE port[-port][/protocol]…`; [`crate::ports`] reads the words once they are expanded.
    Expose(Vec<T>),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `LABEL name=value…`
    Label(Vec<(T, T)>),
    /// `MAINTAINER name`, deprecated.
    Maintainer(String),
    /// `ONBUILD instruction`: the text as the image keeps it (variables unexpanded), for [`crate::parse_trigger`].
    Onbuild(String),
    /// `RUN`
    Run(Run<T>),
    /// `SHELL ["program", "argument"…]`
    Shell(Vec<String>),
    /// `STOPSIGNAL signal`
    Stopsignal(T),
    /// `USER user[:group]`
    User(T),
    /// `VOLUME path…`
    Volume(Vec<T>),
    /// `WORKDIR path`, relative to the one before.
    Workdir(T),
}

/// The two forms of a command. Never expanded by the builder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// To be handed to the stage's shell as one argument.
    Shell(String),
    /// A program and its arguments.
    Exec(Vec<String>),
}

/// `name` or `name=default` of an ARG. Once expanded, `value` is the default alone: [`crate::Scope::admit`] decides what counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument<T = Word> {
    /// The variable.
    pub name: T,
    /// What holds when nothing is given from outside.
    pub value: Option<T>,
}

/// What COPY and ADD take from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source<T = Word> {
    /// A path with wildcards; for ADD also a URL or a git reference.
    Path(T),
    /// A file written in the Dockerfile itself; it lands under its name. Once expanded, so is the body.
    Heredoc(Heredoc),
}

/// `COPY`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFiles<T = Word> {
    /// At least one.
    pub sources: Vec<Source<T>>,
    /// A directory where it ends in `/` or there are several sources.
    pub destination: T,
    /// `--from`: a stage, an image or a named context, never expanded (see [`crate::Stages::origin`]); absent = the context.
    pub from: Option<Word>,
    /// `--chown=user[:group]`
    pub chown: Option<T>,
    /// `--chmod`: octal or symbolic.
    pub chmod: Option<T>,
    /// `--link`
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--exclude`, patterns in the manner of `.dockerignore`.
    pub exclude: Vec<T>,
}

/// `ADD`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddFiles<T = Word> {
    /// At least one.
    pub sources: Vec<Source<T>>,
    /// A directory where it ends in `/` or there are several sources.
    pub destination: T,
    /// `--checksum=sha256:…` of what a URL serves.
    pub checksum: Option<T>,
    /// `--keep-git-dir`
    pub keep_git_dir: bool,
    /// `--unpack`: absent = local archives are unpacked, downloaded ones are not.
    pub unpack: Option<bool>,
    /// `--chown=user[:group]`
    pub chown: Option<T>,
    /// `--chmod`: octal or symbolic.
    pub chmod: Option<T>,
    /// `--link`
    pub link: bool,
    /// `--exclude`, patterns in the manner of `.dockerignore`.
    pub exclude: Vec<T>,
}

/// `HEALTHCHECK`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck {
    /// Switches off what the base image brought.
    None,
    /// A probe; times that are not given are `None`, for the engine's defaults.
    Probe {
        /// What is run inside the container.
        command: Command,
        /// `--interval`
        interval: Option<Duration>,
        /// `--timeout`
        timeout: Option<Duration>,
        /// `--start-period`
        start_period: Option<Duration>,
        /// `--start-interval`
        start_interval: Option<Duration>,
        /// `--retries`
        retries: Option<u32>,
    },
}

/// `RUN`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run<T = Word> {
    /// What is run.
    pub command: RunCommand,
    /// `--mount`, in order.
    pub mounts: Vec<Mount<T>>,
    /// `--network`
    pub network: RunNetwork,
    /// `--security`
    pub security: RunSecurity,
}

/// What RUN runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunCommand {
    /// For the stage's shell as one argument; here-documents and their bodies are part of the text.
    Shell(String),
    /// A program and its arguments.
    Exec(Vec<String>),
    /// `RUN <<EOF`: the body is a script, run by the stage's shell, or by its own interpreter when it begins with `#!`.
    Script(Heredoc),
}

/// `RUN --network`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunNetwork {
    /// As the build says.
    #[default]
    Default,
    /// Loopback alone.
    None,
    /// The host's own network, where the build may use it.
    Host,
}

/// `RUN --security`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunSecurity {
    /// Confined as every container.
    #[default]
    Sandbox,
    /// Privileged, where the build may be.
    Insecure,
}

/// `RUN --mount`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount<T = Word> {
    /// Files of the context, a stage or an image.
    Bind(BindMount<T>),
    /// A directory that lasts from build to build.
    Cache(CacheMount<T>),
    /// An empty file system in memory.
    Tmpfs {
        /// Where.
        target: T,
        /// The most bytes it may hold; absent = the kernel's default.
        size: Option<u64>,
    },
    /// A file that is there for this step alone and never in a layer.
    Secret(SecretMount<T>),
    /// The socket of an ssh agent.
    Ssh(SshMount<T>),
}

/// `RUN --mount=type=bind`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindMount<T = Word> {
    /// Where.
    pub target: T,
    /// Path inside `from`; absent = its root.
    pub source: Option<T>,
    /// A stage, an image or a named context; absent = the build context. Never expanded.
    pub from: Option<Word>,
    /// `rw`: what is written is dropped after the step.
    pub writable: bool,
}

/// `RUN --mount=type=cache`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMount<T = Word> {
    /// Where.
    pub target: T,
    /// The cache's name; absent = the target.
    pub id: Option<T>,
    /// `ro`
    pub read_only: bool,
    /// Who may use it at the same time.
    pub sharing: Sharing,
    /// What it begins with: a stage, an image or a named context. Never expanded.
    pub from: Option<Word>,
    /// Path inside `from`; absent = its root.
    pub source: Option<T>,
    /// Mode of a new cache directory, 0755 unless given.
    pub mode: u32,
    /// Owner of a new cache directory.
    pub uid: u32,
    /// Group of a new cache directory.
    pub gid: u32,
}

/// `sharing=` of a cache mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Any number of writers.
    #[default]
    Shared,
    /// A second writer gets another directory.
    Private,
    /// A second writer waits.
    Locked,
}

/// `RUN --mount=type=secret`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretMount<T = Word> {
    /// The secret's name at the command line.
    pub id: T,
    /// The file; absent = `/run/secrets/ID`, or no file at all where `env` is given.
    pub target: Option<T>,
    /// The variable that carries it.
    pub env: Option<T>,
    /// Whether the step fails when the secret was not given; else it runs without.
    pub required: bool,
    /// Mode of the file, 0400 unless given.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// `RUN --mount=type=ssh`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshMount<T = Word> {
    /// The agent's name at the command line, `default` unless given.
    pub id: Option<T>,
    /// The socket; absent = `/run/buildkit/ssh_agent.N`.
    pub target: Option<T>,
    /// Whether the step fails when no agent was given; else it runs without.
    pub required: bool,
    /// Mode of the socket, 0600 unless given.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}
