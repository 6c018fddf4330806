use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const BLOCK: u64 = 64 << 10;

/// Where the last `wanted` lines of a file begin, and how many it has if there are fewer. Reads from the end, and no more
/// than it must.
pub(super) async fn last_lines(file: &File, length: u64, wanted: usize) -> io::Result<(u64, usize)> {
    if wanted == 0 || length == 0 {
        return Ok((length, 0));
    }
    let mut buffer = vec![0; BLOCK as usize];
    // The end of the last line is not the end of a line before it, and an unfinished line is one, too.
    let mut end = length;
    let mut found = 0;
    while end > 0 {
        let begin = end.saturating_sub(BLOCK);
        let block = &mut buffer[..(end - begin) as usize];
        file.read_exact_at(block, begin)?;
        for at in (0..block.len()).rev() {
            if block[at] == b'\n' && begin + at as u64 + 1 < length {
                found += 1;
                if found == wanted {
                    return Ok((begin + at as u64 + 1, wanted));
                }
            }
        }
        end = begin;
        // A log may be long, and others wait for this thread.
        tokio::task::yield_now().await;
    }
    Ok((0, found + 1))
}
