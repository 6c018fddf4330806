//! What is told while work goes on.

use tare_oci::image::Descriptor;

use crate::send::Pushed;

/// What a pull, a push or a load tells while it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A line of text, with what it is about where it is about something: `Pulling from library/debian` about `bookworm`.
    Status {
        /// The tag or digest.
        id: Option<String>,
        /// Docker's words.
        text: String,
    },
    /// Where a layer is.
    Layer {
        /// The first twelve digits of the compressed layer's digest.
        id: String,
        /// Its state.
        state: LayerState,
    },
    /// What a push has brought to the registry, for programs.
    Pushed(Pushed),
    /// Of an index that is not here with everything it names, this image was pushed in its place.
    PushedOneOf {
        /// The index.
        index: Box<Descriptor>,
        /// What the registry has instead.
        manifest: Box<Descriptor>,
    },
}

/// The stations of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerState {
    /// Known to be needed.
    PullingFsLayer,
    /// Waits until others are done.
    Waiting,
    /// Bytes are coming; it is unpacked at the same time.
    Downloading {
        /// Bytes so far.
        current: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The last byte has come.
    VerifyingChecksum,
    /// Checked and kept.
    DownloadComplete,
    /// What has come is being unpacked.
    Extracting {
        /// Compressed bytes so far.
        current: u64,
        /// Compressed bytes in all.
        total: u64,
    },
    /// Unpacked.
    PullComplete,
    /// Was here before.
    AlreadyExists,
    /// Known to be part of what is pushed.
    Preparing,
    /// It is compressed in another way than it is kept.
    Compressing {
        /// Bytes of the kept form so far.
        current: u64,
        /// Bytes of it in all.
        total: u64,
    },
    /// It is, and goes out under another digest.
    Compressed,
    /// Bytes go out.
    Pushing {
        /// Bytes so far.
        current: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The registry has it now.
    Pushed,
    /// The registry had it before.
    LayerAlreadyExists,
    /// Bytes come out of an archive.
    Loading {
        /// Bytes so far.
        current: u64,
        /// Bytes in all.
        total: u64,
    },
}

impl LayerState {
    /// Docker's words for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::PullingFsLayer => "Pulling fs layer",
            Self::Waiting => "Waiting",
            Self::Downloading { .. } => "Downloading",
            Self::VerifyingChecksum => "Verifying Checksum",
            Self::DownloadComplete => "Download complete",
            Self::Extracting { .. } => "Extracting",
            Self::PullComplete => "Pull complete",
            Self::AlreadyExists => "Already exists",
            Self::Preparing => "Preparing",
            Self::Compressing { .. } => "Compressing",
            Self::Compressed => "Compressed",
            Self::Pushing { .. } => "Pushing",
            Self::Pushed => "Pushed",
            Self::LayerAlreadyExists => "Layer already exists",
            Self::Loading { .. } => "Loading layer",
        }
    }

    /// Bytes so far and bytes in all, where it counts.
    pub fn bytes(&self) -> Option<(u64, u64)> {
        match *self {
            Self::Downloading { current, total }
            | Self::Extracting { current, total }
            | Self::Compressing { current, total }
            | Self::Pushing { current, total }
            | Self::Loading { current, total } => Some((current, total)),
            _ => None,
        }
    }
}

/// Who listens.
pub(crate) type Listener = std::sync::Arc<dyn Fn(Progress) + Send + Sync>;

/// Tells about one layer, not more often than its size is worth.
#[derive(Clone)]
pub(crate) struct Reporter {
    pub(crate) id: String,
    pub(crate) listener: Listener,
    step: u64,
    next: u64,
}

const STEPS: u64 = 64;
const SMALLEST_STEP: u64 = 256 << 10;

impl Reporter {
    /// For a layer of `size` compressed bytes.
    pub(crate) fn new(id: String, size: u64, listener: Listener) -> Self {
        let step = (size / STEPS).max(SMALLEST_STEP);
        Self { id, listener, step, next: 0 }
    }

    /// Tells a state.
    pub(crate) fn tell(&self, state: LayerState) {
        (self.listener)(Progress::Layer { id: self.id.clone(), state });
    }

    /// Tells how many bytes have come, if that is news.
    pub(crate) fn downloaded(&mut self, current: u64, total: u64) {
        self.sometimes(current, LayerState::Downloading { current, total });
    }

    /// Tells how many bytes have been compressed in another way, if that is news.
    pub(crate) fn compressing(&mut self, current: u64, total: u64) {
        self.sometimes(current, LayerState::Compressing { current, total });
    }

    /// Tells how many bytes have gone out, if that is news.
    pub(crate) fn pushing(&mut self, current: u64, total: u64) {
        self.sometimes(current, LayerState::Pushing { current, total });
    }

    /// Tells how many bytes have come out of an archive, if that is news.
    pub(crate) fn loading(&mut self, current: u64, total: u64) {
        self.sometimes(current, LayerState::Loading { current, total });
    }

    fn sometimes(&mut self, current: u64, state: LayerState) {
        if current >= self.next {
            self.next = current + self.step;
            self.tell(state);
        }
    }
}
