use std::io;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use tare_model::{Digest, Id};

/// What happens in a build. Steps are numbered from 1 in the order in which they are shown; stages that are built side by side
/// tell in turns.
#[derive(Clone, Debug)]
pub enum Progress {
    /// A step begins.
    Started {
        /// Which.
        step: usize,
        /// Of how many.
        total: usize,
        /// As people read it: `[build 2/5] RUN make`.
        title: String,
        /// The instruction.
        text: String,
    },
    /// What it would do was done earlier.
    Cached(usize),
    /// It runs in a container.
    Running(usize, Id),
    /// Its program wrote something.
    Output {
        /// Which step.
        step: usize,
        /// What.
        bytes: Bytes,
        /// Whether to standard error.
        error: bool,
    },
    /// An image that it needs is fetched.
    Pull(usize, tare_image::Progress),
    /// What it runs for images that asked for it when they were built.
    Triggers(usize, usize),
    /// It is done; the digest stands for all that the stage is now.
    Done(usize, Digest),
    /// It failed.
    Failed(usize, String),
    /// Something is probably not meant as it is written.
    Warning(String),
}

/// Who is told.
pub type Listener = std::sync::Arc<dyn Fn(Progress) + Send + Sync>;

/// What came of a build.
pub struct Built {
    /// The image or the index; none where only files were wanted.
    pub made: Option<Made>,
    /// The names it got, in full.
    pub names: Vec<String>,
    /// What goes to who asked.
    pub exported: Vec<Exported>,
}

/// What names stand for once a build has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// By which it is known here: the digest of an image's configuration, or of an index.
    pub id: Digest,
    /// What registries know it by: the digest of a manifest, or of an index.
    pub digest: Digest,
    /// Whether it is an index.
    pub is_index: bool,
}

/// A tar that goes to who asked for it.
pub struct Exported {
    /// Its place among the exports of the request.
    pub index: usize,
    /// Its bytes. Nothing is made before it is taken.
    pub pieces: BoxStream<'static, io::Result<Bytes>>,
}
