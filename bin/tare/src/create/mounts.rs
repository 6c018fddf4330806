//! `--volume`, `--mount` and `--tmpfs`.

use std::collections::BTreeMap;
use std::path::Path;

use tare_docker_api::{BindOptions, DriverConfig, ImageOptions, Mount, TmpfsOptions, VolumeOptions};
use tare_model::parse_bytes;

use super::words::{Said, fields, pair};

/// One value of `--volume`.
#[derive(Debug, PartialEq)]
pub(crate) enum Volume {
    /// A path that gets a volume without a name.
    Anonymous(String),
    /// `source:target[:options]`, the source a name or an absolute path.
    Bind(String),
}

/// Reads a value of `--volume`. A source that begins with a dot is a path from `here`.
pub(crate) fn volume(text: &str, here: &Path) -> Said<Volume> {
    let parts: Vec<&str> = text.split(':').collect();
    let bad = |why: &str| Err(format!("invalid volume specification: '{text}': {why}"));
    if parts.iter().any(|part| part.is_empty()) {
        return bad("empty section between colons");
    }
    match parts[..] {
        [target] if target.starts_with('/') => Ok(Volume::Anonymous(target.to_owned())),
        [_] => bad("the path in the container must be absolute"),
        [source, target, ref options @ ..] if options.len() <= 1 => {
            if !target.starts_with('/') {
                return bad("the path in the container must be absolute");
            }
            let options = options.first().map(|options| format!(":{options}")).unwrap_or_default();
            Ok(Volume::Bind(format!("{}:{target}{options}", absolute(source, here)?)))
        }
        _ => bad("too many colons"),
    }
}

/// `--tmpfs path[:options]`
pub(crate) fn tmpfs(text: &str) -> (String, String) {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    (path.to_owned(), options.to_owned())
}

fn absolute(source: &str, here: &Path) -> Said<String> {
    if !source.starts_with('.') {
        return Ok(source.to_owned());
    }
    let mut path = here.to_path_buf();
    for part in Path::new(source).components() {
        match part {
            std::path::Component::ParentDir => drop(path.pop()),
            std::path::Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path.into_os_string().into_string().map_err(|_| format!("{source}: the path is not UTF-8"))
}

/// Reads a value of `--mount`.
pub(crate) fn mount(text: &str, here: &Path) -> Said<Mount> {
    let mut mount = Mount { kind: "volume".into(), ..Mount::default() };
    for field in fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        match value {
            None if !matches!(
                key.as_str(),
                "readonly" | "ro" | "volume-nocopy" | "bind-nonrecursive" | "bind-create-src"
            ) =>
            {
                return Err(format!("invalid field '{field}' must be a key=value pair"));
            }
            _ => option(&mut mount, &key, value.unwrap_or("true"), &field)?,
        }
    }
    complete(&mut mount, here)?;
    Ok(mount)
}

fn option(mount: &mut Mount, key: &str, value: &str, field: &str) -> Said<()> {
    let text = || value.to_owned();
    match key {
        "type" => mount.kind = value.to_lowercase(),
        "source" | "src" => mount.source = text(),
        "target" | "dst" | "destination" => mount.target = text(),
        "readonly" | "ro" => mount.read_only = truth(key, value)?,
        "consistency" => mount.consistency = value.to_lowercase(),
        key if key.starts_with("bind-") => {
            bind_option(mount.bind_options.get_or_insert_default(), key, value)?
        }
        key if key.starts_with("volume-") => {
            volume_option(mount.volume_options.get_or_insert_default(), key, value)?
        }
        key if key.starts_with("tmpfs-") => {
            tmpfs_option(mount.tmpfs_options.get_or_insert_default(), key, value)?
        }
        "image-subpath" => *mount.image_options.get_or_insert_default() = ImageOptions { subpath: text() },
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

fn bind_option(bind: &mut BindOptions, key: &str, value: &str) -> Said<()> {
    match (key, value) {
        ("bind-propagation", value) => bind.propagation = value.to_lowercase(),
        ("bind-nonrecursive", value) => bind.non_recursive = truth(key, value)?,
        ("bind-create-src", value) => bind.create_mountpoint = truth(key, value)?,
        ("bind-recursive", "enabled") => {}
        ("bind-recursive", "disabled") => bind.non_recursive = true,
        ("bind-recursive", "writable") => bind.read_only_non_recursive = true,
        ("bind-recursive", "readonly") => bind.read_only_force_recursive = true,
        ("bind-recursive", _) => {
            return Err(format!(
                "invalid value for {key}: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
            ));
        }
        _ => return Err(format!("unexpected key '{key}'")),
    }
    Ok(())
}

fn volume_option(volume: &mut VolumeOptions, key: &str, value: &str) -> Said<()> {
    let driver = |volume: &mut VolumeOptions| volume.driver_config.take().unwrap_or_default();
    let with = |map: Option<BTreeMap<String, String>>| {
        let mut map = map.unwrap_or_default();
        map.extend([pair(value)]);
        Some(map)
    };
    match key {
        "volume-nocopy" => volume.no_copy = truth(key, value)?,
        "volume-subpath" => volume.subpath = value.to_owned(),
        "volume-label" => volume.labels = with(volume.labels.take()),
        "volume-driver" => {
            volume.driver_config = Some(DriverConfig { name: value.to_owned(), ..driver(volume) })
        }
        "volume-opt" => {
            let config = driver(volume);
            volume.driver_config = Some(DriverConfig { options: with(config.options), ..config });
        }
        _ => return Err(format!("unexpected key '{key}'")),
    }
    Ok(())
}

fn tmpfs_option(tmpfs: &mut TmpfsOptions, key: &str, value: &str) -> Said<()> {
    let bad = || format!("invalid value for {key}: {value}");
    match key {
        "tmpfs-size" => {
            tmpfs.size_bytes = parse_bytes(value).ok().and_then(|n| i64::try_from(n).ok()).ok_or_else(bad)?;
        }
        "tmpfs-mode" => tmpfs.mode = u32::from_str_radix(value, 8).map_err(|_| bad())?,
        _ => return Err(format!("unexpected key '{key}'")),
    }
    Ok(())
}

fn truth(key: &str, value: &str) -> Said<bool> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(format!("invalid value for {key}: {value}")),
    }
}

fn complete(mount: &mut Mount, here: &Path) -> Said<()> {
    if mount.kind.is_empty() {
        return Err("type is required".into());
    }
    if mount.target.is_empty() {
        return Err("target is required".into());
    }
    let mixed = [
        (mount.bind_options.is_some(), "bind"),
        (mount.volume_options.is_some(), "volume"),
        (mount.image_options.is_some(), "image"),
        (mount.tmpfs_options.is_some(), "tmpfs"),
    ];
    if let Some((_, other)) = mixed.into_iter().find(|(set, kind)| *set && *kind != mount.kind) {
        return Err(format!("cannot mix '{other}-*' options with mount type '{}'", mount.kind));
    }
    if mount.kind == "bind" {
        mount.source = absolute(&mount.source, here)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Said<Mount> {
        mount(text, Path::new("/here"))
    }

    #[test]
    fn relative_sources_become_absolute_and_names_stay() {
        let bind = |text: &str| volume(text, Path::new("/here/now"));
        assert_eq!(bind("./a:/b:ro").unwrap(), Volume::Bind("/here/now/a:/b:ro".into()));
        assert_eq!(bind("../a:/b").unwrap(), Volume::Bind("/here/a:/b".into()));
        assert_eq!(bind(".:/b").unwrap(), Volume::Bind("/here/now:/b".into()));
        assert_eq!(bind("data:/d").unwrap(), Volume::Bind("data:/d".into()));
        assert_eq!(bind("/anon").unwrap(), Volume::Anonymous("/anon".into()));
        for bad in ["", "a", "a:b", "a:b:c:d", ":/x", "/x:", "/a:/b:ro:z"] {
            assert!(bind(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mounts_are_read_with_the_options_of_their_kind() {
        let tmpfs = read("type=tmpfs,dst=/t,tmpfs-size=64m,tmpfs-mode=1770").unwrap();
        let options = tmpfs.tmpfs_options.unwrap();
        assert_eq!((options.size_bytes, options.mode), (64 << 20, 0o1770));
        let bind = read("type=bind,src=./etc,dst=/e,readonly,bind-propagation=rslave").unwrap();
        assert_eq!((bind.source.as_str(), bind.read_only), ("/here/etc", true));
        let named =
            read("dst=/v,src=data,volume-nocopy,volume-opt=a=b,\"volume-opt=o=x,y\",volume-driver=local")
                .unwrap();
        let options = named.volume_options.unwrap();
        assert!(options.no_copy && named.kind == "volume");
        assert_eq!(options.driver_config.unwrap().options.unwrap()["o"], "x,y");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("src=/x", "target is required"),
            ("type=,dst=/x", "type is required"),
            ("dst=/x,bogus=1", "unexpected key 'bogus' in 'bogus=1'"),
            ("dst", "invalid field 'dst' must be a key=value pair"),
            ("type=bind,dst=/x,src=/y,tmpfs-size=1", "cannot mix 'tmpfs-*' options with mount type 'bind'"),
            ("dst=/x,readonly=maybe", "invalid value for readonly: maybe"),
            ("type=tmpfs,dst=/x,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
        ] {
            assert_eq!(read(text).unwrap_err(), expected);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z0-9=,:/.\"-]{0,40}") {
            let _ = read(&text);
            let _ = volume(&text, Path::new("/"));
        }
    }
}
