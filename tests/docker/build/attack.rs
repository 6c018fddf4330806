//! Contexts, images and Dockerfiles of somebody who wants out, in, or everything.

use std::time::Duration;

use anyhow::Result;
use tar::EntryType::{Block, Char, Fifo, Link, Regular, Symlink};

use super::{Site, archive};

#[test]
fn a_context_leads_nowhere_but_into_itself() -> Result<()> {
    let site = Site::new()?;
    let precious = site.world.dir().join("precious");
    std::fs::write(&precious, "precious")?;
    let outside = precious.to_str().unwrap_or_default();
    let dockerfile = |text: &str| text.replace("IMAGE", &site.image).into_bytes();
    let copy = dockerfile("FROM IMAGE\nCOPY out /out\n");
    let whole = dockerfile("FROM IMAGE\nCOPY . /all\n");
    for entries in [
        &[("Dockerfile", Regular, "", &copy[..]), ("out", Symlink, outside, b"")][..],
        &[("Dockerfile", Regular, "", &copy), ("out", Symlink, "../../../../../../../../etc/shadow", b"")],
        &[
            ("Dockerfile", Regular, "", &copy),
            ("dir", Symlink, "/", b""),
            ("out", Symlink, "dir/etc/shadow", b""),
        ],
        &[("Dockerfile", Symlink, "/etc/passwd", b"")],
        &[("Dockerfile", Regular, "", &whole), ("../precious", Regular, "", b"x")],
        &[
            ("Dockerfile", Regular, "", &whole),
            ("a", Symlink, "/", b""),
            ("a/tmp/owned", Regular, "", b"x"),
            ("b", Link, "a/etc/shadow", b""),
        ],
        &[("Dockerfile", Regular, "", &whole), ("hard", Link, "/etc/shadow", b"")],
        &[("Dockerfile", Regular, "", &whole), ("disk", Block, "", b"")],
        &[("Dockerfile", Regular, "", &whole), ("mem", Char, "", b"")],
        &[("Dockerfile", Fifo, "", b"")],
    ] {
        let said = site.post("t=hostile", &archive(entries)?)?;
        assert!(
            said.contains("\"error\"") || said.contains("\"message\""),
            "{:?}: {said}",
            entries[1.min(entries.len() - 1)].0
        );
        assert!(!said.contains("precious") || !said.contains("Successfully"), "{said}");
    }
    assert_eq!(std::fs::read_to_string(&precious)?, "precious");
    assert!(!std::path::Path::new("/tmp/owned").exists());
    site.world.assert_clean(&[])
}

#[test]
fn bodies_that_are_no_context_are_refused_in_words() -> Result<()> {
    let site = Site::new()?;
    let mut cut = archive(&[("Dockerfile", Regular, "", b"FROM scratch\n")])?;
    cut.truncate(700);
    for (query, body, words) in [
        ("", &b"this is no archive, but it is long enough to look at"[..], "context"),
        ("", &[0x1f, 0x8b, 8, 0, 1, 2, 3], "context"),
        ("", b"BZh91AY", "not supported yet"),
        ("", &cut, "context"),
        ("", b"", "Cannot locate specified Dockerfile"),
        ("version=2", b"", "not supported yet"),
        (
            "dockerfile=../../etc/passwd",
            &archive(&[("Dockerfile", Regular, "", b"FROM scratch\n")])?,
            "Cannot locate",
        ),
        ("", &archive(&[("Dockerfile", Regular, "", b"FROM \xff\xfe\n")])?, "UTF-8"),
        ("target=none", &archive(&[("Dockerfile", Regular, "", b"FROM scratch\n")])?, "target stage"),
        (
            "",
            &archive(&[(
                "Dockerfile",
                Regular,
                "",
                b"FROM scratch AS a\nCOPY --from=b /x /\nFROM scratch AS b\nCOPY --from=a /x /\n",
            )])?,
            "circle",
        ),
    ] {
        let said = site.post(query, body)?;
        assert!(said.contains(words), "{query} {words}: {said}");
    }
    site.world.assert_clean(&[])
}

/// CVE-2024-23652 and CVE-2024-23651: what is mounted in a step, and what is cleaned up after it, is found inside its root.
#[test]
fn mounts_and_their_traces_stay_inside() -> Result<()> {
    let site = Site::new()?;
    let precious = site.world.dir().join("victim");
    std::fs::create_dir_all(precious.join("empty"))?;
    std::fs::write(precious.join("file"), "")?;
    let out = precious.display();
    site.dockerfile(&format!(
        "FROM IMAGE\nRUN --mount=type=tmpfs,target=/x/empty --mount=type=secret,id=s,target=/x/file true\n\
         RUN mkdir -p {out} && ln -s {out} /y\nRUN --mount=type=tmpfs,target=/y/empty true\n\
         RUN --mount=type=cache,target=/z/a mkdir -p /q && rm -rf /z; ln -sfn {out} /q/link\n\
         RUN --mount=type=bind,from=IMAGE,source=/etc/passwd,target=/y/file true\n"
    ))?;
    site.build(&[])?.ok();
    assert!(precious.join("empty").is_dir() && precious.join("file").is_file());
    // CVE-2024-1753: a link of an image that leads to the host's root leads to the image's.
    site.dockerfile("FROM IMAGE AS evil\nRUN ln -s / /root-link && ln -s /etc /etc-link\nFROM IMAGE\n\
         RUN --mount=type=bind,from=evil,source=/root-link,target=/mnt test ! -e /mnt/work && test -e /mnt/bin/busybox\n\
         COPY --from=evil /etc-link/passwd /copied\n")?;
    site.build(&[])?.ok();
    assert!(site.shell("cat /copied")?.contains("web:x:1000"));
    // Links of the image that COPY writes through lead inside.
    site.file("f", "content")?;
    site.dockerfile(&format!(
        "FROM IMAGE\nRUN ln -s {out} /w && ln -s {out}/file /v\nCOPY f /w/\nCOPY f /v\n"
    ))?;
    let _ = site.build(&[])?;
    assert_eq!(std::fs::read_dir(&precious)?.count(), 2);
    assert_eq!(std::fs::read_to_string(precious.join("file"))?, "");
    Ok(())
}

/// `kill -9` of the daemon in the middle of a step: the next one finds nothing of it.
#[test]
fn a_daemon_that_is_killed_leaves_no_step_behind() -> Result<()> {
    let mut site = Site::new()?;
    site.dockerfile("FROM IMAGE\nRUN echo done > /done\nRUN --mount=type=cache,target=/c touch /c/x; echo begun > /begun; sleep 1000\n")?;
    let mut command = site.world.docker_command()?;
    command.env("DOCKER_BUILDKIT", "0").args(["build", "-q", "-t", "built"]).arg(site.directory());
    let mut client =
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn()?;
    let writable = site.world.dir().join("data/snapshots/writable");
    tare_tests::until("the step to run", || {
        Ok(writable
            .read_dir()
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| entry.path().join("fs/begun").exists()))
    })?;
    site.world.kill_daemon();
    client.wait()?;
    site.world.start_daemon(&[])?;
    site.world.assert_clean(&[])?;
    assert_ne!(site.world.docker(&["inspect", "built"])?.code, 0, "no image of half a build");
    site.dockerfile("FROM IMAGE\nRUN echo done > /done\n")?;
    let again = site.build(&[])?;
    assert!(again.ok().contains("Using cache"), "what was finished is kept: {}", again.out);
    Ok(())
}

/// A step does not outlive the daemon that runs it, as containers do: nobody would take what it makes.
#[test]
fn a_daemon_that_stops_ends_its_steps() -> Result<()> {
    let mut site = Site::new()?;
    site.dockerfile("FROM IMAGE\nRUN echo begun > /begun; sleep 1000\n")?;
    let mut command = site.world.docker_command()?;
    command.env("DOCKER_BUILDKIT", "0").args(["build", "-q"]).arg(site.directory());
    let mut client =
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn()?;
    let writable = site.world.dir().join("data/snapshots/writable");
    tare_tests::until("the step to run", || {
        Ok(writable.read_dir().into_iter().flatten().flatten().any(|e| e.path().join("fs/begun").exists()))
    })?;
    site.world.stop_daemon();
    client.wait()?;
    site.world.assert_clean(&[])
}

/// However early or late a daemon dies: what there is afterwards is whole.
#[test]
fn a_daemon_may_be_killed_at_any_moment() -> Result<()> {
    let mut site = Site::new()?;
    site.file("data", vec![b'x'; 3 << 20])?;
    site.dockerfile(
        "FROM IMAGE\nCOPY data /data\nRUN cp /data /data2\nRUN cp /data /data3\nCMD [\"true\"]\n",
    )?;
    for wait in [0_u64, 5, 10, 20, 40, 80, 120, 160, 240, 320] {
        let mut command = site.world.docker_command()?;
        command.env("DOCKER_BUILDKIT", "0").args(["build", "-q", "-t", "built"]).arg(site.directory());
        let mut client =
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn()?;
        std::thread::sleep(Duration::from_millis(wait));
        site.world.kill_daemon();
        client.wait()?;
        site.world.start_daemon(&[])?;
        site.world.assert_clean(&[])?;
        if site.world.docker(&["inspect", "built"])?.code == 0 {
            assert_eq!(site.shell("cmp /data /data2 && cmp /data /data3 && echo whole")?, "whole");
            site.world.docker(&["rmi", "built"])?.ok();
        }
    }
    site.build(&[])?.ok();
    assert_eq!(site.shell("cmp /data /data2 && cmp /data /data3 && echo whole")?, "whole");
    Ok(())
}
