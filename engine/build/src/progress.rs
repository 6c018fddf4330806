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
    /// The image; none where only its files were wanted.
    pub image: Option<tare_image::Image>,
    /// The names it got, in full.
    pub names: Vec<String>,
    /// What goes to who asked.
    pub exported: Vec<Exported>,
}

/// A tar that goes to who asked for it.
pub struct Exported {
    /// Its place among the exports of the request.
    pub index: usize,
    /// Its bytes. Nothing is made before it is taken.
    pub pieces: BoxStream<'static, io::Result<Bytes>>,
}
