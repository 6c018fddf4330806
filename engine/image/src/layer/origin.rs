//! Where the layers of an image come from.

use std::sync::Arc;

use tare_model::{Digest, Reference};
use tare_registry::Credentials;
use tare_snapshot::Unpacked;
use tokio::sync::oneshot;

use super::{Budget, Compression};
use crate::Result;

/// Where the layers of an image come from.
#[derive(Clone)]
pub(crate) enum Origin {
    /// A registry, which is asked for what is not here.
    Registry(Remote),
    /// Something that has arrived and whose blobs are here.
    Arrived(Arc<dyn Arrived>),
}

/// An image at a registry.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    pub(crate) reference: Reference,
    pub(crate) credentials: Option<Credentials>,
}

/// What came as a whole, and may have been unpacked as it came.
pub(crate) trait Arrived: Send + Sync {
    /// What all of it may come to.
    fn budget(&self) -> Arc<Budget>;

    /// Whether it has brought this blob, and its bytes were counted as they came.
    fn has(&self, blob: &Digest) -> bool;

    /// The tree of a blob that looked like a layer, as soon as it is unpacked. It is given once.
    fn opened(&self, blob: &Digest) -> Option<oneshot::Receiver<Result<Opened>>>;
}

/// What a file that looked like a layer came to.
pub(crate) struct Opened {
    pub(crate) unpacked: Unpacked,
    /// Of the tar it came from; `None` where that is the file itself.
    pub(crate) diff: Option<Digest>,
    pub(crate) compression: Compression,
}

impl Origin {
    /// Whose work on a layer is not waited for by those who have it from elsewhere: a registry's name, none for this machine.
    pub(crate) fn domain(&self) -> &str {
        match self {
            Self::Registry(remote) => remote.reference.domain(),
            Self::Arrived(_) => "",
        }
    }

    pub(crate) fn arrived(&self) -> Option<&dyn Arrived> {
        match self {
            Self::Registry(_) => None,
            Self::Arrived(arrived) => Some(&**arrived),
        }
    }
}
