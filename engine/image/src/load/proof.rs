//! Whether a compressed layer is the one that its configuration says it is, found out without unpacking it.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use aws_lc_rs::digest::{Context, SHA256};

use crate::content::from_hash;
use crate::layer::{Compression, Inflated, Planned};
use crate::settings::Limits;
use crate::{Error, Result};

const BUFFER: usize = 256 << 10;

/// Checks a layer that is not unpacked here because its tree is there already: else a file of anything could pass for
/// that tree's content, and be pushed as such.
pub(crate) fn prove(path: &Path, magic: &[u8], layer: &Planned, limits: Limits) -> Result<()> {
    let compression = Compression::of(magic);
    if compression == Compression::Plain && layer.blob.digest == layer.diff {
        return Ok(());
    }
    let name = layer.blob.digest.short();
    let file = File::open(path).map_err(Error::io("open", path))?;
    let taken = Arc::new(AtomicU64::new(layer.blob.size));
    let source = BufReader::with_capacity(BUFFER, file);
    let mut inflated = Inflated::new(&name, compression, source, taken, limits)?;
    let (mut hash, mut buffer) = (Context::new(&SHA256), vec![0; BUFFER]);
    loop {
        match inflated.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => hash.update(&buffer[..read]),
            Err(error) => {
                let cause = error.to_string();
                return Err(inflated.failure().unwrap_or(Error::Inflate { layer: name.clone(), cause }));
            }
        }
    }
    let found = from_hash(&hash.finish());
    if found == layer.diff {
        return Ok(());
    }
    Err(Error::Digest { what: format!("layer {name} (unpacked)"), found, expected: layer.diff })
}
