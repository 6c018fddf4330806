//! What a process that lives long and does little gives back.

/// Gives the heap's free pages back to the kernel (malloc_trim(3)); does nothing where the C library is not glibc.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes no memory of ours and may be called at any time.
    let _ = unsafe { libc::malloc_trim(0) };
}
