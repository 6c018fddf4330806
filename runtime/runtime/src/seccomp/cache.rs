//! Compiled filters on disk.
//!
//! A file holds the profile it was compiled from and is used for that very text only, so that no collision of names can
//! ever bring the filter of another profile. Directory and file must be ours alone: whoever could write there could
//! loosen every container.

use std::hash::{DefaultHasher, Hasher};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, renameat, unlinkat};
use tare_oci::runtime::Seccomp;
use tare_sys::seccomp::Instruction;

use super::{Filter, MOST_INSTRUCTIONS, SeccompError, compile};

/// Names the compiler that wrote a file: to be changed whenever the same profile comes to other instructions.
const FORMAT: &[u8; 16] = b"tare seccomp  1\n";
/// A profile of more than this is compiled each time.
const LARGEST: usize = 1 << 20;

/// The filter of a profile: read from `directory` where it was compiled before, else compiled and kept there.
///
/// # Errors
/// Only the compiler's: a cache that cannot be read or written, or that others could have written, is passed over.
pub fn load_or_compile(directory: Option<&Path>, profile: &Seccomp) -> Result<Filter, SeccompError> {
    let Some(directory) = directory.and_then(open_private) else { return compile(profile) };
    let Ok(text) = serde_json::to_vec(profile) else { return compile(profile) };
    let name = format!("{:016x}", hash(&text));
    if let Some(filter) = read(&directory, &name, &text) {
        return Ok(filter);
    }
    let filter = compile(profile)?;
    // The next start compiles again, no more.
    let _ = write(&directory, &name, &encode(&text, &filter));
    Ok(filter)
}

/// Opens the directory if nobody else can write into it.
fn open_private(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(CWD, path, flags, Mode::empty()).ok()?;
    let stat = fstat(&directory).ok()?;
    (is_ours(&stat) && stat.st_mode & 0o077 == 0).then_some(directory)
}

fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o022 == 0
}

fn read(directory: &OwnedFd, name: &str, text: &[u8]) -> Option<Filter> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty()).ok()?;
    let stat = fstat(&file).ok()?;
    let size = usize::try_from(stat.st_size).ok().filter(|size| *size <= LARGEST)?;
    if !is_ours(&stat) || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut bytes = Vec::with_capacity(size);
    std::fs::File::from(file).take(LARGEST as u64).read_to_end(&mut bytes).ok()?;
    decode(&bytes, text)
}

/// Written aside and renamed, so that two starts at once never meet half a file.
fn write(directory: &OwnedFd, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    if bytes.len() > LARGEST {
        return Ok(());
    }
    let aside = format!("{name}.{}", rustix::process::getpid().as_raw_nonzero());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(directory, &aside, flags, Mode::RUSR | Mode::WUSR)?;
    let written = std::fs::File::from(file).write_all(bytes).and_then(|()| {
        renameat(directory.as_fd(), &aside, directory.as_fd(), name).map_err(std::io::Error::from)
    });
    if written.is_err() {
        let _ = unlinkat(directory, &aside, AtFlags::empty());
    }
    written
}

/// `FORMAT`, checksum of what follows, flags, length of the profile, the profile, the instructions; little-endian.
fn encode(text: &[u8], filter: &Filter) -> Vec<u8> {
    let mut body = Vec::with_capacity(8 + text.len() + 8 * filter.instructions.len());
    body.extend(filter.flags.to_le_bytes());
    body.extend((text.len() as u32).to_le_bytes());
    body.extend(text);
    for instruction in &filter.instructions {
        body.extend(instruction.code.to_le_bytes());
        body.extend([instruction.jt, instruction.jf]);
        body.extend(instruction.k.to_le_bytes());
    }
    [&FORMAT[..], &hash(&body).to_le_bytes(), &body].concat()
}

fn decode(bytes: &[u8], text: &[u8]) -> Option<Filter> {
    let (checksum, body) = bytes.strip_prefix(FORMAT)?.split_first_chunk::<8>()?;
    // Not synced when it was written: after a power cut it may hold anything.
    if u64::from_le_bytes(*checksum) != hash(body) {
        return None;
    }
    let (flags, rest) = body.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (stored, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let count = rest.len() / 8;
    if stored != text || rest.len() % 8 != 0 || count == 0 || count > MOST_INSTRUCTIONS {
        return None;
    }
    let instructions = rest.chunks_exact(8).map(|bytes| Instruction {
        code: u16::from_le_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    });
    Some(Filter { instructions: instructions.collect(), flags: u32::from_le_bytes(*flags) })
}

/// Spreads names and finds torn files; nothing is trusted for it.
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn profile() -> Seccomp {
        let rule = tare_oci::runtime::SyscallRule {
            names: vec!["getpid".to_owned()],
            action: "SCMP_ACT_ERRNO".to_owned(),
            ..Default::default()
        };
        Seccomp { default_action: "SCMP_ACT_ALLOW".to_owned(), syscalls: vec![rule], ..Default::default() }
    }

    fn files(directory: &Path) -> Vec<std::path::PathBuf> {
        directory.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    fn private() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        directory
    }

    #[test]
    fn the_second_start_reads_what_the_first_compiled() {
        let directory = private();
        let first = load_or_compile(Some(directory.path()), &profile()).unwrap();
        let [file] = &files(directory.path())[..] else { panic!("one file") };
        // Proof that it is read: another return value, with its checksum.
        let mut changed = first.clone();
        changed.instructions[0].k = 77;
        std::fs::write(file, encode(&serde_json::to_vec(&profile()).unwrap(), &changed)).unwrap();
        assert_eq!(load_or_compile(Some(directory.path()), &profile()).unwrap(), changed);
    }

    #[test]
    fn damaged_and_foreign_files_are_passed_over() {
        let directory = private();
        let good = load_or_compile(Some(directory.path()), &profile()).unwrap();
        let file = files(directory.path()).remove(0);
        let bytes = std::fs::read(&file).unwrap();
        let mut flipped = bytes.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let longer = [&bytes[..], &[0; 8]].concat();
        for damaged in [bytes[..20].to_vec(), flipped, vec![0; bytes.len()], longer, Vec::new()] {
            std::fs::write(&file, &damaged).unwrap();
            assert_eq!(load_or_compile(Some(directory.path()), &profile()).unwrap(), good);
        }
        let mut other = good.clone();
        other.flags = 2;
        std::fs::write(&file, encode(b"another profile", &other)).unwrap();
        assert_eq!(load_or_compile(Some(directory.path()), &profile()).unwrap(), good);
    }

    #[test]
    fn a_directory_that_others_may_write_is_not_used() {
        let directory = private();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        load_or_compile(Some(directory.path()), &profile()).unwrap();
        assert!(files(directory.path()).is_empty());
        let link = directory.path().join("link");
        let target = private();
        std::os::unix::fs::symlink(target.path(), &link).unwrap();
        load_or_compile(Some(&link), &profile()).unwrap();
        assert!(files(target.path()).is_empty());
    }
}
