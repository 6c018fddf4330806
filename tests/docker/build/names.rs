//! Names in a Dockerfile that lead elsewhere, wherever the tree that they are looked for in has links.

use anyhow::Result;
use tar::EntryType::{Regular, Symlink};

use super::Site;

/// The file of a here-document has its delimiter as its name. Resolved as a path, it would lead through the image's links from
/// the host's root.
#[test]
fn a_here_document_makes_no_file_of_the_host() -> Result<()> {
    let site = Site::new()?;
    let victim = site.world.dir().join("victim");
    std::fs::create_dir_all(&victim)?;
    std::fs::write(victim.join("kept"), "kept")?;
    let out = victim.display();
    let linked = format!("FROM IMAGE\nRUN mkdir /d && ln -s {out} /d/link && ln -s {out}/kept /d/file\n");
    for step in [
        "COPY <<link/new /d/\nx\nlink/new\n",
        "COPY <<link/kept /d/\nx\nlink/kept\n",
        "ADD <<'../d/link/new' /d/\nx\n../d/link/new\n",
        "RUN <<link/new\n#!/bin/cat\nlink/new\n",
        "ONBUILD COPY <<link/new /d/\nx\nlink/new\n",
    ] {
        site.dockerfile(&format!("{linked}{step}"))?;
        let refused = site.build(&[])?;
        assert!(refused.code != 0 && refused.err.contains("without slashes"), "{step}: {refused:?}");
    }
    // A name alone replaces a link and does not go through it.
    site.built(&format!("{linked}COPY <<file /d/\nx\nfile\nCOPY <<other /d/file\ny\nother\n"))?;
    assert_eq!(site.shell("test ! -L /d/file && cat /d/file")?, "y");
    assert_eq!(std::fs::read_dir(&victim)?.count(), 1);
    assert_eq!(std::fs::read_to_string(victim.join("kept"))?, "kept");
    site.world.assert_clean(&[])
}

/// A mount is told its source as text. A name of the context that is none must not become another one, which the context has as a
/// link to a file of the host (class of CVE-2024-1753).
#[test]
fn a_mount_of_the_context_shows_nothing_of_the_host() -> Result<()> {
    let site = Site::new()?;
    let outside = site.world.dir().join("outside");
    std::fs::create_dir(&outside)?;
    std::fs::write(outside.join("key"), "of the host")?;
    let (out, key) = (outside.display().to_string(), outside.join("key").display().to_string());
    for (source, seen) in
        [("/a", "/m"), ("/e/key", "/m"), ("/e", "/m/key"), ("/e,rw", "/m/key"), ("/a,rw", "/m")]
    {
        let step =
            format!("FROM {}\nRUN --mount=type=bind,target=/m,source={source} cat {seen}\n", site.image);
        let body = super::raw(&[
            (b"Dockerfile", Regular, b"", step.as_bytes()),
            (b"b\xff", Regular, b"", b"of the context"),
            ("b\u{fffd}".as_bytes(), Symlink, key.as_bytes(), b""),
            (b"a", Symlink, b"b\xff", b""),
            (b"d\xff/key", Regular, b"", b"of the context"),
            ("d\u{fffd}".as_bytes(), Symlink, out.as_bytes(), b""),
            (b"e", Symlink, b"d\xff", b""),
        ])?;
        let said = site.post("", &body)?;
        assert!(said.contains("of the context") && said.contains("Successfully"), "{source}: {said}");
        assert!(!said.contains("of the host"), "{source}: {said}");
    }
    site.world.assert_clean(&[])
}

/// What a step mounts upon is found through links of the image, and what was made for that is in no layer.
#[test]
fn a_secret_behind_a_link_of_the_image_stays_inside_and_out_of_the_layer() -> Result<()> {
    let site = Site::new()?;
    let victim = site.world.dir().join("victim");
    std::fs::create_dir_all(&victim)?;
    let text = format!(
        "FROM {}\nRUN mkdir -p /run /real {out} && ln -s /real /run/secrets && ln -s {out} /out\n\
         RUN --mount=type=secret,id=key test \"$(cat /real/key)\" = hunter2\n\
         RUN --mount=type=secret,id=key,target=/out/key test \"$(cat {out}/key)\" = hunter2\n",
        site.image,
        out = victim.display()
    );
    let body = super::archive(&[
        (".tare-secrets/key", Regular, "", b"hunter2"),
        (".tare-end", Regular, "", b""),
        ("Dockerfile", Regular, "", text.as_bytes()),
    ])?;
    let said = site.post("tarereserved=1&t=built", &body)?;
    assert!(said.contains("Successfully tagged"), "{said}");
    assert_eq!(victim.read_dir()?.count(), 0);
    assert_eq!(site.shell(&format!("find /real {} -mindepth 1", victim.display()))?, "");
    site.world.assert_clean(&[])
}

/// `# syntax` names an image that other builders run, with what privileges it likes (CVE-2024-23653, CVE-2024-23650).
#[test]
fn a_frontend_is_neither_fetched_nor_run() -> Result<()> {
    let site = Site::new()?;
    site.world.docker(&["tag", &site.image, "127.0.0.1:5000/evil/frontend:1"])?.ok();
    for name in ["127.0.0.1:5000/evil/frontend:1", "127.0.0.1:1/none", "../../x", "scratch", ""] {
        let built = site.built(&format!("# syntax={name}\nFROM IMAGE\nRUN true\n"))?;
        assert!(!built.out.to_lowercase().contains("frontend:1 "), "{name}: {}", built.out);
    }
    let text = format!("FROM {}\nRUN true\n", site.image);
    let body = super::archive(&[("Dockerfile", Regular, "", text.as_bytes())])?;
    let args = "%7B%22BUILDKIT_SYNTAX%22%3A%22127.0.0.1%3A1%2Fnone%22%7D";
    let said = site.post(&format!("buildargs={args}"), &body)?;
    assert!(said.contains("Successfully built"), "{said}");
    site.world.assert_clean(&[])
}

/// Programs with set-user-ID bits in what outlives a build are out of everybody's reach on the host.
#[test]
fn what_a_cache_keeps_is_out_of_reach_of_the_hosts_users() -> Result<()> {
    use std::os::unix::process::CommandExt;
    let site = Site::new()?;
    site.built(
        "FROM IMAGE\nRUN --mount=type=cache,target=/c,mode=0777 cp /bin/busybox /c/su && chmod 4755 /c/su\n\
         COPY --from=IMAGE --chmod=4755 /bin/busybox /su\n",
    )?;
    let data = site.world.dir().join("data");
    let mut find = std::process::Command::new("find");
    let found = tare_tests::capture(find.arg(&data).args(["-perm", "-4000", "-type", "f"]))?;
    let found: Vec<&str> = found.ok().lines().collect();
    assert!(found.iter().any(|path| path.contains("/build/mounts/")) && found.len() >= 2, "{found:?}");
    for path in found {
        let mut test = std::process::Command::new("test");
        test.arg("-e").arg(path).uid(65534).gid(65534);
        assert_ne!(tare_tests::capture(&mut test)?.code, 0, "{path}");
    }
    Ok(())
}
