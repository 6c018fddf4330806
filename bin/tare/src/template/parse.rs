//! Pieces → a tree.

use serde_json::Value;

use super::Result;
use super::functions;
use super::lex::{Piece, Token};

/// A piece of a template, with what it encloses.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    /// Printed, unless it declares or assigns.
    Print(Pipeline),
    /// The first branch whose condition holds; the last one may have none.
    If(Vec<(Option<Pipeline>, Vec<Node>)>),
    Range {
        over: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    With {
        data: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Break,
    Continue,
}

/// Commands, each given the result of the one before as its last argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    pub(super) declares: bool,
    pub(super) commands: Vec<Vec<Operand>>,
}

/// A value, or the function or field that makes one.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    Literal(Value),
    Function(String),
    Path { root: Root, fields: Vec<String> },
}

/// What fields are looked up in.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Root {
    Dot,
    Variable(String),
    Pipeline(Box<Pipeline>),
}

/// Deeper than any person nests, and far from the end of the stack.
const DEEPEST: usize = 100;

/// Makes a tree of pieces.
pub(super) fn parse(pieces: Vec<Piece>) -> Result<Vec<Node>> {
    let mut parser = Parser { pieces: pieces.into_iter(), loops: 0, depth: 0 };
    let (nodes, end) = parser.block()?;
    match end {
        Closed::TextEnds => Ok(nodes),
        Closed::End => Err("unexpected {{end}}".into()),
        Closed::Else(_) => Err("unexpected {{else}}".into()),
    }
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    loops: usize,
    depth: usize,
}

/// What closes a block. The tokens are those behind `else`.
enum Closed {
    TextEnds,
    End,
    Else(Vec<Token>),
}

impl Parser {
    fn block(&mut self) -> Result<(Vec<Node>, Closed)> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("blocks are nested too deeply".into());
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            let end = match keyword(&tokens) {
                Some("end") => Some(Closed::End),
                Some("else") => Some(Closed::Else(tokens[1..].to_vec())),
                _ => None,
            };
            if let Some(end) = end {
                self.depth -= 1;
                return Ok((nodes, end));
            }
            nodes.push(self.node(&tokens)?);
        }
        self.depth -= 1;
        Ok((nodes, Closed::TextEnds))
    }

    fn node(&mut self, tokens: &[Token]) -> Result<Node> {
        match keyword(tokens) {
            Some("if") => self.branches(&tokens[1..]),
            Some("range") => {
                self.loops += 1;
                let over = pipeline(&tokens[1..], true)?;
                let (body, otherwise) = self.body_and_otherwise("range")?;
                Ok(Node::Range { over, body, otherwise })
            }
            Some("with") => {
                let data = pipeline(&tokens[1..], false)?;
                let (body, otherwise) = self.body_and_otherwise("with")?;
                Ok(Node::With { data, body, otherwise })
            }
            Some(word @ ("break" | "continue")) if self.loops == 0 => {
                Err(format!("{{{{{word}}}}} outside of {{{{range}}}}"))
            }
            Some("break") => Ok(Node::Break),
            Some("continue") => Ok(Node::Continue),
            Some(word @ ("define" | "template" | "block")) => Err(format!("{{{{{word}}}}} is not supported")),
            _ => pipeline(tokens, false).map(Node::Print),
        }
    }

    fn branches(&mut self, condition: &[Token]) -> Result<Node> {
        let mut branches = Vec::new();
        let mut condition = Some(pipeline(condition, false)?);
        loop {
            let (body, end) = self.block()?;
            let last = condition.is_none();
            branches.push((condition, body));
            condition = match end {
                Closed::End => return Ok(Node::If(branches)),
                Closed::TextEnds => {
                    return Err("unexpected end of the template: {{end}} of {{if}} is missing".into());
                }
                Closed::Else(_) if last => return Err("unexpected {{else}}".into()),
                Closed::Else(rest) if keyword(&rest) == Some("if") => Some(pipeline(&rest[1..], false)?),
                Closed::Else(rest) if rest.is_empty() => None,
                Closed::Else(_) => return Err("only \"if\" may follow \"else\"".into()),
            };
        }
    }

    fn body_and_otherwise(&mut self, of: &str) -> Result<(Vec<Node>, Vec<Node>)> {
        let missing = || format!("unexpected end of the template: {{{{end}}}} of {{{{{of}}}}} is missing");
        let (body, end) = self.block()?;
        self.loops -= usize::from(of == "range");
        match end {
            Closed::End => Ok((body, Vec::new())),
            Closed::TextEnds => Err(missing()),
            Closed::Else(rest) if !rest.is_empty() => Err(format!("nothing may follow \"else\" of \"{of}\"")),
            Closed::Else(_) => match self.block()? {
                (otherwise, Closed::End) => Ok((body, otherwise)),
                (_, Closed::Else(_)) => Err("unexpected {{else}}".into()),
                (_, Closed::TextEnds) => Err(missing()),
            },
        }
    }
}

fn keyword(tokens: &[Token]) -> Option<&str> {
    match tokens.first() {
        Some(Token::Word(word)) => Some(word),
        _ => None,
    }
}

fn pipeline(tokens: &[Token], two_variables: bool) -> Result<Pipeline> {
    let (variables, declares, rest) = match tokens {
        [Token::Variable(a), Token::Comma, Token::Variable(b), Token::Declare, rest @ ..]
            if two_variables =>
        {
            (vec![a.clone(), b.clone()], true, rest)
        }
        [Token::Variable(a), Token::Declare, rest @ ..] => (vec![a.clone()], true, rest),
        [Token::Variable(a), Token::Assign, rest @ ..] => (vec![a.clone()], false, rest),
        _ => (Vec::new(), false, tokens),
    };
    let mut reader = Reader { tokens: rest, depth: 0 };
    let commands = reader.commands()?;
    match reader.tokens.first() {
        None => Ok(Pipeline { variables, declares, commands }),
        Some(Token::Close) => Err("unexpected right parenthesis".into()),
        Some(_) => Err("unexpected token in action".into()),
    }
}

struct Reader<'a> {
    tokens: &'a [Token],
    depth: usize,
}

impl Reader<'_> {
    fn commands(&mut self) -> Result<Vec<Vec<Operand>>> {
        let mut commands = vec![self.command()?];
        while let Some((Token::Pipe, rest)) = self.tokens.split_first() {
            self.tokens = rest;
            commands.push(self.command()?);
        }
        Ok(commands)
    }

    fn command(&mut self) -> Result<Vec<Operand>> {
        let mut operands = Vec::new();
        while let Some((token, rest)) = self.tokens.split_first() {
            if matches!(token, Token::Pipe | Token::Close) {
                break;
            }
            self.tokens = rest;
            operands.push(self.operand(token)?);
        }
        match operands.is_empty() {
            true => Err("missing value for command".into()),
            false => Ok(operands),
        }
    }

    fn operand(&mut self, token: &Token) -> Result<Operand> {
        let (root, mut fields) = match token {
            Token::Literal(value) => return Ok(Operand::Literal(value.clone())),
            Token::Word(name) if functions::exists(name) => return Ok(Operand::Function(name.clone())),
            Token::Word(name) => return Err(format!("function \"{name}\" not defined")),
            Token::Dot => (Root::Dot, Vec::new()),
            Token::Field { name, .. } => (Root::Dot, vec![name.clone()]),
            Token::Variable(name) => (Root::Variable(name.clone()), Vec::new()),
            Token::Open => (self.parenthesis()?, Vec::new()),
            Token::Comma | Token::Declare | Token::Assign | Token::Pipe | Token::Close => {
                return Err("unexpected token in operand".into());
            }
        };
        while let Some((Token::Field { name, joined: true }, rest)) = self.tokens.split_first() {
            fields.push(name.clone());
            self.tokens = rest;
        }
        Ok(Operand::Path { root, fields })
    }

    fn parenthesis(&mut self) -> Result<Root> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("parentheses are nested too deeply".into());
        }
        let commands = self.commands()?;
        let Some((Token::Close, rest)) = self.tokens.split_first() else {
            return Err("unclosed left parenthesis".into());
        };
        self.tokens = rest;
        self.depth -= 1;
        Ok(Root::Pipeline(Box::new(Pipeline { variables: Vec::new(), declares: false, commands })))
    }
}
