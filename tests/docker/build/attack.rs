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
        ("", b"BZh91AY", "context"),
        ("", b"\xfd7zXZ\0\0\x04", "context"),
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

/// Killed at ever later moments of a prune: what is left is whole, and the next prune finishes.
#[test]
fn a_daemon_may_be_killed_while_it_prunes() -> Result<()> {
    let mut site = Site::new()?;
    site.file("data", vec![b'x'; 3 << 20])?;
    let text = "FROM IMAGE\nCOPY data /data\nRUN cp /data /data2\nRUN --mount=type=cache,target=/c cp /data /c/data && cp /data /data3\n";
    for wait in [0_u64, 1, 2, 4, 8, 16, 32] {
        site.dockerfile(text)?;
        site.build(&[])?.ok();
        site.world.docker(&["rmi", "built"])?.ok();
        let mut curl = site.world.command("curl");
        curl.args(["-s", "-X", "POST", "--unix-socket"])
            .arg(site.world.daemon().socket())
            .arg("http://tare/build/prune");
        let mut client = curl.stdout(std::process::Stdio::null()).spawn()?;
        std::thread::sleep(Duration::from_millis(wait));
        site.world.kill_daemon();
        client.wait()?;
        site.world.start_daemon(&[])?;
        site.world.assert_clean(&[])?;
        site.build(&[])?.ok();
        assert_eq!(site.shell("cmp /data /data2 && cmp /data /data3 && echo whole")?, "whole", "{wait} ms");
        site.world.docker(&["rmi", "built"])?.ok();
    }
    assert_eq!(site.world.api("POST", "/build/prune", None)?.0, 200);
    let count =
        |name: &str| Ok::<_, anyhow::Error>(site.world.dir().join("data").join(name).read_dir()?.count());
    assert_eq!((count("snapshots/layers")?, count("build/mounts")?), (1, 0), "only the base is left");
    Ok(())
}

#[test]
fn a_dockerfile_without_end_is_refused_before_it_is_read() -> Result<()> {
    let site = Site::new()?;
    let mut text = format!("FROM {}\n", site.image).into_bytes();
    text.resize(100 << 20, b'#');
    let said = site.post("", &archive(&[("Dockerfile", Regular, "", &text)])?)?;
    assert!(said.contains("more than 16777216 bytes"), "{}", &said[..said.len().min(500)]);
    std::fs::create_dir_all(site.directory())?;
    std::fs::write(site.directory().join("Dockerfile"), &text)?;
    let refused = site.world.tare(&["build", &site.directory().to_string_lossy()])?;
    assert!(refused.code != 0 && refused.err.len() < 2000, "{}", refused.err.len());
    site.world.assert_clean(&[])
}

/// Rules that would take the Dockerfile away, lead out, or are no rules.
#[test]
fn rules_of_what_is_left_out_lead_nowhere() -> Result<()> {
    let site = Site::new()?;
    let precious = site.world.dir().join("precious");
    std::fs::create_dir_all(&precious)?;
    std::fs::write(precious.join("file"), "precious")?;
    let outside = precious.to_str().unwrap_or_default().to_owned();
    let dockerfile = format!("FROM {}\nCOPY . /all\nRUN ls -A /all > /seen\n", site.image).into_bytes();
    for (rules, seen) in [
        ("*\n".to_owned(), ""),
        (format!("{outside}\n../precious\n../../*\nlink/file\n"), "Dockerfile\nlink\n"),
        ("link/**\n!link/file\n".to_owned(), ".dockerignore\nDockerfile\nlink\n"),
        ("**\n!Dockerfile\n".to_owned(), "Dockerfile\n"),
    ] {
        let body = archive(&[
            ("Dockerfile", Regular, "", &dockerfile),
            (".dockerignore", Regular, "", rules.as_bytes()),
            ("link", Symlink, &outside, b""),
        ])?;
        let said = site.post("t=built", &body)?;
        assert!(
            said.contains("Successfully tagged") || (seen.is_empty() && said.contains("error")),
            "{rules}: {said}"
        );
        assert_eq!(std::fs::read_to_string(precious.join("file"))?, "precious", "{rules}");
        if said.contains("Successfully") {
            let got = site.shell("cat /seen")?;
            assert!(
                seen.trim_end().lines().all(|name| got.lines().any(|line| line == name)),
                "{rules}: {got}"
            );
            assert!(!got.lines().any(|line| line == "file"), "{rules}: {got}");
        }
    }
    for bad in ["[\n", "!\n"] {
        let body = archive(&[
            ("Dockerfile", Regular, "", &dockerfile),
            (".dockerignore", Regular, "", bad.as_bytes()),
        ])?;
        let said = site.post("", &body)?;
        assert!(said.contains(".dockerignore") && !said.contains("Successfully"), "{bad}: {said}");
    }
    Ok(())
}

/// CVE-2024-9675 and CVE-2024-9407: an id of a cache is no path, and no mount says how it spreads.
#[test]
fn names_of_mounts_are_no_paths() -> Result<()> {
    let site = Site::new()?;
    let victim = site.world.dir().join("data/victim");
    std::fs::create_dir_all(&victim)?;
    std::fs::write(victim.join("file"), "precious")?;
    for id in
        ["../../victim", "..", ".", "/", "../../../../../../../../../etc", "a/../../victim", "x\u{301}/é"]
    {
        site.dockerfile(&format!(
            "FROM IMAGE\nRUN --mount=type=cache,target=/c,id={id} test ! -e /c/file && test ! -e /c/passwd && touch /c/x\n\
             RUN --mount=type=cache,target=/c,id={id} test -e /c/x\n"
        ))?;
        site.build(&["--no-cache"])?.ok();
    }
    assert_eq!(std::fs::read_dir(&victim)?.count(), 1);
    // An id stands for itself alone: what reads alike is another's.
    site.built("FROM IMAGE\nRUN --mount=type=cache,target=/c,id=one touch /c/mine\n")?;
    site.built(
        "FROM IMAGE\nRUN --mount=type=cache,target=/one test ! -e /one/mine\n\
         RUN --mount=type=cache,target=/c,id=./one test ! -e /c/mine\n\
         RUN --mount=type=cache,target=/c,id=ONE test ! -e /c/mine\n",
    )?;
    for (mount, words) in [
        ("type=bind,source=.,target=/x,bind-propagation=shared", "unknown key"),
        ("type=bind,source=.,target=/x,propagation=rshared", "unknown key"),
        ("type=volume,source=/,target=/x", "unknown mount type"),
        ("type=bind,source=../../../../../../etc/passwd,target=/x", "file not found"),
        ("type=cache,target=/x,from=IMAGE,source=../../../../../../work", "file not found"),
        ("type=secret,id=../../../etc/passwd,required=true", "not found"),
        ("type=ssh,id=/var/run/docker.sock,required=true", "not found"),
    ] {
        site.dockerfile(&format!("FROM IMAGE\nRUN --mount={mount} cat /x\n"))?;
        let refused = site.build(&[])?;
        assert!(refused.code != 0 && refused.err.contains(words), "{mount}: {}", refused.err);
    }
    site.world.assert_clean(&[])
}

/// Whatever name the rules and the Dockerfile have, and wherever links of these names lead.
#[test]
fn rules_and_dockerfiles_that_are_links_stay_inside() -> Result<()> {
    let site = Site::new()?;
    let secret = site.world.dir().join("rules");
    std::fs::write(&secret, "hunter2-is-no-rule[\n")?;
    let outside = secret.to_str().unwrap_or_default();
    let dockerfile = format!("FROM {}\nCOPY . /all\nRUN ls -A /all > /seen\n", site.image).into_bytes();
    let file = ("Dockerfile", Regular, "", &dockerfile[..]);
    for (target, seen) in [
        (outside, ".dockerignore Dockerfile in"),
        ("../../../../../../../../../../etc/passwd", ".dockerignore Dockerfile in"),
        ("/dev/zero", ".dockerignore Dockerfile in"),
        ("in/rules", "Dockerfile in"),
        ("/in/rules", "Dockerfile in"),
        (".dockerignore", ".dockerignore Dockerfile in"),
    ] {
        let body = archive(&[
            file,
            ("in/rules", Regular, "", b".dockerignore\n"),
            (".dockerignore", Symlink, target, b""),
        ])?;
        let said = site.post("t=built", &body)?;
        assert!(said.contains("Successfully tagged") && !said.contains("hunter2"), "{target}: {said}");
        assert_eq!(site.shell("cat /seen | tr '\\n' ' '")?.trim(), seen, "{target}");
    }
    for (name, target) in [
        ("Dockerfile", outside),
        ("Dockerfile", "/dev/zero"),
        ("Dockerfile", "Dockerfile"),
        ("Dockerfile", "../../../../proc/self/environ"),
    ] {
        let said = site.post("", &archive(&[(name, Symlink, target, b"")])?)?;
        assert!(
            said.contains("Cannot locate specified Dockerfile") && !said.contains("hunter2"),
            "{target}: {said}"
        );
    }
    let linked = archive(&[("in/real", Regular, "", &dockerfile), ("Dockerfile", Symlink, "/in/real", b"")])?;
    assert!(site.post("", &linked)?.contains("Successfully built"));
    site.world.assert_clean(&[])
}

/// Answers every request with a redirect to what its path says after the first letter.
const REDIRECTS: &str = "import http.server, urllib.parse\n\
    class Handler(http.server.BaseHTTPRequestHandler):\n\
    \x20   def do_GET(self):\n\
    \x20       self.send_response(302)\n\
    \x20       self.send_header('Location', urllib.parse.unquote(self.path[1:]))\n\
    \x20       self.end_headers()\n\
    http.server.HTTPServer(('127.0.0.1', 8001), Handler).serve_forever()\n";

#[test]
fn what_is_fetched_comes_from_the_web_and_tells_no_password() -> Result<()> {
    let site = Site::new()?;
    let mut python = site.world.command("python3");
    let mut server = python.args(["-c", REDIRECTS]).stderr(std::process::Stdio::null()).spawn()?;
    tare_tests::until("the server to answer", || {
        let mut curl = site.world.command("curl");
        Ok(tare_tests::capture(curl.args(["-s", "-o", "/dev/null", "http://127.0.0.1:8001/x"]))?.code == 0)
    })?;
    let secret = site.world.dir().join("precious");
    std::fs::write(&secret, "precious")?;
    let local = format!("http://127.0.0.1:8001/file://{}", secret.display());
    for (address, words) in [
        (local.as_str(), "only http and https"),
        ("http://127.0.0.1:8001/ftp://127.0.0.1/x", "only http and https"),
        ("http://127.0.0.1:8001/unix:///run/tare/tare.sock", "only http and https"),
        ("http://127.0.0.1:8001/http%3A//127.0.0.1%3A8001/x", "redirects without end"),
        ("http://ann:hunter2@127.0.0.1:9/x?token=hunter2", "http://127.0.0.1:9/x"),
        ("https://ann:hunter2@127.0.0.1:9/x.git", "https://127.0.0.1:9/x.git"),
    ] {
        // As variables, so that the line of the file that messages show does not hold it.
        site.dockerfile("FROM IMAGE\nARG FROM\nADD $FROM /x/y\n")?;
        let refused = site.build(&["--build-arg", &format!("FROM={address}")])?;
        let said = format!("{}{}", refused.out, refused.err);
        assert!(refused.code != 0 && said.contains(words), "{address}: {said}");
        assert!(!said.contains("hunter2"), "{address}: {said}");
        let said = site.post(&format!("remote={}", address.replace('%', "%25").replace('?', "%3F")), b"")?;
        assert!(!said.contains("Successfully") && !said.contains("hunter2"), "{address}: {said}");
    }
    server.kill()?;
    server.wait()?;
    assert!(!site.world.daemon().log().contains("hunter2"));
    // A source that is no address of the web is a path of the context.
    for source in ["file:///etc/passwd", "ftp://127.0.0.1/x"] {
        site.dockerfile(&format!("FROM IMAGE\nADD {source} /x\n"))?;
        let refused = site.build(&[])?;
        assert!(refused.code != 0 && refused.err.contains("file not found"), "{source}: {}", refused.err);
    }
    site.world.assert_clean(&[])
}
