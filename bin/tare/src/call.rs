//! What a verb is handed, and what it gives back.

use std::future::Future;
use std::pin::Pin;

use tare_client::Client;

use crate::failure::Result;
use crate::flags::Given;

/// A command line that is to be carried out.
pub(crate) struct Call {
    pub(crate) client: Client,
    pub(crate) given: Given,
    /// The directory of Docker's configuration, where one is named.
    pub(crate) config: Option<String>,
}

/// The verb's exit code, once it is through.
pub(crate) type Carried = Pin<Box<dyn Future<Output = Result<u8>>>>;
