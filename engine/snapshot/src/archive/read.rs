//! A tar stream, one entry after the other. The `tar` crate reads the fields of a header; the order of headers, the
//! extended ones and the content are read here, within limits: what an archive announces is never reserved in memory.

use std::io::{self, BufRead, Read};

use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use crate::files::{Metadata, Time, refused};
use crate::{Error, Result};

use super::pax::{Pax, number};

const BLOCK: usize = 512;
/// The largest extended header or long name.
const LARGEST_EXTENSION: u64 = 1 << 20;
/// The most extents of a sparse file.
const MOST_EXTENTS: usize = 1 << 16;

pub(crate) struct Archive<R> {
    input: R,
    /// What is left of the entry's content.
    content: u64,
    /// What fills its last block.
    padding: u64,
}

#[derive(Debug)]
pub(crate) struct Entry {
    /// As it stands in the archive.
    pub name: Vec<u8>,
    pub kind: Kind,
    pub metadata: Metadata,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File { size: u64, extents: Option<Vec<Extent>> },
    HardLink { target: Vec<u8> },
    Symlink { target: Vec<u8> },
    Character { major: u32, minor: u32 },
    Block { major: u32, minor: u32 },
    Fifo,
}

/// A piece of a sparse file that has content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub offset: u64,
    pub length: u64,
}

/// What headers before the entry's own have said about it.
#[derive(Default)]
struct Extensions {
    pax: Option<Pax>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Extensions {
    fn are_empty(&self) -> bool {
        self.pax.is_none() && self.name.is_none() && self.link.is_none()
    }
}

fn malformed<T>(why: &'static str) -> Result<T> {
    Err(Error::Malformed { why })
}

impl<R: BufRead> Archive<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, content: 0, padding: 0 }
    }

    /// The next entry. What was not read of the one before is passed over.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_content()?;
            let Some(header) = self.header()? else {
                return if extensions.are_empty() {
                    Ok(None)
                } else {
                    malformed("it ends after an extended header")
                };
            };
            match header.entry_type() {
                EntryType::XGlobalHeader => self.begin_content(size_of(&header)?)?,
                EntryType::XHeader => {
                    let pax = Pax::parse(&self.extension(&header)?)?;
                    only_once(extensions.pax.replace(pax).as_ref())?;
                }
                EntryType::GNULongName => {
                    let name = self.extension(&header)?;
                    only_once(extensions.name.replace(until_nul(&name).to_owned()).as_ref())?;
                }
                EntryType::GNULongLink => {
                    let link = self.extension(&header)?;
                    only_once(extensions.link.replace(until_nul(&link).to_owned()).as_ref())?;
                }
                _ => return self.entry(&header, extensions).map(Some),
            }
        }
    }

    /// The next piece of the entry's content; empty at its end.
    pub(crate) fn chunk(&mut self) -> Result<&[u8]> {
        if self.content == 0 {
            return Ok(&[]);
        }
        let limit = usize::try_from(self.content).unwrap_or(usize::MAX);
        match fill(&mut self.input)? {
            [] => Err(truncated()),
            chunk => Ok(&chunk[..chunk.len().min(limit)]),
        }
    }

    /// Marks `length` bytes of the last chunk as used.
    pub(crate) fn consume(&mut self, length: usize) {
        self.input.consume(length);
        self.content -= length as u64;
    }

    /// Reads what follows the archive's end, so that who feeds the stream sees all of it.
    pub(crate) fn drain(&mut self) -> Result<()> {
        io::copy(&mut self.input, &mut io::sink()).map_err(Error::Read)?;
        Ok(())
    }

    fn begin_content(&mut self, size: u64) -> Result<()> {
        let block = BLOCK as u64;
        if size > i64::MAX as u64 {
            return malformed("an entry has an impossible size");
        }
        self.content = size;
        self.padding = (block - size % block) % block;
        Ok(())
    }

    /// The archive may end where the last content does: what Docker's client sends as a build's context does so where the
    /// Dockerfile lies outside.
    fn skip_content(&mut self) -> Result<()> {
        let (content, left) = (self.content, self.content + self.padding);
        let skipped = io::copy(&mut (&mut self.input).take(left), &mut io::sink()).map_err(Error::Read)?;
        (self.content, self.padding) = (0, 0);
        if skipped == left || skipped == content { Ok(()) } else { Err(truncated()) }
    }

    /// The next header block; `None` at the archive's end, which a block of zeros marks.
    fn header(&mut self) -> Result<Option<Header>> {
        if fill(&mut self.input)?.is_empty() {
            return Ok(None);
        }
        let mut header = Header::new_old();
        self.block(header.as_mut_bytes())?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let bytes = header.as_bytes();
        let counted =
            bytes[..148].iter().chain(&bytes[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
        match numeric(&header.as_old().cksum) {
            Some(stated) if stated == i64::from(counted) => Ok(Some(header)),
            _ => malformed("the checksum of a header does not match"),
        }
    }

    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<()> {
        self.input.read_exact(block).map_err(ended)
    }

    fn extension(&mut self, header: &Header) -> Result<Vec<u8>> {
        let size = size_of(header)?;
        if size > LARGEST_EXTENSION {
            return Err(Error::Limit { what: "bytes in an extended header", limit: LARGEST_EXTENSION });
        }
        self.begin_content(size)?;
        let mut bytes = Vec::new();
        (&mut self.input).take(size).read_to_end(&mut bytes).map_err(Error::Read)?;
        self.content = 0;
        if bytes.len() as u64 == size { Ok(bytes) } else { Err(truncated()) }
    }

    fn entry(&mut self, header: &Header, extensions: Extensions) -> Result<Entry> {
        let pax = extensions.pax.unwrap_or_default();
        let own_name = || header.path_bytes().into_owned();
        let name = extensions.name.or(pax.sparse.name.clone()).or(pax.path.clone()).unwrap_or_else(own_name);
        let own_link = || header.link_name_bytes().map(|bytes| bytes.into_owned()).unwrap_or_default();
        let target = extensions.link.or(pax.link.clone()).unwrap_or_else(own_link);
        let metadata = metadata(header, &pax, &name)?;
        let kind = match header.entry_type() {
            // Before ustar, directories were told by a slash at the end.
            EntryType::Regular if name.ends_with(b"/") && header.as_old().linkflag == [0] => {
                self.begin_content(size_of(header)?)?;
                Kind::Directory
            }
            EntryType::Regular | EntryType::Continuous => self.file(header, pax)?,
            EntryType::GNUSparse => self.gnu_sparse(header, &pax)?,
            EntryType::Directory => Kind::Directory,
            EntryType::Link => Kind::HardLink { target },
            EntryType::Symlink => Kind::Symlink { target },
            EntryType::Fifo => Kind::Fifo,
            EntryType::Char => device(header).map(|(major, minor)| Kind::Character { major, minor })?,
            EntryType::Block => device(header).map(|(major, minor)| Kind::Block { major, minor })?,
            _ => return Err(refused(&name, "is of a type that no layer has")),
        };
        Ok(Entry { name, kind, metadata })
    }

    fn file(&mut self, header: &Header, pax: Pax) -> Result<Kind> {
        let stored = pax.size.map_or_else(|| size_of(header), Ok)?;
        self.begin_content(stored)?;
        let Some(real_size) = pax.sparse.real_size else {
            return Ok(Kind::File { size: stored, extents: None });
        };
        let numbers = if pax.sparse.map_in_content { self.map_in_content()? } else { pax.sparse.map };
        let extents = extents(&numbers, real_size, self.content)?;
        Ok(Kind::File { size: real_size, extents: Some(extents) })
    }

    /// Version 1.0's map: decimal numbers, a line each, filled up to whole blocks.
    fn map_in_content(&mut self) -> Result<Vec<u64>> {
        let mut used = 0;
        let count = self.line(&mut used)?;
        if count > MOST_EXTENTS as u64 {
            return malformed("a sparse file has too many pieces");
        }
        let numbers = (0..2 * count).map(|_| self.line(&mut used)).collect::<Result<_>>()?;
        let rest = (BLOCK as u64 - used % BLOCK as u64) % BLOCK as u64;
        self.discard(rest)?;
        Ok(numbers)
    }

    fn line(&mut self, used: &mut u64) -> Result<u64> {
        let mut digits = Vec::new();
        loop {
            let Some(&byte) = self.chunk()?.first() else {
                return malformed("a sparse file's map is cut off");
            };
            self.consume(1);
            *used += 1;
            match byte {
                b'\n' => {
                    return number(&digits)?
                        .ok_or(Error::Malformed { why: "a sparse file's map has an empty line" });
                }
                _ if digits.len() >= 20 => return malformed("a sparse file's map cannot be read"),
                _ => digits.push(byte),
            }
        }
    }

    fn discard(&mut self, mut length: u64) -> Result<()> {
        while length > 0 {
            let chunk = self.chunk()?.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            if chunk == 0 {
                return malformed("a sparse file's map is cut off");
            }
            self.consume(chunk);
            length -= chunk as u64;
        }
        Ok(())
    }

    fn gnu_sparse(&mut self, header: &Header, pax: &Pax) -> Result<Kind> {
        const BAD: Error = Error::Malformed { why: "a sparse file's header cannot be read" };
        let gnu = header.as_gnu().ok_or(BAD)?;
        let real_size = numeric(&gnu.realsize).and_then(|size| u64::try_from(size).ok()).ok_or(BAD)?;
        let mut numbers = Vec::new();
        let mut take = |blocks: &[GnuSparseHeader]| -> Result<()> {
            for block in blocks.iter().filter(|block| !block.is_empty()) {
                for field in [&block.offset, &block.numbytes] {
                    numbers.push(numeric(field).and_then(|number| u64::try_from(number).ok()).ok_or(BAD)?);
                }
            }
            if numbers.len() > 2 * MOST_EXTENTS {
                malformed("a sparse file has too many pieces")
            } else {
                Ok(())
            }
        };
        take(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = GnuExtSparseHeader::new();
            self.input.read_exact(block.as_mut_bytes()).map_err(ended)?;
            take(block.sparse())?;
            more = block.is_extended();
        }
        let stored = pax.size.map_or_else(|| size_of(header), Ok)?;
        self.begin_content(stored)?;
        Ok(Kind::File { size: real_size, extents: Some(extents(&numbers, real_size, stored)?) })
    }
}

/// The buffered input, filled if it was empty; empty at the end of the stream.
fn fill(input: &mut impl BufRead) -> Result<&[u8]> {
    loop {
        match input.fill_buf() {
            // Asked again, as the borrow checker cannot see yet that this one ends here; nothing is read twice.
            Ok(_) => return input.fill_buf().map_err(Error::Read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Read(error)),
        }
    }
}

fn truncated() -> Error {
    Error::Malformed { why: "it ends in the middle of an entry" }
}

fn ended(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::UnexpectedEof { truncated() } else { Error::Read(error) }
}

fn only_once<T>(earlier: Option<&T>) -> Result<()> {
    if earlier.is_some() { malformed("an entry has two extended headers of one sort") } else { Ok(()) }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn size_of(header: &Header) -> Result<u64> {
    let size = numeric(&header.as_old().size).and_then(|size| u64::try_from(size).ok());
    size.ok_or(Error::Malformed { why: "the size of an entry cannot be read" })
}

/// A numeric field: octal digits, or with the top bit set a big-endian two's complement number ("base-256", GNU tar
/// manual, "Extensions"). The `tar` crate drops what exceeds 64 bits, by which parsers come to differ; here it is an
/// error. An empty field is zero.
fn numeric(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 == 0 {
        let blank = |byte: &u8| matches!(byte, 0 | b' ');
        let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
        let digits = field[start..].split(blank).next().unwrap_or_default();
        return digits.iter().try_fold(0_i64, |number, digit| match digit {
            b'0'..=b'7' => number.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
            _ => None,
        });
    }
    let negative = field[0] & 0x40 != 0;
    let first = if negative { i128::from(field[0] as i8) } else { i128::from(field[0] & 0x7f) };
    let number = field[1..]
        .iter()
        .try_fold(first, |number, byte| number.checked_mul(256)?.checked_add(i128::from(*byte)));
    i64::try_from(number?).ok()
}

fn device(header: &Header) -> Result<(u32, u32)> {
    let number = |field: Option<&[u8; 8]>| numeric(field?).and_then(|number| u32::try_from(number).ok());
    let (gnu, ustar) = (header.as_gnu(), header.as_ustar());
    let major = gnu.map(|header| &header.dev_major).or(ustar.map(|header| &header.dev_major));
    let minor = gnu.map(|header| &header.dev_minor).or(ustar.map(|header| &header.dev_minor));
    match (number(major), number(minor)) {
        (Some(major), Some(minor)) => Ok((major, minor)),
        _ => malformed("the number of a device cannot be read"),
    }
}

fn metadata(header: &Header, pax: &Pax, name: &[u8]) -> Result<Metadata> {
    const BAD: Error = Error::Malformed { why: "mode, owner or time of an entry cannot be read" };
    let own = header.as_old();
    let id = |stated: Option<u64>, own: &[u8]| -> Result<u32> {
        let id = stated.map_or_else(|| numeric(own).ok_or(BAD), |id| i64::try_from(id).map_err(|_| BAD))?;
        // The last one means "leave as it is" to chown(2).
        u32::try_from(id)
            .ok()
            .filter(|id| *id != u32::MAX)
            .ok_or_else(|| refused(name, "has an impossible owner"))
    };
    let own_time = || numeric(&own.mtime).map(|seconds| Time { seconds, nanoseconds: 0 }).ok_or(BAD);
    let modified = pax.modified.map_or_else(own_time, Ok)?;
    Ok(Metadata {
        mode: (numeric(&own.mode).ok_or(BAD)? & 0o7777) as u32,
        uid: id(pax.uid, &own.uid)?,
        gid: id(pax.gid, &own.gid)?,
        accessed: pax.accessed.unwrap_or(modified),
        modified,
        xattrs: pax.xattrs.clone(),
    })
}

/// Offsets and lengths as extents in rising order that hold `stored` bytes altogether and end within `real_size`.
fn extents(numbers: &[u64], real_size: u64, stored: u64) -> Result<Vec<Extent>> {
    const BAD: Error = Error::Malformed { why: "the pieces of a sparse file do not fit together" };
    let (mut end, mut sum, mut extents) = (0_u64, 0_u64, Vec::new());
    if !numbers.len().is_multiple_of(2) || real_size > i64::MAX as u64 {
        return Err(BAD);
    }
    for pair in numbers.chunks_exact(2) {
        let (offset, length) = (pair[0], pair[1]);
        let overlaps = offset < end;
        end = offset.checked_add(length).filter(|end| *end <= real_size && !overlaps).ok_or(BAD)?;
        sum = sum.checked_add(length).ok_or(BAD)?;
        extents.push(Extent { offset, length });
    }
    if sum == stored { Ok(extents) } else { Err(BAD) }
}
