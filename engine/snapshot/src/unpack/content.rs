//! The content of files, with holes where there is nothing but zeros.

use std::io::BufRead;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{fstat, ftruncate};
use rustix::io::{Errno, pwrite};
use tare_sys::disk::begin_writing;

use super::tree::Tree;
use crate::archive::{Archive, Extent};
use crate::files::{Metadata, Name, holes};
use crate::{Error, Result};

/// Files from this size on have holes where their archive has long runs of zeros.
const WORTH_HOLES: u64 = 1 << 20;
const SMALLEST_HOLE: usize = 64 << 10;
/// The disk is given files of this size while the rest of the archive is unfolded. They are few and hold most of the bytes.
const WORTH_BEGINNING: u64 = 256 << 10;

/// Makes a file of the archive's next bytes, of a size and with the extents that its entry tells; how many of its bytes take no
/// place on the disk.
pub(super) fn write_file<R: BufRead>(
    tree: &mut Tree,
    archive: &mut Archive<R>,
    (name, metadata): (&Name, &Metadata),
    (size, extents): (u64, Option<Vec<Extent>>),
) -> Result<u64> {
    let file = tree.file(name)?;
    let failed = |tree: &Tree, error| tree.failed("write", name)(error);
    match extents {
        None => {
            copy(archive, &file, Extent { offset: 0, length: size }, |error| failed(tree, error))?;
            // Where it ends with zeros, they were not written.
            if size >= WORTH_HOLES {
                ftruncate(&file, size).map_err(|error| failed(tree, error))?;
            }
        }
        Some(extents) => {
            for extent in extents {
                copy(archive, &file, extent, |error| failed(tree, error))?;
            }
            ftruncate(&file, size).map_err(|error| failed(tree, error))?;
        }
    }
    metadata.apply(file.as_fd()).map_err(tree.failed("describe", name))?;
    let holes = match size {
        ..WORTH_HOLES => 0,
        _ => fstat(&file).map(|stat| holes(&stat)).map_err(tree.failed("look at", name))?,
    };
    if size >= WORTH_BEGINNING {
        // A hint: a file system that cannot take it takes the bytes later.
        let _ = begin_writing(file.as_fd(), 0, size);
    }
    Ok(holes)
}

/// Writes the next `extent.length` bytes of the content at the extent's place.
fn copy<R: BufRead>(
    archive: &mut Archive<R>,
    file: &OwnedFd,
    extent: Extent,
    failed: impl Fn(Errno) -> Error,
) -> Result<()> {
    let Extent { mut offset, length } = extent;
    let end = offset + length;
    while offset < end {
        let chunk = archive.chunk()?;
        let wanted = chunk.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX));
        // What no writer has written takes no space, and reads as zeros.
        let hole =
            wanted >= SMALLEST_HOLE && length >= WORTH_HOLES && chunk[..wanted].iter().all(|byte| *byte == 0);
        let written = match if hole { Ok(wanted) } else { pwrite(file, &chunk[..wanted], offset) } {
            Ok(0) => return Err(failed(Errno::NOSPC)),
            Ok(written) => written,
            Err(Errno::INTR) => 0,
            Err(error) => return Err(failed(error)),
        };
        archive.consume(written);
        offset += written as u64;
    }
    Ok(())
}
