use bytes::{Bytes, BytesMut};
use reqwest::Response;

use crate::client::root_cause;
use crate::{Error, Result};

/// Reads a whole answer that may have at most `limit` bytes, whatever its header says.
pub(crate) async fn read(mut response: Response, limit: u64, what: &str) -> Result<Bytes> {
    let too_large = || Error::TooLarge { what: what.to_owned(), limit };
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let expected = response.content_length().unwrap_or(0);
    let mut bytes = BytesMut::new();
    loop {
        let received = bytes.len() as u64;
        match response.chunk().await {
            Ok(Some(chunk)) if received + chunk.len() as u64 > limit => return Err(too_large()),
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes.freeze()),
            Err(e) => {
                let cause = if e.is_timeout() { "it fell silent".to_owned() } else { root_cause(&e) };
                return Err(Error::Interrupted { what: what.to_owned(), received, expected, cause });
            }
        }
    }
}
