/// What a pull tells while it works.
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
        }
    }

    /// Bytes so far and bytes in all, where it counts.
    pub fn bytes(&self) -> Option<(u64, u64)> {
        match *self {
            Self::Downloading { current, total } | Self::Extracting { current, total } => {
                Some((current, total))
            }
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
        if current >= self.next {
            self.next = current + self.step;
            self.tell(LayerState::Downloading { current, total });
        }
    }
}
