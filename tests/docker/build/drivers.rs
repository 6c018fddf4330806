//! Builds where layers become trees in another way than by overlayfs.

use anyhow::Result;

use super::Site;

/// Several stages with every kind of mount, files taken away and replaced, links and owners. Nothing below changes a file of
/// two names: fuse-overlayfs 1.10 itself gives back the old one then.
const STAGES: &str = "FROM IMAGE AS made\nRUN mkdir -p /tree/kept /tree/gone /tree/again && echo old > /tree/again/old && \
    echo one > /tree/kept/one && ln /tree/kept/one /tree/kept/two && echo three > /tree/kept/three && ln -s kept/one /tree/link && echo x > /tree/gone/x\n\
    RUN rm -r /tree/gone /tree/again /bin/vi && mkdir /tree/again && echo new > /tree/again/new && chown 1000:1000 /tree/kept /tree/kept/three && \
    chmod 4711 /tree/kept/three && mkfifo /tree/fifo\n\
    FROM IMAGE\nWORKDIR /work\nCOPY --from=made /tree /copied\nCOPY --from=made --chown=web:extra --chmod=640 /tree/again/new /owned/\n\
    COPY context/ ./\nADD archive.tar.gz /unpacked/\n\
    RUN --mount=type=bind,source=context,target=/m cat /m/file > /seen && ! touch /m/x\n\
    RUN --mount=from=made,source=/tree,target=/m cat /m/link /m/again/new >> /seen && test ! -e /m/gone && ! touch /m/x\n\
    RUN --mount=from=made,source=/tree,target=/m,rw rm -r /m/kept && echo changed > /m/again/new && cat /m/again/new >> /seen\n\
    RUN --mount=from=made,source=/tree/again/new,target=/one-file cat /one-file >> /seen\n\
    RUN --mount=from=made,source=/tree/again/new,target=/one-file,rw echo more > /one-file && cat /one-file >> /seen\n\
    RUN --mount=from=made,target=/m test -p /m/tree/fifo && test ! -e /m/bin/vi && stat -c '%a %u' /m/tree/kept/three >> /seen\n\
    RUN --mount=type=cache,target=/keep,id=k echo x >> /keep/log && wc -l < /keep/log >> /seen\n\
    RUN --mount=type=cache,target=/full,id=f,from=made,source=/tree/again cat /full/new >> /seen\n\
    RUN --mount=type=tmpfs,target=/scratch touch /scratch/x && stat -f -c %T /scratch >> /seen\n\
    RUN --mount=type=secret,id=s wc -c < /run/secrets/s >> /seen\n\
    RUN <<EOF\necho here >> /seen\nEOF\n\
    RUN rm -r /copied/kept && mkdir /copied/kept && echo again > /copied/kept/again && rm /var/www/index.html\n\
    USER web\nRUN test $(id -u) = 1000\n";

const SEEN: &str = "contextone\nnew\nchanged\nnew\nmore\n4711 1000\n1\nnew\ntmpfs\n6\nhere";

/// What the tree comes to, times and the files of the machine left out.
const LISTED: &str = "cd / && find . -xdev ! -path './etc/host*' ! -path ./etc/resolv.conf ! -path './dev*' ! -path './proc*' ! -path './sys*' \
    -exec stat -c '%n %a %u %g %F %h' {} + | sed 's/regular empty file/regular file/' | grep -v 'directory [0-9]*$' | sort | md5sum; cat /copied/kept/again /owned/new /unpacked/inner; stat -c '%U:%G %a' /owned/new";

fn built_upon(driver: &str) -> Result<String> {
    let site = Site::with(&["--storage-driver", driver])?;
    let (_, info) = site.world.api("GET", "/info", None)?;
    let info: serde_json::Value = serde_json::from_str(&info)?;
    assert_eq!(info["Driver"], driver);
    site.file("context/file", "context")?;
    std::os::unix::fs::symlink("file", site.directory().join("context/link"))?;
    site.file("inner", "packed")?;
    let mut tar = std::process::Command::new("tar");
    tar.args(["-czf", "archive.tar.gz", "inner"]).current_dir(site.directory());
    tare_tests::capture(&mut tar)?.ok();
    let secret = site.file("secret", "secret")?;
    site.dockerfile(STAGES)?;
    let secret = format!("id=s,src={}", secret.display());
    let directory = site.directory();
    let words = [
        "build",
        "--progress=plain",
        "-t",
        "built",
        "--secret",
        &secret,
        directory.to_str().unwrap_or_default(),
    ];
    site.world.tare(&words)?.ok();
    assert_eq!(site.shell("cat /seen")?, SEEN, "{driver}");
    assert_eq!(site.shell("ls -A / | grep -E '^(m|keep|full|scratch|one-file)$' | wc -l")?, "0", "{driver}");
    let id = site.id()?;
    let again = site.world.tare(&words)?;
    again.ok();
    assert_eq!(again.err.matches("CACHED").count(), 21, "{driver}: {}", again.err);
    assert_eq!(site.id()?, id, "{driver}");
    let listed = site.shell(LISTED)?;
    site.world.tare(&[&["build", "--squash"], &words[1..]].concat())?.ok();
    let layers = site.world.tare(&["inspect", "-f", "{{len .RootFS.Layers}}", "built"])?;
    assert_eq!(layers.ok(), "2", "the base and what is merged, {driver}");
    assert_eq!(site.shell(LISTED)?, listed, "{driver}");
    // What was built is an image like others: it goes through an archive, and is run without what it was built from.
    let saved = site.world.dir().join("saved.tar");
    let saved = saved.to_str().unwrap_or_default();
    site.world.docker(&["save", "-o", saved, "built"])?.ok();
    site.world.docker(&["rmi", "built", &site.image])?.ok();
    assert_eq!(site.world.api("POST", "/build/prune", None)?.0, 200);
    site.world.docker(&["load", "-i", saved])?.ok();
    assert_eq!(site.shell(LISTED)?, listed, "{driver}");
    site.world.assert_clean(&[])?;
    Ok(listed)
}

#[test]
fn a_build_comes_to_the_same_on_every_storage_driver() -> Result<()> {
    let expected = built_upon("overlayfs")?;
    assert!(expected.ends_with("again\nnew\npackedweb:extra 640"), "{expected}");
    for driver in ["fuse-overlayfs", "copy"] {
        assert_eq!(built_upon(driver)?, expected, "{driver}");
    }
    Ok(())
}
