//! The container of xz (*The .xz File Format*, 1.2.1) around LZMA2. Its memory is the dictionary and no more, however many
//! blocks there are: what the index at the end is compared with is kept as a digest. Filters before LZMA2, which are for
//! programs and not for archives, are refused.

use std::io::{self, BufRead, Read};

use aws_lc_rs::digest::{Context, SHA256};
use flate2::Crc;
use lzma_rust2::Lzma2Reader;

const MAGIC: &[u8] = b"\xfd7zXZ\0";
const END: &[u8] = b"YZ";
/// The id of LZMA2 among the filters.
const LZMA2: u64 = 0x21;
/// 128 MiB: twice what `xz -9` uses.
const DICTIONARY: u32 = 128 << 20;

/// The bytes in one or more streams of xz.
pub(crate) struct Xz<R> {
    state: State<R>,
    stream: Option<Stream>,
}

enum State<R> {
    /// Before a stream, or between two.
    Stream(Counted<R>),
    /// Before a block or the index.
    Block(Counted<R>),
    Inside(Box<Inside<R>>),
    Ended,
    Failed,
}

/// What is known of a stream so far.
struct Stream {
    flags: [u8; 2],
    blocks: u64,
    /// Of the sizes of its blocks, which the index repeats.
    sizes: Context,
}

/// A block that is being read.
struct Inside<R> {
    decoder: Lzma2Reader<Counted<R>>,
    check: Check,
    header: u64,
    /// Where the compressed bytes begin.
    begin: u64,
    unpacked: u64,
    /// What the block's header says of its sizes, packed and unpacked.
    told: [Option<u64>; 2],
}

impl<R: BufRead> Xz<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { state: State::Stream(Counted { from, count: 0 }), stream: None }
    }

    /// Reads the header of a stream, or finds that there is none any more.
    fn begin(&mut self, mut from: Counted<R>) -> io::Result<State<R>> {
        let mut header = [0; 12];
        loop {
            let ended = from.from.fill_buf()?.is_empty();
            if ended && self.stream.is_some() {
                return Ok(State::Ended);
            }
            from.read_exact(&mut header[..4])?;
            // Streams are padded to what their writer likes, in fours.
            if header[..4] != [0; 4] || self.stream.is_none() {
                break;
            }
        }
        from.read_exact(&mut header[4..])?;
        let flags = [header[6], header[7]];
        if &header[..6] != MAGIC || header[8..] != crc32(&flags) {
            return Err(corrupt("what should be a stream of xz is none"));
        }
        Check::new(flags)?;
        self.stream = Some(Stream { flags, blocks: 0, sizes: Context::new(&SHA256) });
        Ok(State::Block(from))
    }

    /// Reads the header of a block, or all that comes after the last one.
    fn block(&mut self, mut from: Counted<R>) -> io::Result<State<R>> {
        let stream = self.stream.as_mut().ok_or_else(|| corrupt("a block stands outside a stream"))?;
        let size = from.byte()?;
        if size == 0 {
            stream.end(&mut from)?;
            return Ok(State::Stream(from));
        }
        let mut header = vec![size; (usize::from(size) + 1) * 4];
        from.read_exact(&mut header[1..])?;
        let (fields, sum) = header.split_at(header.len() - 4);
        if sum != crc32(fields) {
            return Err(corrupt("the header of a block of xz is damaged"));
        }
        let (told, dictionary) = fields_of(&fields[1..])?;
        let (check, begin, header) = (Check::new(stream.flags)?, from.count, header.len() as u64);
        let decoder = Lzma2Reader::new(from, dictionary, None);
        Ok(State::Inside(Box::new(Inside { decoder, check, header, begin, unpacked: 0, told })))
    }

    /// Reads what comes after the data of a block.
    fn finish(&mut self, inside: Inside<R>) -> io::Result<State<R>> {
        let Inside { decoder, check, header, begin, unpacked, told } = inside;
        let mut from = decoder.into_inner();
        let packed = from.count - begin;
        let differs = |(told, found): (Option<u64>, u64)| told.is_some_and(|told| told != found);
        if told.into_iter().zip([packed, unpacked]).any(differs) {
            return Err(corrupt("a block of xz has another size than it says"));
        }
        from.zeros(packed)?;
        let expected = check.finish();
        let mut found = vec![0; expected.len()];
        from.read_exact(&mut found)?;
        if found != expected {
            return Err(corrupt("a block of xz fails its checksum"));
        }
        if let Some(stream) = &mut self.stream {
            stream.blocks += 1;
            stream.add(header + packed + found.len() as u64, unpacked);
        }
        Ok(State::Block(from))
    }
}

impl<R: BufRead> Read for Xz<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            // Whatever fails stays failed.
            let next = match std::mem::replace(&mut self.state, State::Failed) {
                State::Stream(from) => self.begin(from),
                State::Block(from) => self.block(from),
                State::Inside(mut inside) => match inside.decoder.read(buffer).map_err(cut)? {
                    0 => self.finish(*inside),
                    read => {
                        inside.check.update(&buffer[..read]);
                        inside.unpacked += read as u64;
                        self.state = State::Inside(inside);
                        return Ok(read);
                    }
                },
                State::Ended => {
                    self.state = State::Ended;
                    return Ok(0);
                }
                State::Failed => return Err(corrupt("it is damaged")),
            };
            self.state = next.map_err(cut)?;
        }
    }
}

impl Stream {
    fn add(&mut self, unpadded: u64, unpacked: u64) {
        self.sizes.update(&unpadded.to_be_bytes());
        self.sizes.update(&unpacked.to_be_bytes());
    }

    /// Reads the index, whose first byte has been read, and the footer.
    fn end(&mut self, from: &mut Counted<impl BufRead>) -> io::Result<()> {
        let (begin, mut sum) = (from.count - 1, Crc::new());
        sum.update(&[0]);
        let mut told =
            Self { flags: self.flags, blocks: from.number(&mut sum)?, sizes: Context::new(&SHA256) };
        if told.blocks != self.blocks {
            return Err(corrupt("the index of xz has another number of blocks"));
        }
        for _ in 0..told.blocks {
            let unpadded = from.number(&mut sum)?;
            let unpacked = from.number(&mut sum)?;
            told.add(unpadded, unpacked);
        }
        let padding = from.zeros(from.count - begin)?;
        sum.update(&[0; 3][..padding]);
        let mut end = [0; 16];
        let size = from.count - begin;
        from.read_exact(&mut end)?;
        let whole = told.sizes.finish().as_ref() == self.sizes.clone().finish().as_ref()
            && end[..4] == sum.sum().to_le_bytes()
            && end[4..8] == crc32(&end[8..14])
            && end[8..12] == u32::try_from(size / 4).unwrap_or(u32::MAX).to_le_bytes()
            && end[12..14] == self.flags
            && &end[14..] == END;
        if whole { Ok(()) } else { Err(corrupt("the end of a stream of xz is damaged")) }
    }
}

/// What follows the size in the header of a block: the sizes that it tells, and the dictionary it wants.
fn fields_of(mut fields: &[u8]) -> io::Result<([Option<u64>; 2], u32)> {
    let fields = &mut fields;
    let flags = byte(fields)?;
    let unfit = || io::Error::new(io::ErrorKind::Unsupported, "it is packed by xz with filters beside LZMA2");
    if flags & 0x3f != 0 {
        return Err(unfit());
    }
    let mut told = [None, None];
    for (at, flag) in [0x40, 0x80].into_iter().enumerate() {
        if flags & flag != 0 {
            told[at] = Some(number(|| byte(fields))?);
        }
    }
    if number(|| byte(fields))? != LZMA2 || byte(fields)? != 1 {
        return Err(unfit());
    }
    let bits = u32::from(byte(fields)?);
    if bits > 40 || fields.iter().any(|byte| *byte != 0) {
        return Err(corrupt("the header of a block of xz makes no sense"));
    }
    let dictionary = if bits == 40 { u32::MAX } else { (2 | bits & 1) << (bits / 2 + 11) };
    if dictionary > DICTIONARY {
        let message =
            format!("it is packed by xz with a dictionary of {dictionary} bytes, more than {DICTIONARY}");
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    Ok((told, dictionary))
}

fn byte(from: &mut &[u8]) -> io::Result<u8> {
    let mut one = [0];
    from.read_exact(&mut one)?;
    Ok(one[0])
}

/// A number in pieces of seven bits, the lowest first.
fn number(mut byte: impl FnMut() -> io::Result<u8>) -> io::Result<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let piece = byte()?;
        number |= u64::from(piece & 0x7f) << shift;
        if piece & 0x80 == 0 {
            return if piece == 0 && shift > 0 {
                Err(corrupt("a number of xz is not minimal"))
            } else {
                Ok(number)
            };
        }
    }
    Err(corrupt("a number of xz does not end"))
}

/// Counts what is read.
struct Counted<R> {
    from: R,
    count: u64,
}

impl<R: Read> Counted<R> {
    fn byte(&mut self) -> io::Result<u8> {
        let mut one = [0];
        self.read_exact(&mut one)?;
        Ok(one[0])
    }

    fn number(&mut self, sum: &mut Crc) -> io::Result<u64> {
        number(|| self.byte().inspect(|byte| sum.update(&[*byte])))
    }

    /// Reads the zeros that fill `size` up to a multiple of four; how many there were.
    fn zeros(&mut self, size: u64) -> io::Result<usize> {
        let mut padding = [0; 3];
        let length = (size.wrapping_neg() % 4) as usize;
        self.read_exact(&mut padding[..length])?;
        if padding == [0; 3] { Ok(length) } else { Err(corrupt("what should be padding of xz is none")) }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.count += read as u64;
        Ok(read)
    }
}

/// What a block is verified with.
enum Check {
    Nothing,
    Crc32(Crc),
    Crc64(u64),
    Sha256(Context),
}

impl Check {
    fn new(flags: [u8; 2]) -> io::Result<Self> {
        match flags {
            [0, 0] => Ok(Self::Nothing),
            [0, 1] => Ok(Self::Crc32(Crc::new())),
            [0, 4] => Ok(Self::Crc64(!0)),
            [0, 10] => Ok(Self::Sha256(Context::new(&SHA256))),
            _ => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "it is packed by xz with an unknown checksum"))
            }
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Nothing => {}
            Self::Crc32(sum) => sum.update(bytes),
            Self::Crc64(sum) => {
                *sum = bytes.iter().fold(*sum, |sum, byte| CRC64[((sum as u8) ^ byte) as usize] ^ (sum >> 8));
            }
            Self::Sha256(hash) => hash.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Crc32(sum) => sum.sum().to_le_bytes().to_vec(),
            Self::Crc64(sum) => (!sum).to_le_bytes().to_vec(),
            Self::Sha256(hash) => hash.finish().as_ref().to_vec(),
        }
    }
}

/// ECMA-182, its bits in reverse.
const CRC64: [u64; 256] = {
    let (mut table, mut at) = ([0; 256], 0);
    while at < 256 {
        let (mut sum, mut bit) = (at as u64, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xc96c_5795_d787_0f42 } else { sum >> 1 };
            bit += 1;
        }
        table[at] = sum;
        at += 1;
    }
    table
};

fn crc32(bytes: &[u8]) -> [u8; 4] {
    let mut sum = Crc::new();
    sum.update(bytes);
    sum.sum().to_le_bytes()
}

fn corrupt(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn cut(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "it is packed by xz and ends too early"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::num::NonZeroU64;

    use lzma_rust2::{CheckType, FilterType, XzOptions, XzWriter};

    use super::*;

    fn packed(bytes: &[u8], change: impl FnOnce(&mut XzOptions)) -> Vec<u8> {
        let mut options = XzOptions::with_preset(1);
        // A block is no smaller than the dictionary.
        options.lzma_options.dict_size = 4096;
        change(&mut options);
        let mut writer = XzWriter::new(Vec::new(), options).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn unpacked(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        Xz::new(packed).read_to_end(&mut bytes).map(|_| bytes)
    }

    fn text() -> Vec<u8> {
        (0..40_000)
            .flat_map(|number: u32| format!("line {}\n", number * 7919 % 10_007).into_bytes())
            .collect()
    }

    #[test]
    fn every_checksum_and_any_number_of_blocks_and_streams_give_the_same_bytes() {
        let text = text();
        for check in [CheckType::None, CheckType::Crc32, CheckType::Crc64, CheckType::Sha256] {
            let small = |options: &mut XzOptions| {
                options.set_check_sum_type(check);
                options.set_block_size(NonZeroU64::new(100_000));
            };
            let (one, many) =
                (packed(&text, |options| options.set_check_sum_type(check)), packed(&text, small));
            assert!(many.len() > one.len(), "several blocks");
            for packed in [&one, &many] {
                assert!(unpacked(packed).unwrap() == text);
            }
            let streams = [&many[..], &[0; 8], &one, &packed(b"", small), &[0; 4]].concat();
            assert!(unpacked(&streams).unwrap() == [&text[..], &text].concat());
        }
    }

    /// Whatever bit falls over, it is noticed, and not by a panic: the container has a checksum for all of it.
    #[test]
    fn damaged_bytes_are_errors() {
        let whole = packed(&b"some text and some text more ".repeat(200), |options| {
            options.set_block_size(NonZeroU64::new(4096));
        });
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                assert!(unpacked(&damaged).is_err(), "byte {at}, bit {bit}");
            }
        }
        for length in 0..whole.len() {
            let error = unpacked(&whole[..length]).unwrap_err();
            assert!(length == 0 || error.to_string().contains("ends too early"), "{length}: {error}");
        }
        for trailing in [&b"garbage"[..], b"x", &[0; 3], &[0; 5]] {
            assert!(unpacked(&[&whole, trailing].concat()).is_err(), "{trailing:?}");
        }
    }

    #[test]
    fn an_error_stays_one() {
        let mut whole = packed(&text(), |_| {});
        let length = whole.len();
        whole[length / 2] ^= 1;
        let mut reader = Xz::new(&whole[..]);
        let mut bytes = Vec::new();
        assert!(reader.read_to_end(&mut bytes).is_err());
        assert!(reader.read(&mut [0; 10]).is_err(), "nobody takes it for the end");
    }

    #[test]
    fn what_would_take_memory_or_another_filter_is_refused() {
        let large = packed(b"x", |options| options.lzma_options.dict_size = 256 << 20);
        assert!(unpacked(&large).unwrap_err().to_string().contains("dictionary of 268435456 bytes"));
        let filtered = packed(&text(), |options| options.prepend_pre_filter(FilterType::BcjX86, 0));
        assert!(unpacked(&filtered).unwrap_err().to_string().contains("filters beside LZMA2"));
    }

    /// Each empty stream is 32 bytes: going through them must not take a stack.
    #[test]
    fn a_million_empty_streams_are_gone_through() {
        let empty = packed(b"", |_| {});
        assert_eq!(unpacked(&empty.repeat(1_000_000)).unwrap(), b"");
    }
}
