use crate::{Argument, Instruction, Span, Word};

/// A Dockerfile, read and checked, not yet expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// What the first comments say to the reader.
    pub directives: Directives,
    /// ARGs before the first FROM: seen by every FROM, and by a stage that names them again.
    pub global_args: Vec<Located<Vec<Argument>>>,
    /// At least one.
    pub stages: Vec<Stage>,
    /// What is allowed and yet probably not meant.
    pub warnings: Vec<Warning>,
}

/// Parser directives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=`: an image that BuildKit would parse with. Kept, and without effect here.
    pub syntax: Option<String>,
    /// `# escape=`: `\` or a backquote.
    pub escape: char,
    /// `# check=`: which warnings BuildKit's checker leaves out. Kept, and without effect here.
    pub check: Option<String>,
}

impl Default for Directives {
    fn default() -> Self {
        Self { syntax: None, escape: '\\', check: None }
    }
}

/// Something with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// Where it stands.
    pub span: Span,
    /// What stands there.
    pub value: T,
}

/// From one FROM to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The name after AS, in lower case.
    pub name: Option<String>,
    /// An image, an earlier stage or `scratch`; expanded with the global arguments alone.
    pub base: Word,
    /// `--platform`, expanded with the global arguments alone.
    pub platform: Option<Word>,
    /// The FROM line.
    pub span: Span,
    /// In order.
    pub steps: Vec<Step>,
}

/// One instruction in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// From the keyword to the end of the instruction, here-documents included.
    pub span: Span,
    /// As written, keyword in upper case, continuations joined: for progress and history.
    pub text: String,
    /// What it says.
    pub instruction: Instruction,
}

/// A here-document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter, which is also the file's name for COPY and ADD.
    pub name: String,
    /// Whether variables in it are replaced: the delimiter was not quoted.
    pub expand: bool,
    /// The lines up to the delimiter; leading tabs are gone where it was `<<-`.
    pub body: String,
}

/// Something that is allowed and yet probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub span: Span,
    /// What, and what to do instead.
    pub message: String,
}
