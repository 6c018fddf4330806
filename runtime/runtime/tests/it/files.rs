//! The root and what is bound into it.

use std::fs;

use tare_model::RootMount;

use crate::world::{Bundle, mountinfo};

/// A container over an overlay of its own root file system and `more` layers above it.
fn layered(script: &str, more: usize) -> (Bundle, tempfile::TempDir) {
    let mut bundle = Bundle::of(script);
    let layers = tempfile::tempdir().unwrap();
    let mut lower = Vec::new();
    for n in (0..more).rev() {
        let layer = layers
            .path()
            .join(format!("a-directory-with-a-name-as-long-as-those-of-content-addressed-layers-{n}"));
        fs::create_dir(&layer).unwrap();
        fs::write(layer.join(format!("layer{n}")), n.to_string()).unwrap();
        fs::write(layer.join("top"), n.to_string()).unwrap();
        lower.push(layer.to_str().unwrap().to_owned());
    }
    lower.push(bundle.path("").to_str().unwrap().trim_end_matches('/').to_owned());
    for dir in ["upper", "work"] {
        fs::create_dir(layers.path().join(dir)).unwrap();
    }
    bundle.rootfs = vec![RootMount {
        kind: "overlay".to_owned(),
        source: "overlay".to_owned(),
        options: vec![
            format!("lowerdir={}", lower.join(":")),
            format!("upperdir={}", layers.path().join("upper").display()),
            format!("workdir={}", layers.path().join("work").display()),
        ],
    }];
    // It need not even be there.
    bundle.spec.root.as_mut().unwrap().path = "nowhere".into();
    (bundle, layers)
}

pub(crate) fn layers_are_stacked_unseen_by_the_host() {
    let before = mountinfo();
    let (bundle, layers) = layered("cat /top /layer0; echo written > /new; echo up; exec sleep 100", 3);
    let container = bundle.start().unwrap();
    let mut text = String::new();
    while !text.contains("up") {
        text += &container.hear();
    }
    assert_eq!(text, "20up\n");
    assert_eq!(mountinfo(), before);
    assert_eq!(fs::read_to_string(layers.path().join("upper/new")).unwrap(), "written\n");
    assert!(!bundle.path("new").exists());
}

pub(crate) fn hundreds_of_layers_work() {
    let (bundle, _layers) = layered("ls / | grep -c layer; cat /top", 300);
    assert_eq!(bundle.text(), "300\n299");
}

pub(crate) fn binds_of_files_and_directories() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), "content").unwrap();
    let mut bundle = Bundle::of(
        "cat /etc/hosts /data/deep/file; echo > /etc/hosts; echo > /data/deep/file; echo > /rw/new; cat /proc/mounts",
    );
    bundle.mount("/etc/hosts", "bind", &source.path().join("file"), &["bind", "ro", "nosuid"]);
    bundle.mount("/data/deep", "bind", source.path(), &["rbind", "rro", "rprivate"]);
    bundle.mount("/rw", "bind", source.path(), &["rbind", "rslave"]);
    let output = bundle.run();
    assert!(output.stdout.starts_with("contentcontent"));
    assert_eq!(output.stderr.matches("Read-only file system").count(), 2, "{}", output.stderr);
    assert!(source.path().join("new").exists());
    assert_eq!(fs::read_to_string(source.path().join("file")).unwrap(), "content");
    let line = output.stdout.lines().find(|line| line.contains(" /etc/hosts ")).unwrap();
    assert!(line.contains("ro,nosuid"), "{line}");
}

pub(crate) fn a_readonly_root_stays_so() {
    let mut bundle = Bundle::of("echo > /x; echo > /dev/shm/x && echo shm");
    bundle.spec.root.as_mut().unwrap().readonly = true;
    let output = bundle.run();
    assert!(output.stderr.contains("/x: Read-only file system"), "{}", output.stderr);
    assert_eq!(output.stdout, "shm\n");
}
