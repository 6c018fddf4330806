use std::path::Path;

use tare_container::{BindPropagation, MountSource, MountSpec, TmpfsOptions};
use tare_docker_api::{Mount, TmpfsOptions as WireTmpfs};

use crate::{Error, Result};

/// One `--mount`.
pub(super) fn check(mount: &Mount) -> Result<MountSpec> {
    let invalid =
        |why: &str| Error::invalid(format!("invalid mount config for type \"{}\": {why}", mount.kind));
    let odd = |what: &str, given: bool| {
        if given { Err(invalid(&format!("field {what} must not be specified"))) } else { Ok(()) }
    };
    if mount.target.is_empty() {
        return Err(invalid("field Target must not be empty"));
    }
    if mount.kind != "bind" {
        odd("BindOptions", mount.bind_options.is_some())?;
    }
    if mount.kind != "volume" {
        odd("VolumeOptions", mount.volume_options.is_some())?;
    }
    if mount.kind != "tmpfs" {
        odd("TmpfsOptions", mount.tmpfs_options.is_some())?;
    }
    let source = match mount.kind.as_str() {
        "bind" => bind(mount).map_err(|why| invalid(&why))?,
        "volume" => volume(mount)?,
        "tmpfs" if !mount.source.is_empty() => return Err(invalid("field Source must not be specified")),
        "tmpfs" => MountSource::Tmpfs(tmpfs(mount.tmpfs_options.as_ref()).map_err(|why| invalid(&why))?),
        "image" | "npipe" | "cluster" => {
            return Err(Error::unsupported(format!("mounts of type \"{}\"", mount.kind)));
        }
        other => return Err(Error::invalid(format!("mount type unknown: \"{other}\""))),
    };
    // The target's rules are those of `-v`; an anonymous volume there is nothing but a target.
    let target = MountSpec::parse_tmpfs(&mount.target, "")?.target;
    Ok(MountSpec { target, source, read_only: mount.read_only })
}

fn bind(mount: &Mount) -> std::result::Result<MountSource, String> {
    if mount.source.is_empty() {
        return Err("field Source must not be empty".to_owned());
    }
    if !Path::new(&mount.source).is_absolute() {
        return Err(format!("invalid mount path: '{}' mount path must be absolute", mount.source));
    }
    let options = mount.bind_options.clone().unwrap_or_default();
    let propagation = match options.propagation.as_str() {
        "" => BindPropagation::default(),
        word => word.parse::<BindPropagation>().map_err(|why| why.to_string())?,
    };
    Ok(MountSource::Bind {
        path: mount.source.clone().into(),
        create: options.create_mountpoint,
        propagation,
        non_recursive: options.non_recursive,
    })
}

fn volume(mount: &Mount) -> Result<MountSource> {
    let options = mount.volume_options.clone().unwrap_or_default();
    if !options.subpath.is_empty() {
        return Err(Error::unsupported("a volume's subpath"));
    }
    let driver = options.driver_config.unwrap_or_default();
    if !matches!(driver.name.as_str(), "" | "local") {
        return Err(Error::unsupported(format!("the volume driver \"{}\"", driver.name)));
    }
    let name = super::given(&mount.source).map(|name| name.parse()).transpose();
    Ok(MountSource::Volume {
        name: name.map_err(|_| {
            Error::invalid(format!(
                "\"{}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
                mount.source
            ))
        })?,
        driver: super::given(&driver.name),
        options: driver.options.unwrap_or_default(),
        labels: options.labels.unwrap_or_default(),
        no_copy: options.no_copy,
    })
}

fn tmpfs(options: Option<&WireTmpfs>) -> std::result::Result<TmpfsOptions, String> {
    let Some(options) = options else { return Ok(TmpfsOptions::default()) };
    let size = u64::try_from(options.size_bytes)
        .map_err(|_| format!("invalid tmpfs size: {}", options.size_bytes))?;
    if options.mode > 0o7777 {
        return Err(format!("invalid tmpfs mode: {:o}", options.mode));
    }
    let words = options.options.iter().flatten().map(|pair| pair.join("=")).collect::<Vec<_>>();
    let checked = MountSpec::parse_tmpfs("/x", &words.join(",")).map_err(|why| why.to_string())?;
    let MountSource::Tmpfs(mut tmpfs) = checked.source else { return Err("no tmpfs".to_owned()) };
    tmpfs.size = (size > 0).then_some(size);
    tmpfs.mode = (options.mode > 0).then_some(options.mode);
    Ok(tmpfs)
}
