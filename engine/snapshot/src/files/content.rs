//! The bytes of files: copied with their holes, compared.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, Stat, seek};
use rustix::io::Errno;

use super::{Metadata, Name};
use crate::{Result, error};

const COPIED_AT_ONCE: usize = 256 << 10;
const COMPARED_AT_ONCE: usize = 64 << 10;

/// Copies content, holes as holes, and metadata.
pub(crate) fn copy_file(source: &File, copy: &File, stat: &Stat) -> io::Result<()> {
    let mut buffer = vec![0; COPIED_AT_ONCE];
    let mut at = 0;
    while let Some(start) = next_data(source, at)? {
        let end = seek(source, SeekFrom::Hole(start))?;
        at = start;
        while at < end {
            let wanted = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            source.read_exact_at(&mut buffer[..wanted], at)?;
            copy.write_all_at(&buffer[..wanted], at)?;
            at += wanted as u64;
        }
    }
    copy.set_len(stat.st_size.unsigned_abs())?;
    Ok(Metadata::read(source.as_fd())?.apply(copy.as_fd())?)
}

fn next_data(source: &File, from: u64) -> rustix::io::Result<Option<u64>> {
    match seek(source, SeekFrom::Data(from)) {
        Err(Errno::NXIO) => Ok(None),
        found => found.map(Some),
    }
}

/// Whether two files have the same bytes.
pub(crate) fn same_content(files: [&File; 2], name: &Name) -> Result<bool> {
    let (mut left, mut right, mut at) = (vec![0; COMPARED_AT_ONCE], vec![0; COMPARED_AT_ONCE], 0);
    loop {
        let read = files[0].read_at(&mut left, at).map_err(error::io("read", name.as_path()))?;
        if read == 0 {
            let more = files[1].read_at(&mut right[..1], at).map_err(error::io("read", name.as_path()))?;
            return Ok(more == 0);
        }
        if files[1].read_exact_at(&mut right[..read], at).is_err() || left[..read] != right[..read] {
            return Ok(false);
        }
        at += read as u64;
    }
}

/// Bytes of a file that take no place on the disk.
pub(crate) fn holes(stat: &Stat) -> u64 {
    stat.st_size.unsigned_abs().saturating_sub(tare_sys::tree::stored(stat))
}
