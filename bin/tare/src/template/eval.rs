//! A tree and data → text.

use serde_json::{Map, Value};

use super::parse::{Node, Operand, Pipeline, Root};
use super::print::show;
use super::{Result, functions};

/// A value, or the field that is not there.
#[derive(Clone, Debug)]
enum Got {
    Is(Value),
    Missing(String),
}

/// How a block ended.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// What a template may cost: `range` inside `range` over data of a daemon's choosing must end.
const LONGEST: usize = 64 << 20;

struct Scope<'a> {
    out: String,
    data: &'a Value,
    variables: Vec<(String, Value)>,
    entries: Entries<'a>,
}

/// What `.Label "name"` means.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entries<'a> {
    /// An entry of the map that the field is.
    OfData,
    /// An entry of a row's labels, whatever the field's name.
    Of(&'a Map<String, Value>),
    /// The title of that column.
    Titles,
}

/// Applies a tree to data.
pub(super) fn apply(nodes: &[Node], data: &Value, entries: Entries<'_>) -> Result<String> {
    let mut scope = Scope { out: String::new(), data, variables: Vec::new(), entries };
    scope.block(nodes, data)?;
    Ok(scope.out)
}

impl Scope<'_> {
    fn block(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow> {
        let outer = self.variables.len();
        let mut flow = Flow::On;
        for node in nodes {
            flow = self.node(node, dot)?;
            if flow != Flow::On {
                break;
            }
        }
        self.variables.truncate(outer);
        Ok(flow)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow> {
        match node {
            Node::Text(text) => self.put(text)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Print(pipeline) if pipeline.variables.is_empty() => {
                let value = self.pipeline(pipeline, dot)?.printable()?;
                self.put(&show(&value))?;
            }
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?.or_null();
                self.bind(pipeline, &value)?;
            }
            Node::If(branches) => return self.branches(branches, dot),
            Node::With { data, body, otherwise } => {
                let value = self.pipeline(data, dot)?.or_null();
                let outer = self.variables.len();
                self.bind(data, &value)?;
                let flow = if truth(&value) { self.block(body, &value) } else { self.block(otherwise, dot) };
                self.variables.truncate(outer);
                return flow;
            }
            Node::Range { over, body, otherwise } => return self.range(over, body, otherwise, dot),
        }
        Ok(Flow::On)
    }

    fn put(&mut self, text: &str) -> Result<()> {
        self.out.push_str(text);
        if self.out.len() > LONGEST { Err("the output grows beyond all bounds".into()) } else { Ok(()) }
    }

    fn branches(&mut self, branches: &[(Option<Pipeline>, Vec<Node>)], dot: &Value) -> Result<Flow> {
        let outer = self.variables.len();
        let mut flow = Ok(Flow::On);
        for (condition, body) in branches {
            let holds = match condition {
                Some(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?.or_null();
                    self.bind(pipeline, &value)?;
                    truth(&value)
                }
                None => true,
            };
            if holds {
                flow = self.block(body, dot);
                break;
            }
        }
        self.variables.truncate(outer);
        flow
    }

    fn range(&mut self, over: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<Flow> {
        let items: Vec<(Value, Value)> = match self.pipeline(over, dot)?.or_null() {
            Value::Array(items) => {
                items.into_iter().enumerate().map(|(at, item)| (at.into(), item)).collect()
            }
            Value::Object(map) => map.into_iter().map(|(key, item)| (key.into(), item)).collect(),
            Value::Null => Vec::new(),
            other => return Err(format!("range cannot go over {}", show(&other))),
        };
        if items.is_empty() {
            return self.block(otherwise, dot);
        }
        for (key, item) in items {
            let outer = self.variables.len();
            match &over.variables[..] {
                [one] => self.variables.push((one.clone(), item.clone())),
                [first, second] => {
                    self.variables.extend([(first.clone(), key), (second.clone(), item.clone())])
                }
                _ => {}
            }
            let flow = self.block(body, &item)?;
            self.variables.truncate(outer);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn bind(&mut self, pipeline: &Pipeline, value: &Value) -> Result<()> {
        for name in &pipeline.variables {
            if pipeline.declares {
                self.variables.push((name.clone(), value.clone()));
            } else {
                let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
                known.ok_or_else(|| format!("undefined variable \"${name}\""))?.1 = value.clone();
            }
        }
        Ok(())
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Got> {
        let mut piped: Option<Value> = None;
        let mut result = Got::Is(Value::Null);
        for (at, command) in pipeline.commands.iter().enumerate() {
            if at > 0 {
                piped = Some(result.printable()?);
            }
            result = self.command(command, piped.take(), dot)?;
        }
        Ok(result)
    }

    fn command(&self, operands: &[Operand], piped: Option<Value>, dot: &Value) -> Result<Got> {
        let [first, rest @ ..] = operands else { return Err("missing value for command".into()) };
        let has_arguments = !rest.is_empty() || piped.is_some();
        match first {
            Operand::Function(name) if matches!(name.as_str(), "and" | "or") => {
                self.choose(name == "or", rest, piped, dot)
            }
            Operand::Function(name) => {
                let mut arguments = Vec::with_capacity(rest.len() + 1);
                for operand in rest {
                    arguments.push(self.operand(operand, dot)?.or_null());
                }
                arguments.extend(piped);
                functions::call(name, &arguments)
                    .map(Got::Is)
                    .map_err(|why| format!("error calling {name}: {why}"))
            }
            Operand::Path { fields, .. } if has_arguments && !fields.is_empty() => {
                let argument = match (rest, piped) {
                    ([], Some(piped)) => piped,
                    ([one], None) => self.operand(one, dot)?.or_null(),
                    _ => return Err(format!("too many arguments for .{}", fields.join("."))),
                };
                self.entry(first, &argument, dot)
            }
            _ if has_arguments => Err("a value cannot be called with arguments".into()),
            _ => self.operand(first, dot),
        }
    }

    /// `.Label "name"`: one entry of a row's map; in a row of titles, the name's last part.
    fn entry(&self, path: &Operand, argument: &Value, dot: &Value) -> Result<Got> {
        let Value::String(name) = argument else {
            return Err("a string is wanted as the argument of a field".into());
        };
        let found =
            |map: &Map<String, Value>| Ok(Got::Is(map.get(name).cloned().unwrap_or_else(|| "".into())));
        match self.entries {
            Entries::Titles => {
                Ok(Got::Is(name.rsplit('.').next().unwrap_or(name).replace(['-', '_'], " ").into()))
            }
            Entries::Of(labels) => found(labels),
            Entries::OfData => match self.operand(path, dot)?.or_null() {
                Value::Object(map) => found(&map),
                _ => Err("a field cannot be called with arguments".into()),
            },
        }
    }

    /// `and` and `or` give the value that decides and look at no further one.
    fn choose(&self, stops_at: bool, operands: &[Operand], piped: Option<Value>, dot: &Value) -> Result<Got> {
        let mut value = None;
        for operand in operands {
            let next = self.operand(operand, dot)?.or_null();
            if truth(&next) == stops_at {
                return Ok(Got::Is(next));
            }
            value = Some(next);
        }
        piped.or(value).map(Got::Is).ok_or_else(|| "\"and\" and \"or\" want an argument".into())
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Got> {
        let (root, fields) = match operand {
            Operand::Literal(value) => return Ok(Got::Is(value.clone())),
            Operand::Function(name) => return functions::call(name, &[]).map(Got::Is),
            Operand::Path { root, fields } => (root, fields),
        };
        match root {
            Root::Dot => field(dot, fields),
            Root::Variable(name) if name.is_empty() => field(self.data, fields),
            Root::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                field(&known.ok_or_else(|| format!("undefined variable \"${name}\""))?.1, fields)
            }
            Root::Pipeline(pipeline) => match self.pipeline(pipeline, dot)? {
                Got::Is(value) => field(&value, fields),
                missing => Ok(missing),
            },
        }
    }
}

impl Got {
    /// The value where a condition or a function wants one.
    fn or_null(self) -> Value {
        match self {
            Self::Is(value) => value,
            Self::Missing(_) => Value::Null,
        }
    }

    /// The value where a person will see it: a name that is not there is most likely misspelt.
    fn printable(self) -> Result<Value> {
        match self {
            Self::Is(value) => Ok(value),
            Self::Missing(name) => Err(format!("no field \"{name}\" here")),
        }
    }
}

/// Maps whose keys are of people's choosing: what they do not have is no mistake.
const MAPS: [&str; 12] = [
    "Labels",
    "Ports",
    "Networks",
    "Volumes",
    "ExposedPorts",
    "PortBindings",
    "Options",
    "Sysctls",
    "Annotations",
    "Tmpfs",
    "DriverOpts",
    "Attributes",
];

fn field(root: &Value, names: &[String]) -> Result<Got> {
    let mut value = root;
    for (at, name) in names.iter().enumerate() {
        let map = match value {
            Value::Object(map) => map,
            Value::Null => return Ok(Got::Missing(name.clone())),
            other => return Err(format!("{} has no fields, \"{name}\" is none of it", show(other))),
        };
        let same = |key: &&String| key.eq_ignore_ascii_case(name);
        value = match map.get(name).or_else(|| map.keys().find(same).and_then(|key| map.get(key))) {
            Some(found) => found,
            None if at > 0 && MAPS.contains(&names[at - 1].as_str()) => &Value::Null,
            None => return Ok(Got::Missing(name.clone())),
        };
    }
    Ok(Got::Is(value.clone()))
}

/// What a condition makes of a value: zero and empty ones are false.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}
