//! Programs of other processors: whether this machine runs them, natively or through an emulator that is registered with
//! the kernel (Documentation/admin-guide/binfmt-misc.rst).

use std::path::Path;

use tare_model::Platform;

use crate::{Error, Result};

const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";

/// Docker's names of architectures, and `e_machine` in their programs (elf(5)).
const MACHINES: [(&str, u16); 10] = [
    ("386", 3),
    ("mips", 8),
    ("ppc64", 21),
    ("ppc64le", 21),
    ("s390x", 22),
    ("arm", 40),
    ("amd64", 62),
    ("arm64", 183),
    ("riscv64", 243),
    ("loong64", 258),
];
/// Where `e_machine` stands in a program.
const AT: usize = 18;

/// An error where programs of `platform` cannot run here. Blocking.
pub(crate) fn check(platform: &Platform) -> Result<()> {
    let host = Platform::host();
    let linux = platform.os.is_empty() || platform.os == host.os;
    if linux && (is_native(platform, &host) || is_emulated(platform)) {
        return Ok(());
    }
    Err(Error::Request(format!(
        "RUN cannot run programs for {platform} on {host}: build this on such a machine, or register an emulator for them (as the package qemu-user-static does); COPY and ADD need none"
    )))
}

fn is_native(platform: &Platform, host: &Platform) -> bool {
    let older = match host.architecture.as_str() {
        "amd64" => "386",
        "arm64" => "arm",
        same => same,
    };
    platform.architecture == host.architecture || platform.architecture == older
}

fn is_emulated(platform: &Platform) -> bool {
    let Some((_, machine)) = MACHINES.iter().find(|(name, _)| *name == platform.architecture) else {
        // Nobody knows, so that the kernel shall say.
        return true;
    };
    let entries = std::fs::read_dir(Path::new(REGISTERED)).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    texts.into_iter().any(|text| serves(&text, *machine))
}

/// Whether an entry, as the kernel tells it, is for programs of this machine.
fn serves(entry: &str, machine: u16) -> bool {
    let value = |name: &str| entry.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let Some(magic) = value("magic").filter(|_| entry.starts_with("enabled")).and_then(bytes) else {
        return false;
    };
    let offset = value("offset").and_then(|text| text.trim().parse::<usize>().ok()).unwrap_or(0);
    let field = AT.checked_sub(offset).and_then(|at| magic.get(at..at + 2));
    let is = |field: &[u8]| [machine.to_le_bytes(), machine.to_be_bytes()].iter().any(|bytes| bytes == field);
    magic.starts_with(b"\x7fELF") && field.is_some_and(is)
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.trim().as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What qemu-user-static registers.
    const ENTRY: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\noffset 0\n\
         magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn emulators_are_known_by_the_machine_in_their_magic() {
        assert!(serves(ENTRY, 183));
        assert!(!serves(ENTRY, 62));
        assert!(!serves(&ENTRY.replace("enabled", "disabled"), 183));
        for other in
            ["", "enabled", "enabled\nextension .exe\n", "enabled\nmagic 4d5a\n", "enabled\nmagic xyz\n"]
        {
            assert!(!serves(other, 183), "{other}");
        }
    }

    #[test]
    fn this_machine_and_its_elders_run_here() {
        check(&Platform::host()).unwrap();
        let windows = "windows/amd64".parse().unwrap();
        assert!(check(&windows).unwrap_err().to_string().contains("windows/amd64"));
    }
}
