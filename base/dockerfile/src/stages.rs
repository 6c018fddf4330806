use std::collections::BTreeSet;

use tare_model::{Reference, nearest};

use crate::{Dockerfile, Error, Globals, Instruction, Mount, Result, Span, Stage, Step, Word, parse_trigger};

/// Where a stage begins, or files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing at all.
    Scratch,
    /// Another stage of the file, by its number from 0.
    Stage(usize),
    /// An image, by the name that the file gives it.
    Image(String),
    /// A context named at the command line.
    Context(String),
}

/// What the stages of a file need of each other. Free of cycles.
#[derive(Clone, Debug)]
pub struct Stages {
    names: Vec<Option<String>>,
    contexts: BTreeSet<String>,
    bases: Vec<Origin>,
    platforms: Vec<Option<String>>,
    needs: Vec<BTreeSet<usize>>,
}

impl Stages {
    /// Finds out what every stage leans on. `contexts` are the names given by `--build-context`; they come before stages and
    /// images of the same name.
    pub fn resolve(file: &Dockerfile, globals: &Globals, contexts: &BTreeSet<String>) -> Result<Self> {
        let names: Vec<_> = file.stages.iter().map(|stage| stage.name.clone()).collect();
        let mut stages = Self {
            names,
            contexts: contexts.clone(),
            bases: Vec::new(),
            platforms: Vec::new(),
            needs: Vec::new(),
        };
        for (at, stage) in file.stages.iter().enumerate() {
            let platform = stage.platform.as_ref().map(|word| globals.expand(word)).transpose()?;
            stages.platforms.push(platform.filter(|platform| !platform.is_empty()));
            stages.bases.push(stages.base(stage, at, globals)?);
        }
        for at in 0..file.stages.len() {
            stages.needs.push(stages.needs_of(file, at)?);
        }
        stages.refuse_cycles(file)?;
        Ok(stages)
    }

    /// How many there are; at least one.
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// What FROM says.
    pub fn base(&self, stage: &Stage, at: usize, globals: &Globals) -> Result<Origin> {
        let name = globals.expand(&stage.base)?;
        if name.is_empty() {
            let message = format!(
                "the base \"{}\" is empty once its variables are replaced: give them a value",
                stage.base
            );
            return Err(Error::at(stage.base.span, message));
        }
        if self.is_context(&name) {
            return Ok(Origin::Context(name));
        }
        if name == "scratch" {
            return Ok(Origin::Scratch);
        }
        // Only what stands above is a stage here: `FROM debian AS debian` means the image.
        let earlier =
            self.names[..at].iter().rposition(|other| other.as_deref() == Some(&name.to_ascii_lowercase()));
        Ok(earlier.map_or(Origin::Image(name), Origin::Stage))
    }

    /// What each stage begins with.
    pub fn bases(&self) -> &[Origin] {
        &self.bases
    }

    /// `--platform` of each stage, expanded.
    pub fn platform(&self, at: usize) -> Option<&str> {
        self.platforms.get(at)?.as_deref()
    }

    /// The stages that one leans on directly.
    pub fn needs(&self, at: usize) -> &BTreeSet<usize> {
        &self.needs[at]
    }

    /// Where all the `--from=` and `from=` of a file lead, where that can be told; for whoever looks ahead.
    pub fn sources(&self, file: &Dockerfile) -> Vec<Origin> {
        let words = file.stages.iter().flat_map(|stage| &stage.steps).flat_map(froms);
        words.filter_map(|word| self.origin(word).ok()).collect()
    }

    /// What `--from=` or `from=` means: a context, a stage by name or number, an image.
    pub fn origin(&self, from: &Word) -> Result<Origin> {
        let name = from.text.as_str();
        if self.is_context(name) {
            return Ok(Origin::Context(name.to_owned()));
        }
        if let Ok(number) = name.parse::<usize>() {
            let message =
                || format!("there is no stage {number}: the file has {}, counted from 0", self.count());
            return (number < self.count())
                .then_some(Origin::Stage(number))
                .ok_or_else(|| Error::at(from.span, message()));
        }
        if name == "scratch" {
            return Ok(Origin::Scratch);
        }
        Ok(self.named(name).map_or_else(|| Origin::Image(name.to_owned()), Origin::Stage))
    }

    /// The stage that `--target` means: by name or number, the last one where nothing is said.
    pub fn target(&self, wanted: Option<&str>) -> Result<usize> {
        let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else {
            return Ok(self.count() - 1);
        };
        let by_number = || wanted.parse::<usize>().ok().filter(|number| *number < self.count());
        self.named(wanted).or_else(by_number).ok_or_else(|| {
            let known: Vec<&str> = self.names.iter().flatten().map(String::as_str).collect();
            let hint = match nearest(wanted, known.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None if known.is_empty() => "no stage of this file has a name".to_owned(),
                None => format!("there are {}", known.join(", ")),
            };
            Error::at(Span::default(), format!("target stage \"{wanted}\" could not be found: {hint}"))
        })
    }

    /// The stages that must be built for one, those that others lean on first, the wanted one last.
    pub fn order(&self, target: usize) -> Vec<usize> {
        let mut needed = BTreeSet::new();
        let mut order = Vec::new();
        self.visit(target, &mut needed, &mut order);
        order
    }

    fn visit(&self, at: usize, seen: &mut BTreeSet<usize>, order: &mut Vec<usize>) {
        // No recursion: a file may hold a chain of many thousand stages.
        let mut stack = vec![(at, false)];
        while let Some((at, done)) = stack.pop() {
            if done {
                order.push(at);
            } else if seen.insert(at) {
                stack.push((at, true));
                stack.extend(
                    self.needs[at]
                        .iter()
                        .rev()
                        .filter(|need| !seen.contains(need))
                        .map(|need| (*need, false)),
                );
            }
        }
    }

    fn named(&self, name: &str) -> Option<usize> {
        let name = name.to_ascii_lowercase();
        self.names.iter().rposition(|other| other.as_deref() == Some(&name))
    }

    fn is_context(&self, name: &str) -> bool {
        let full = |name: &str| name.parse::<Reference>().ok().map(Reference::or_latest);
        self.contexts.contains(name)
            || self.contexts.iter().any(|other| full(name).is_some() && full(other) == full(name))
    }

    fn needs_of(&self, file: &Dockerfile, at: usize) -> Result<BTreeSet<usize>> {
        let mut needs = BTreeSet::new();
        let mut words: Vec<Word> = file.stages[at].steps.iter().flat_map(froms).cloned().collect();
        if let Origin::Stage(base) = self.bases[at] {
            needs.insert(base);
            words.extend(triggered(&file.stages[base])?);
        }
        for word in words {
            if let Origin::Stage(number) = self.origin(&word)? {
                needs.insert(number);
            }
        }
        Ok(needs)
    }

    fn refuse_cycles(&self, file: &Dockerfile) -> Result<()> {
        // A stage whose needs are all settled is settled; what never settles is on a cycle or leans on one.
        let mut waiting: Vec<usize> = self.needs.iter().map(BTreeSet::len).collect();
        let mut wanted_by = vec![Vec::new(); self.count()];
        for (at, needs) in self.needs.iter().enumerate() {
            needs.iter().for_each(|need| wanted_by[*need].push(at));
        }
        let mut settled: Vec<usize> = (0..self.count()).filter(|at| waiting[*at] == 0).collect();
        let mut count = 0;
        while let Some(at) = settled.pop() {
            count += 1;
            for other in &wanted_by[at] {
                waiting[*other] -= 1;
                if waiting[*other] == 0 {
                    settled.push(*other);
                }
            }
        }
        if count == self.count() {
            return Ok(());
        }
        let on_cycle = self.walk_cycle(&waiting);
        let shown: Vec<String> = on_cycle.iter().take(8).map(|at| self.title(*at)).collect();
        let message =
            format!("stages lean on each other in a circle: {}: break it at one of them", shown.join(" → "));
        Err(Error::at(file.stages[on_cycle[0]].span, message))
    }

    /// Follows what never settled until a stage comes again.
    fn walk_cycle(&self, waiting: &[usize]) -> Vec<usize> {
        let mut path: Vec<usize> = waiting.iter().position(|count| *count > 0).into_iter().collect();
        while let Some(next) =
            path.last().and_then(|at| self.needs[*at].iter().find(|need| waiting[**need] > 0)).copied()
        {
            if let Some(start) = path.iter().position(|at| *at == next) {
                path.push(next);
                return path.split_off(start);
            }
            path.push(next);
        }
        path
    }

    /// Its name, or its number.
    pub fn title(&self, at: usize) -> String {
        self.names[at].clone().unwrap_or_else(|| format!("stage-{at}"))
    }
}

/// The `from` of a step, of COPY and of mounts.
fn froms(step: &Step) -> Vec<&Word> {
    match &step.instruction {
        Instruction::Copy(copy) => copy.from.iter().collect(),
        Instruction::Run(run) => run
            .mounts
            .iter()
            .filter_map(|mount| match mount {
                Mount::Bind(bind) => bind.from.as_ref(),
                Mount::Cache(cache) => cache.from.as_ref(),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// What the triggers that a stage leaves behind take from other stages.
fn triggered(base: &Stage) -> Result<Vec<Word>> {
    let mut words = Vec::new();
    for step in &base.steps {
        if let Instruction::Onbuild(text) = &step.instruction {
            let trigger = parse_trigger(text).map_err(|error| Error { span: step.span, ..error })?;
            words.extend(froms(&trigger).into_iter().map(|word| Word { span: step.span, ..word.clone() }));
        }
    }
    Ok(words)
}
