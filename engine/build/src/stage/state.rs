//! What a stage is between two of its instructions, and what instructions without files make of it. Pure.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use tare_dockerfile::{Command, Healthcheck, Instruction, Span, ports};
use tare_image::LayerUse;
use tare_model::{Digest, Platform, Signal, Timestamp};
use tare_oci::image::{Empty, ExecutionConfig, HealthConfig, History, ImageConfig, RootFs};

use crate::cache::key::Key;
use crate::{Error, Result};

/// What a base without an environment gets, so that programs are found.
pub(crate) const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a stage began with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Base {
    /// How many layers and steps it has.
    pub layers: usize,
    pub steps: usize,
    /// What stands for it; nothing for the empty one.
    pub position: Option<Digest>,
}

/// A stage so far.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub layers: Vec<LayerUse>,
    pub config: ExecutionConfig,
    pub history: Vec<History>,
    pub platform: Platform,
    pub author: String,
    /// Stands for everything so far.
    pub position: Digest,
    /// Whether CMD was given in this stage: ENTRYPOINT drops one that was inherited.
    pub own_command: bool,
    pub base: Base,
    /// Bytes of the history's instructions.
    pub told: usize,
    /// Bytes that describe it, configuration and history.
    pub weight: usize,
}

impl State {
    /// Nothing at all.
    pub(crate) fn scratch(platform: Platform) -> Self {
        let config =
            ExecutionConfig { env: Some(vec![DEFAULT_PATH.to_owned()]), ..ExecutionConfig::default() };
        let position = Key::new("scratch").add(platform.to_string()).finish();
        let (layers, history, author) = (Vec::new(), Vec::new(), String::new());
        Self {
            layers,
            config,
            history,
            platform,
            author,
            position,
            own_command: false,
            base: Base::default(),
            told: 0,
            weight: 0,
        }
    }

    /// An image with its layers.
    pub(crate) fn image(image: &tare_image::Image, layers: Vec<LayerUse>) -> Self {
        let mut config = image.config.config.clone();
        let env = config.env.get_or_insert_default();
        if !env.iter().any(|variable| variable.starts_with("PATH=")) {
            env.push(DEFAULT_PATH.to_owned());
        }
        Self {
            layers,
            config,
            history: image.config.history.clone(),
            platform: image.platform(),
            author: image.config.author.clone(),
            position: Key::new("image").add(image.id.to_string()).finish(),
            own_command: false,
            base: Base::default(),
            told: image.config.history.iter().map(|step| step.created_by.len()).sum(),
            weight: 0,
        }
    }

    pub(crate) fn top(&self) -> Option<Digest> {
        self.layers.last().map(|layer| layer.chain)
    }

    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let split = |variable: &String| {
            variable.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        self.config.env.iter().flatten().filter_map(split).collect()
    }

    /// The shell of shell forms.
    pub(crate) fn shell(&self) -> Vec<String> {
        self.config.shell.clone().unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()])
    }

    fn command(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(text) => [self.shell(), vec![text.clone()]].concat(),
        }
    }

    /// A path of the Dockerfile, from the root.
    pub(crate) fn absolute(&self, path: &str) -> PathBuf {
        let base = if self.config.working_dir.is_empty() { "/" } else { &self.config.working_dir };
        clean(&Path::new(base).join(path))
    }

    /// Notes a finished step: what it was, when, and whether it made a layer.
    pub(crate) fn passed(&mut self, created_by: String, created: Timestamp, layer: Option<LayerUse>) {
        let mut position = Key::new("position");
        position.add(self.position.to_string()).add(&created_by);
        let config = serde_json::to_vec(&self.config).unwrap_or_default();
        self.told += created_by.len();
        self.weight = self.told + config.len();
        position.add(config);
        position.maybe(layer.as_ref().map(|layer| layer.chain.to_string()));
        self.position = position.finish();
        let empty_layer = layer.is_none();
        self.layers.extend(layer);
        self.history.push(History { created: Some(created), created_by, empty_layer, ..History::default() });
    }

    /// What an instruction that has nothing to do with files makes of the configuration. `env` is the environment once it is
    /// taken in.
    pub(crate) fn apply(
        &mut self,
        instruction: &Instruction<String>,
        env: &[(String, String)],
    ) -> Result<()> {
        let config = &mut self.config;
        match instruction {
            Instruction::Env(_) => {
                config.env = Some(env.iter().map(|(name, value)| format!("{name}={value}")).collect());
            }
            Instruction::Label(pairs) => {
                config.labels.get_or_insert_default().extend(pairs.iter().cloned());
            }
            Instruction::Expose(words) => {
                for word in words {
                    let ports = ports(word, Span::default())?;
                    let exposed = config.exposed_ports.get_or_insert_default();
                    exposed.extend(ports.into_iter().map(|port| (port, Empty {})));
                }
            }
            Instruction::Volume(paths) => {
                if paths.iter().any(|path| path.trim().is_empty()) {
                    return Err(Error::Request("VOLUME specified can not be an empty string".to_owned()));
                }
                let volumes = config.volumes.get_or_insert_default();
                volumes.extend(paths.iter().map(|path| (path.clone(), Empty {})));
            }
            Instruction::User(user) => config.user.clone_from(user),
            Instruction::Workdir(path) => {
                let path = self.absolute(path);
                self.config.working_dir = path.display().to_string();
            }
            Instruction::Stopsignal(signal) => {
                let known = signal.parse::<Signal>();
                known.map_err(|why| Error::Request(format!("STOPSIGNAL {signal}: {why}")))?;
                config.stop_signal = Some(signal.clone());
            }
            Instruction::Shell(words) => config.shell = Some(words.clone()),
            Instruction::Healthcheck(check) => self.config.healthcheck = Some(self.health(check)),
            Instruction::Onbuild(text) => config.on_build.get_or_insert_default().push(text.clone()),
            Instruction::Maintainer(name) => self.author.clone_from(name),
            Instruction::Cmd(command) => {
                self.config.cmd = Some(self.command(command));
                self.own_command = true;
            }
            Instruction::Entrypoint(command) => {
                self.config.entrypoint = Some(self.command(command));
                if !self.own_command {
                    self.config.cmd = None;
                }
            }
            Instruction::Arg(_) | Instruction::Run(_) | Instruction::Copy(_) | Instruction::Add(_) => {}
        }
        Ok(())
    }

    /// An instruction without files as the history tells it: with its variables replaced where they make a difference to what
    /// comes after it.
    pub(crate) fn told(&self, instruction: &Instruction<String>, text: &str) -> String {
        let pairs = |pairs: &[(String, String)]| {
            pairs.iter().map(|(name, value)| format!(" {}", pair(name, value))).collect::<String>()
        };
        match instruction {
            Instruction::Env(variables) => format!("ENV{}", pairs(variables)),
            Instruction::Label(labels) => format!("LABEL{}", pairs(labels)),
            Instruction::User(user) => format!("USER {user}"),
            Instruction::Workdir(_) => format!("WORKDIR {}", self.config.working_dir),
            _ => text.to_owned(),
        }
    }

    fn health(&self, check: &Healthcheck) -> HealthConfig {
        let Healthcheck::Probe { command, interval, timeout, start_period, start_interval, retries } = check
        else {
            return HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() };
        };
        let nanoseconds = |time: &Option<std::time::Duration>| {
            time.map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
        };
        let test = match command {
            Command::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
            Command::Exec(words) => [vec!["CMD".to_owned()], words.clone()].concat(),
        };
        HealthConfig {
            test: Some(test),
            interval: nanoseconds(interval),
            timeout: nanoseconds(timeout),
            retries: retries.map_or(0, i64::from),
            start_period: nanoseconds(start_period),
            start_interval: nanoseconds(start_interval),
        }
    }

    /// The image that the stage is.
    pub(crate) fn image_config(&self, labels: &BTreeMap<String, String>, epoch: Option<i64>) -> ImageConfig {
        let mut config = self.config.clone();
        if !labels.is_empty() {
            config.labels.get_or_insert_default().extend(labels.clone());
        }
        let created = epoch.map(|seconds| Timestamp { seconds, ..Timestamp::ZERO });
        ImageConfig {
            created: created.or_else(|| self.history.last().and_then(|step| step.created)),
            author: self.author.clone(),
            architecture: self.platform.architecture.clone(),
            os: self.platform.os.clone(),
            variant: self.platform.variant.clone(),
            config,
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() },
            history: self.history.clone(),
        }
    }
}

/// A variable as the history tells it. What stands there for a step that another has done must read in one way only: `A="b C=d"`
/// is not `A=b C=d`.
pub(crate) fn pair(name: &str, value: &str) -> String {
    let plain = !value.contains(|c: char| c.is_whitespace() || c == '"');
    if plain { format!("{name}={value}") } else { format!("{name}={value:?}") }
}

/// Takes out `.`, `..` and doubled slashes by their letters alone. What the path means in a tree is the kernel's to say.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => drop(cleaned.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(instructions: &[Instruction<String>]) -> State {
        let mut state = State::scratch(Platform::host());
        for instruction in instructions {
            state.apply(instruction, &[]).unwrap();
        }
        state
    }

    #[test]
    fn entrypoint_drops_only_an_inherited_command() {
        let command = |text: &str| Command::Exec(vec![text.to_owned()]);
        let mut inherited = State::scratch(Platform::host());
        inherited.config.cmd = Some(vec!["old".to_owned()]);
        inherited.apply(&Instruction::Entrypoint(command("e")), &[]).unwrap();
        assert_eq!(inherited.config.cmd, None);
        let own = applied(&[Instruction::Cmd(command("c")), Instruction::Entrypoint(command("e"))]);
        assert_eq!(own.config.cmd, Some(vec!["c".to_owned()]));
    }

    #[test]
    fn shell_forms_use_the_shell_of_the_moment() {
        let shell = Instruction::Shell(vec!["/bin/bash".into(), "-ec".into()]);
        let state = applied(&[shell, Instruction::Cmd(Command::Shell("a b".into()))]);
        assert_eq!(state.config.cmd.unwrap(), ["/bin/bash", "-ec", "a b"]);
    }

    #[test]
    fn no_two_lists_of_variables_are_told_alike() {
        let told = |pairs: &[(&str, &str)]| {
            let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            State::scratch(Platform::host()).told(&Instruction::Env(owned), "")
        };
        let all = [
            told(&[("A", "b"), ("C", "d")]),
            told(&[("A", "b C=d")]),
            told(&[("A", "\"b"), ("C", "d\"")]),
            told(&[("A", "\"b C=d\"")]),
            told(&[("A", "b\tC=d")]),
            told(&[("A", "b\\tC=d")]),
            told(&[("A", "")]),
            told(&[("A", "\"\"")]),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| other != one), "{one}");
        }
        assert_eq!(all[0], "ENV A=b C=d");
    }

    #[test]
    fn working_directories_add_up_and_stay_inside() {
        let workdir = |path: &str| Instruction::Workdir(path.to_owned());
        let state = applied(&[workdir("/a"), workdir("b"), workdir("../../../c")]);
        assert_eq!(state.config.working_dir, "/c");
        assert_eq!(state.absolute("x/./y"), Path::new("/c/x/y"));
        assert_eq!(state.absolute("/etc/../../x"), Path::new("/x"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mut state = State::scratch(Platform::host());
        for bad in [
            Instruction::Expose(vec!["99999".into()]),
            Instruction::Volume(vec![" ".into()]),
            Instruction::Stopsignal("SIGNONE".into()),
        ] {
            assert!(state.apply(&bad, &[]).is_err(), "{bad:?}");
        }
    }
}
