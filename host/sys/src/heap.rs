//! What a process that lives long and does little gives back.

use std::ffi::{c_int, c_void};

/// Gives the heap's free pages back to the kernel (malloc_trim(3)); does nothing where the C library is not glibc.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes no memory of ours and may be called at any time.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// What an idle process may keep for its next work, bytes.
#[cfg(target_env = "gnu")]
const SPARE: usize = 6 << 20;

/// [`trim`] and [`drop_code`], if there is so much to give back that the next work should rather pay for it than the
/// machine: large work leaves the heap of every thread as large as it was at its largest.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallinfo2 reads the allocator's books, with its locks held, and may be called at any time.
        let free = unsafe { libc::mallinfo2() }.fordblks;
        if free > SPARE {
            trim();
            drop_code();
        }
    }
}

/// Unmaps the pages of the program's own code and constants; those that are needed again come back from the page cache,
/// one small fault each. After a start that went through the whole program once, what stays mapped is the little that
/// runs from then on.
pub fn drop_code() {
    // SAFETY: the callback is of the type that is asked for, takes no data and does not unwind.
    unsafe { libc::dl_iterate_phdr(Some(drop_segments), std::ptr::null_mut()) };
}

/// Called for the program itself first; any answer but 0 ends the iteration, before libraries.
extern "C" fn drop_segments(info: *mut libc::dl_phdr_info, _size: usize, _data: *mut c_void) -> c_int {
    // SAFETY: dl_iterate_phdr passes a valid description that lives through the call.
    let info = unsafe { &*info };
    // SAFETY: the program headers are `dlpi_phnum` elements at `dlpi_phdr`, mapped as long as the program is.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let page = rustix::param::page_size() as u64;
    for header in headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0) {
        let start = (info.dlpi_addr + header.p_vaddr).next_multiple_of(page);
        let end = (info.dlpi_addr + header.p_vaddr + header.p_memsz) / page * page;
        if start < end {
            // SAFETY: a segment that is loaded without write permission is a private mapping of the file that nobody has
            // changed (relocations, RELRO included, lie in writable segments): dropped pages read as before.
            let _ =
                unsafe { libc::madvise(start as *mut c_void, (end - start) as usize, libc::MADV_DONTNEED) };
        }
    }
    1
}

#[cfg(test)]
mod tests {
    /// Pages in memory that belong to no file.
    fn anonymous() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    #[test]
    fn what_a_burst_of_work_has_freed_goes_back() {
        // Each too small for a mapping of its own, and the last one kept, so that free alone gives nothing back.
        let mut pieces: Vec<Box<[u8]>> = (0..4096).map(|_| vec![1; 16 << 10].into_boxed_slice()).collect();
        let full = anonymous();
        let last = pieces.pop();
        drop(pieces);
        super::give_back();
        let after = anonymous();
        assert!(after + (48 << 20) < full, "{full} bytes before, {after} after");
        drop(last);
    }
}
