use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use tare_model::Platform;

use crate::expand::{LONGEST, Lookup, Reading, expand, expand_words};
use crate::{
    AddFiles, Argument, BindMount, CacheMount, CopyFiles, Dockerfile, Error, Heredoc, Instruction, Mount,
    Result, Run, SecretMount, Source, Span, SshMount, Step, Word,
};

/// Variables that reach every RUN without an ARG when they are given from outside, and that neither the cache nor the history
/// sees (Dockerfile reference, "predefined ARGs"). Each also in lower case.
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Bytes of all variables of a scope together. execve(2) passes no more on to a program, and a file of a few lines could make
/// gigabytes of them.
const VARIABLES: usize = 2 << 20;

/// What a build is given from outside.
#[derive(Clone, Debug)]
pub struct Given {
    /// `--build-arg`
    pub args: BTreeMap<String, String>,
    /// What the image is for.
    pub target_platform: Platform,
    /// Where it is built.
    pub build_platform: Platform,
    /// `--target`
    pub target_stage: Option<String>,
}

/// The scope of everything before the first FROM, which FROM itself is read with.
#[derive(Clone, Debug)]
pub struct Globals {
    given: BTreeMap<String, String>,
    values: BTreeMap<String, String>,
    escape: char,
}

impl Globals {
    /// Evaluates the ARGs before the first FROM, each with those before it. All of them have 2 MiB at most.
    pub fn new(file: &Dockerfile, given: &Given) -> Result<Self> {
        let mut globals =
            Self { given: given.args.clone(), values: platforms(given), escape: file.directives.escape };
        for argument in file.global_args.iter().flat_map(|args| &args.value) {
            let name = globals.expand(&argument.name)?;
            let standing = argument.value.as_ref().map(|value| globals.expand(value)).transpose()?;
            if let Some(value) = globals.given.get(&name).cloned().or(standing) {
                globals.values.insert(name, value);
                let bytes = globals.values.iter().map(|(name, value)| name.len() + value.len()).sum();
                within(bytes, argument.name.span)?;
            }
        }
        Ok(globals)
    }

    /// The final text of a word of FROM.
    pub fn expand(&self, word: &Word) -> Result<String> {
        expand(&word.text, reading(self.escape, word.span), &|name| self.values.get(name).cloned())
    }

    /// The names given by `--build-arg` that no ARG of the file asks for: probably misspelt.
    pub fn unasked(&self, file: &Dockerfile) -> Vec<String> {
        let global = file.global_args.iter().flat_map(|args| &args.value);
        let local =
            file.stages.iter().flat_map(|stage| &stage.steps).flat_map(|step| match &step.instruction {
                Instruction::Arg(arguments) => &arguments[..],
                _ => &[],
            });
        let asked: Vec<&str> = global.chain(local).map(|argument| argument.name.text.as_str()).collect();
        let known = |name: &str| asked.contains(&name) || is_proxy(name) || name.starts_with("BUILDKIT_");
        let special = |name: &str| matches!(name, "SOURCE_DATE_EPOCH") || self.values.contains_key(name);
        self.given.keys().filter(|name| !known(name) && !special(name)).cloned().collect()
    }
}

fn reading(escape: char, span: Span) -> Reading {
    Reading { escape, quotes: true, span }
}

/// Refuses variables that no program could be given.
fn within(bytes: usize, span: Span) -> Result<()> {
    if bytes <= VARIABLES {
        return Ok(());
    }
    let message = format!("all variables together grow beyond {VARIABLES} bytes: keep large texts in files");
    Err(Error::at(span, message))
}

fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|proxy| name == *proxy || name == proxy.to_ascii_lowercase())
}

/// The arguments that describe platforms, in the global scope of every build.
fn platforms(given: &Given) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for (prefix, platform) in [("BUILD", &given.build_platform), ("TARGET", &given.target_platform)] {
        let parts = [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os.clone()),
            ("OSVERSION", String::new()),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", platform.variant.clone().unwrap_or_default()),
        ];
        values.extend(parts.map(|(part, value)| (format!("{prefix}{part}"), value)));
    }
    values
        .insert("TARGETSTAGE".to_owned(), given.target_stage.clone().unwrap_or_else(|| "default".to_owned()));
    for (name, value) in &mut values {
        if let Some(other) = given.args.get(name) {
            value.clone_from(other);
        }
    }
    values
}

/// The variables of a stage, as they stand between two of its instructions.
///
/// For each step: [`Scope::expand`] it, then [`Scope::admit`] the outcome.
#[derive(Clone, Debug)]
pub struct Scope<'g> {
    globals: &'g Globals,
    env: Variables,
    args: Variables,
}

/// Variables in the order of their first definition, as in an image's `Env`.
#[derive(Clone, Debug, Default)]
struct Variables {
    list: Vec<(String, String)>,
    places: HashMap<String, usize>,
}

impl Variables {
    fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|at| self.list[*at].1.as_str())
    }

    fn bytes(&self) -> usize {
        self.list.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    fn set(&mut self, name: &str, value: String) {
        match self.places.get(name) {
            Some(at) => self.list[*at].1 = value,
            None => {
                self.places.insert(name.to_owned(), self.list.len());
                self.list.push((name.to_owned(), value));
            }
        }
    }
}

impl<'g> Scope<'g> {
    /// The scope right after FROM; `inherited` is the environment of the base.
    pub fn new(globals: &'g Globals, inherited: Vec<(String, String)>) -> Self {
        let mut env = Variables::default();
        inherited.into_iter().for_each(|(name, value)| env.set(&name, value));
        Self { globals, env, args: Variables::default() }
    }

    /// The environment that the image has so far.
    pub fn env(&self) -> &[(String, String)] {
        &self.env.list
    }

    /// The arguments that have a value and that no ENV hides, for RUN.
    pub fn args(&self) -> impl Iterator<Item = (&str, &str)> {
        let visible = self.args.list.iter().filter(|(name, _)| self.env.get(name).is_none());
        visible.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Proxies that were given from outside and that no ARG asked for: for RUN, and no part of the cache's key.
    pub fn proxies(&self) -> impl Iterator<Item = (&str, &str)> {
        let hidden = |name: &str| self.env.get(name).or_else(|| self.args.get(name)).is_some();
        let given = self.globals.given.iter().filter(move |(name, _)| is_proxy(name) && !hidden(name));
        given.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn get(&self, name: &str) -> Option<String> {
        self.env.get(name).or_else(|| self.args.get(name)).map(str::to_owned)
    }

    /// Replaces variables in the words of an instruction that the reference says are replaced; the others stay as they are.
    /// An error where that makes more of it, or of all variables, than any use has: 8 MiB and 2 MiB.
    pub fn expand(&self, step: &Step) -> Result<Instruction<String>> {
        let escape = self.globals.escape;
        let variables: Lookup<'_> = &|name| self.get(name);
        let words = Words { escape, variables, span: step.span, left: Cell::new(LONGEST) };
        let expanded = words.instruction(&step.instruction)?;
        let defined: usize = match &expanded {
            Instruction::Env(pairs) => pairs.iter().map(|(name, value)| name.len() + value.len()).sum(),
            Instruction::Arg(arguments) => arguments.iter().map(|argument| self.length(argument)).sum(),
            _ => return Ok(expanded),
        };
        within(self.env.bytes() + self.args.bytes() + defined, step.span)?;
        Ok(expanded)
    }

    /// Takes in what an expanded ENV or ARG defines; other instructions change nothing here.
    pub fn admit(&mut self, instruction: &Instruction<String>) {
        match instruction {
            Instruction::Env(pairs) => {
                pairs.iter().for_each(|(name, value)| self.env.set(name, value.clone()))
            }
            Instruction::Arg(arguments) => arguments.iter().for_each(|argument| self.declare(argument)),
            _ => {}
        }
    }

    fn declare(&mut self, argument: &Argument<String>) {
        if let Some(value) = self.value(argument).cloned() {
            self.args.set(&argument.name, value);
        }
    }

    /// What is given from outside counts most, then the default here, then the global argument of the same name.
    fn value<'a>(&'a self, argument: &'a Argument<String>) -> Option<&'a String> {
        let given = self.globals.given.get(&argument.name).or(argument.value.as_ref());
        given.or_else(|| self.globals.values.get(&argument.name))
    }

    fn length(&self, argument: &Argument<String>) -> usize {
        argument.name.len() + self.value(argument).map_or(0, String::len)
    }
}

struct Words<'a> {
    escape: char,
    variables: Lookup<'a>,
    span: Span,
    /// How many bytes the instruction may still grow to.
    left: Cell<usize>,
}

impl Words<'_> {
    fn word(&self, word: &Word) -> Result<String> {
        let span = if word.span == Span::default() { self.span } else { word.span };
        let text = expand(&word.text, reading(self.escape, span), self.variables)?;
        self.spend(text.len(), span)?;
        Ok(text)
    }

    fn spend(&self, bytes: usize, span: Span) -> Result<()> {
        let left = self.left.get().checked_sub(bytes).ok_or_else(|| {
            let message =
                format!("the instruction grows beyond {LONGEST} bytes when its variables are replaced");
            Error::at(span, message)
        })?;
        self.left.set(left);
        Ok(())
    }

    fn list(&self, words: &[Word]) -> Result<Vec<String>> {
        words.iter().map(|word| self.word(word)).collect()
    }

    fn maybe(&self, word: Option<&Word>) -> Result<Option<String>> {
        word.map(|word| self.word(word)).transpose()
    }

    fn pairs(&self, pairs: &[(Word, Word)], keyword: &str) -> Result<Vec<(String, String)>> {
        let pair = |(name, value): &(Word, Word)| {
            let expanded = self.word(name)?;
            if expanded.is_empty() {
                return Err(Error::at(
                    name.span,
                    format!("{keyword} names cannot be blank, and \"{name}\" is"),
                ));
            }
            Ok((expanded, self.word(value)?))
        };
        pairs.iter().map(pair).collect()
    }

    fn instruction(&self, instruction: &Instruction) -> Result<Instruction<String>> {
        Ok(match instruction {
            Instruction::Add(add) => Instruction::Add(self.add(add)?),
            Instruction::Arg(arguments) => Instruction::Arg(self.arguments(arguments)?),
            Instruction::Cmd(command) => Instruction::Cmd(command.clone()),
            Instruction::Copy(copy) => Instruction::Copy(self.copy(copy)?),
            Instruction::Entrypoint(command) => Instruction::Entrypoint(command.clone()),
            Instruction::Env(pairs) => Instruction::Env(self.pairs(pairs, "ENV")?),
            Instruction::Expose(words) => Instruction::Expose(self.split(words)?),
            Instruction::Healthcheck(check) => Instruction::Healthcheck(check.clone()),
            Instruction::Label(pairs) => Instruction::Label(self.pairs(pairs, "LABEL")?),
            Instruction::Maintainer(name) => Instruction::Maintainer(name.clone()),
            Instruction::Onbuild(text) => Instruction::Onbuild(text.clone()),
            Instruction::Run(run) => Instruction::Run(self.run(run)?),
            Instruction::Shell(words) => Instruction::Shell(words.clone()),
            Instruction::Stopsignal(word) => Instruction::Stopsignal(self.word(word)?),
            Instruction::User(word) => Instruction::User(self.word(word)?),
            Instruction::Volume(words) => Instruction::Volume(self.list(words)?),
            Instruction::Workdir(word) => Instruction::Workdir(self.word(word)?),
        })
    }

    /// EXPOSE alone takes variables that hold several words.
    fn split(&self, words: &[Word]) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for word in words {
            let split = expand_words(&word.text, reading(self.escape, word.span), self.variables)?;
            self.spend(split.iter().map(String::len).sum(), word.span)?;
            all.extend(split);
        }
        Ok(all)
    }

    fn arguments(&self, arguments: &[Argument]) -> Result<Vec<Argument<String>>> {
        let expand = |argument: &Argument| {
            Ok(Argument { name: self.word(&argument.name)?, value: self.maybe(argument.value.as_ref())? })
        };
        arguments.iter().map(expand).collect()
    }

    fn sources(&self, sources: &[Source]) -> Result<Vec<Source<String>>> {
        let expand = |source: &Source| {
            Ok(match source {
                Source::Path(word) => Source::Path(self.word(word)?),
                Source::Heredoc(heredoc) => Source::Heredoc(self.heredoc(heredoc)?),
            })
        };
        sources.iter().map(expand).collect()
    }

    fn heredoc(&self, heredoc: &Heredoc) -> Result<Heredoc> {
        let reading = Reading { escape: self.escape, quotes: false, span: self.span };
        let body = match heredoc.expand {
            true => expand(&heredoc.body, reading, self.variables)?,
            false => heredoc.body.clone(),
        };
        if heredoc.expand {
            self.spend(body.len(), self.span)?;
        }
        Ok(Heredoc { body, ..heredoc.clone() })
    }

    /// Several sources need a directory to go to.
    fn destination(&self, word: &Word, sources: usize) -> Result<String> {
        let destination = self.word(word)?;
        if destination.is_empty() {
            return Err(Error::at(word.span, format!("the destination \"{word}\" is empty: name a path")));
        }
        if sources > 1 && !destination.ends_with('/') && destination != "." {
            let message =
                format!("with more than one source the destination is a directory: write \"{destination}/\"");
            return Err(Error::at(word.span, message));
        }
        Ok(destination)
    }

    fn copy(&self, copy: &CopyFiles) -> Result<CopyFiles<String>> {
        Ok(CopyFiles {
            sources: self.sources(&copy.sources)?,
            destination: self.destination(&copy.destination, copy.sources.len())?,
            from: copy.from.clone(),
            chown: self.maybe(copy.chown.as_ref())?,
            chmod: self.maybe(copy.chmod.as_ref())?,
            link: copy.link,
            parents: copy.parents,
            exclude: self.list(&copy.exclude)?,
        })
    }

    fn add(&self, add: &AddFiles) -> Result<AddFiles<String>> {
        Ok(AddFiles {
            sources: self.sources(&add.sources)?,
            destination: self.destination(&add.destination, add.sources.len())?,
            checksum: self.maybe(add.checksum.as_ref())?,
            keep_git_dir: add.keep_git_dir,
            unpack: add.unpack,
            chown: self.maybe(add.chown.as_ref())?,
            chmod: self.maybe(add.chmod.as_ref())?,
            link: add.link,
            exclude: self.list(&add.exclude)?,
        })
    }

    fn run(&self, run: &Run) -> Result<Run<String>> {
        Ok(Run {
            command: run.command.clone(),
            mounts: run.mounts.iter().map(|mount| self.mount(mount)).collect::<Result<_>>()?,
            network: run.network,
            security: run.security,
        })
    }

    fn mount(&self, mount: &Mount) -> Result<Mount<String>> {
        Ok(match mount {
            Mount::Bind(bind) => Mount::Bind(BindMount {
                target: self.word(&bind.target)?,
                source: self.maybe(bind.source.as_ref())?,
                from: bind.from.clone(),
                writable: bind.writable,
            }),
            Mount::Cache(cache) => Mount::Cache(CacheMount {
                target: self.word(&cache.target)?,
                id: self.maybe(cache.id.as_ref())?,
                source: self.maybe(cache.source.as_ref())?,
                from: cache.from.clone(),
                read_only: cache.read_only,
                sharing: cache.sharing,
                mode: cache.mode,
                uid: cache.uid,
                gid: cache.gid,
            }),
            Mount::Tmpfs { target, size } => Mount::Tmpfs { target: self.word(target)?, size: *size },
            Mount::Secret(secret) => Mount::Secret(SecretMount {
                id: self.word(&secret.id)?,
                target: self.maybe(secret.target.as_ref())?,
                env: self.maybe(secret.env.as_ref())?,
                required: secret.required,
                mode: secret.mode,
                uid: secret.uid,
                gid: secret.gid,
            }),
            Mount::Ssh(ssh) => Mount::Ssh(SshMount {
                id: self.maybe(ssh.id.as_ref())?,
                target: self.maybe(ssh.target.as_ref())?,
                required: ssh.required,
                mode: ssh.mode,
                uid: ssh.uid,
                gid: ssh.gid,
            }),
        })
    }
}
