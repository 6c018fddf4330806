//! `tare-runtime checkpoint`: writes a container to disk, by criu.

use std::path::{Component, Path, PathBuf};

use tare_runtime::kept::Checkpoint;

use crate::failure::{Failure, Outcome};
use crate::flags::{Flag, Given, switch, value};
use crate::global::Global;
use crate::images;

const FLAGS: [Flag; 7] = [
    value("parent-path", ""),
    switch("leave-running", ""),
    switch("pre-dump", ""),
    value("page-server", ""),
    value("status-fd", ""),
    switch("tcp-skip-in-flight", ""),
    // Accepted and without effect: files that were unlinked are always taken care of.
    switch("link-remap", ""),
];

pub(crate) fn command(global: &Global, arguments: &[&str]) -> Outcome {
    let given = Given::parse_anywhere(arguments, &[&FLAGS[..], &images::FLAGS[..]].concat())?;
    let kept = global.open(given.id()?)?;
    let images = images::images(global, &given)?;
    let wanted = Checkpoint {
        leave_running: given.is("leave-running"),
        pre_dump: given.is("pre-dump"),
        skip_in_flight: given.is("tcp-skip-in-flight"),
        parent: given.value("parent-path").filter(|path| !path.is_empty()).map(Path::new),
        page_server: given.value("page-server").filter(|at| !at.is_empty()).map(page_server).transpose()?,
        status_fd: given.parsed("status-fd")?.filter(|fd: &i32| *fd >= 0),
    };
    check_parent(&images, wanted.parent)?;
    kept.checkpoint(&images, &wanted)?;
    if !wanted.leave_running && !wanted.pre_dump {
        kept.delete(true)?.iter().for_each(|warning| global.warn(warning));
    }
    Ok(0)
}

/// criu looks for it from the directory of the images, which need not be there yet.
fn check_parent(images: &tare_runtime::kept::Images<'_>, parent: Option<&Path>) -> Result<(), Failure> {
    match parent {
        Some(path) if path.is_absolute() => {
            Err(Failure::new("--parent-path must be relative, from the image path"))
        }
        Some(path) if !from(images.dir, path).is_dir() => {
            Err(Failure::new(format!("--parent-path {} is no directory", images.dir.join(path).display())))
        }
        _ => Ok(()),
    }
}

/// A path from a directory, `..` taken back as text.
fn from(dir: &Path, path: &Path) -> PathBuf {
    let mut place = dir.to_path_buf();
    for component in path.components() {
        match component {
            Component::ParentDir if place.file_name().is_some() => drop(place.pop()),
            component => place.push(component),
        }
    }
    // Nothing is left of a relative path that was taken back whole.
    if place.as_os_str().is_empty() { PathBuf::from(".") } else { place }
}

fn page_server(text: &str) -> Result<(&str, u16), Failure> {
    let wrong = || Failure::new(format!("--page-server must be ADDRESS:PORT, not {text}"));
    let (address, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    Ok((address, port.parse().map_err(|_| wrong())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_before_is_looked_for_from_the_images() {
        for (dir, path, wanted) in
            [("images", "../before", "before"), ("/a/b", "../c", "/a/c"), ("i", "..", "."), ("i", "x", "i/x")]
        {
            assert_eq!(from(Path::new(dir), Path::new(path)), Path::new(wanted));
        }
    }

    #[test]
    fn a_page_server_has_an_address_and_a_port() {
        assert_eq!(page_server("127.0.0.1:80").unwrap(), ("127.0.0.1", 80));
        assert_eq!(page_server("::1:80").unwrap(), ("::1", 80));
        assert!(page_server("127.0.0.1").is_err() && page_server("a:b").is_err());
    }
}
