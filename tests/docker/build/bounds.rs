//! What a Dockerfile, a context or an image cannot get out of a build: memory, the host's files, its network, its programs.

use anyhow::Result;
use tar::EntryType::{Directory, Regular, Symlink};

use super::{Site, archive};

/// A few lines that double what they hold would fill the daemon's memory, or its answer to `history`.
#[test]
fn a_dockerfile_does_not_grow_without_end() -> Result<()> {
    let site = Site::new()?;
    let doubled = "ENV a=$a$a\n".repeat(17);
    let large = format!("FROM scratch\nENV a=01234567\n{doubled}");
    let labels: String = (0..12).map(|n| format!("LABEL l{n}=$a$a$a$a$a$a$a\n")).collect();
    let variables: String = (0..3).map(|n| format!("ENV b{n}=$a\n")).collect();
    let stages: String = (0..40).map(|n| format!("FROM s AS s{n}\nLABEL l=$a$a\nUSER {n}\n")).collect();
    let needed: String = (0..40).map(|n| format!("COPY --from=s{n} / /\n")).collect();
    for (text, words) in [
        (format!("{large}ENV b=$a c=$a d=$a\n"), "grow beyond 2097152 bytes"),
        (format!("{large}{variables}"), "grow beyond 2097152 bytes"),
        (
            format!("{large}LABEL a=$a b=$a c=$a d=$a e=$a f=$a g=$a h=$a i=$a\n"),
            "grows beyond 8388608 bytes",
        ),
        (format!("{large}{labels}"), "grow beyond 67108864 bytes"),
        (
            // A stage without files could not be copied from, and who would be heard first is chance.
            large.replacen("scratch\n", "scratch AS s\nCOPY Dockerfile /f\n", 1)
                + &stages
                + "FROM scratch\n"
                + &needed,
            "grow beyond 67108864 bytes",
        ),
    ] {
        let said = site.post("t=built", &archive(&[("Dockerfile", Regular, "", text.as_bytes())])?)?;
        assert!(said.contains(words), "{words}: {}", &said[said.len().saturating_sub(2000)..]);
    }
    assert_ne!(site.world.docker(&["inspect", "built"])?.code, 0);
    site.world.assert_clean(&[])
}

/// Where further contexts stand is the daemon's to say, not the archive's.
#[test]
fn further_contexts_are_no_link() -> Result<()> {
    let site = Site::new()?;
    let precious = site.world.dir().join("precious");
    std::fs::create_dir_all(precious.join("keys"))?;
    std::fs::write(precious.join("keys/id"), "precious")?;
    let outside = precious.to_str().unwrap_or_default();
    let dockerfile = "FROM scratch\nCOPY --from=x . /\n";
    let file = ("Dockerfile", Regular, "", dockerfile.as_bytes());
    let inside = format!("{outside}/keys");
    for entries in [
        &[(".tare-contexts", Symlink, outside, &b""[..])][..],
        &[(".tare-contexts/", Directory, "", b""), (".tare-contexts", Symlink, outside, b"")],
        &[(".tare-contexts/", Directory, "", b""), (".tare-contexts/keys", Symlink, &inside, b"")],
        &[(".tare-contexts", Regular, "", b"x")],
    ] {
        let body = archive(&[entries, &[(".tare-end", Regular, "", b""), file]].concat())?;
        let said = site.post("tarereserved=1&t=built&contexts=%7B%22x%22%3A%22tar%3Akeys%22%7D", &body)?;
        assert!(!said.contains("Successfully") && said.contains("message"), "{said}");
    }
    assert_eq!(std::fs::read_to_string(precious.join("keys/id"))?, "precious");
    site.world.assert_clean(&[])
}

/// CVE-2024-23653's class: what goes beyond a confined step needs the word of who builds, not the Dockerfile's.
#[test]
fn the_hosts_network_needs_consent() -> Result<()> {
    let site = Site::new()?;
    let text = format!("FROM {}\nRUN --network=host ls /sys/class/net > /seen\n", site.image);
    let body = archive(&[("Dockerfile", Regular, "", text.as_bytes())])?;
    let refused = site.post("t=built", &body)?;
    assert!(refused.contains("add --allow network.host"), "{refused}");
    for consent in ["allow=%5B%22network.host%22%5D", "networkmode=host"] {
        let said = site.post(&format!("t=built&{consent}"), &body)?;
        assert!(said.contains("Successfully tagged"), "{consent}: {said}");
    }
    site.world.assert_clean(&[])
}

/// An image that may not be run may not be built upon either, nor be looked into.
#[test]
fn the_policy_holds_for_builds() -> Result<()> {
    let mut site = Site::new()?;
    let config = site.world.dir().join("config");
    std::fs::create_dir_all(&config)?;
    std::fs::write(config.join("policy.json"), r#"{"rules":[{"pattern":"*","policy":"reject"}]}"#)?;
    std::fs::write(config.join("daemon.json"), "{}")?;
    site.world.stop_daemon();
    site.world.start_daemon(&["--config-file", &config.join("daemon.json").to_string_lossy()])?;
    assert_ne!(site.world.docker(&["run", "--rm", &site.image, "true"])?.code, 0);
    for text in [
        "FROM IMAGE\nRUN true\n",
        "FROM scratch\nCOPY --from=IMAGE /bin/busybox /b\n",
        "FROM scratch\nRUN --mount=from=IMAGE,target=/m [\"/m/bin/busybox\", \"true\"]\n",
    ] {
        site.dockerfile(text)?;
        let refused = site.build(&[])?;
        assert!(refused.code != 0 && refused.err.contains("policy"), "{text}: {}", refused.err);
    }
    site.world.assert_clean(&[])
}

/// Names of caches are names, wherever they seem to lead; what a step moves away under its mounts leads nobody elsewhere
/// (CVE-2024-9675, CVE-2024-23652).
#[test]
fn mounts_that_are_moved_or_misnamed_stay_where_they_are() -> Result<()> {
    let site = Site::new()?;
    let precious = site.world.dir().join("victim");
    std::fs::create_dir_all(precious.join("c"))?;
    std::fs::write(precious.join("c/file"), "precious")?;
    let out = precious.display();
    site.dockerfile(&format!(
        "FROM IMAGE\nRUN --mount=type=cache,id=../../../../../..{out}/c,target=/c touch /c/made && ls /c > /seen\n\
         RUN --mount=type=cache,id=/{out}/c,target=/c ls /c >> /seen\n\
         RUN --mount=type=cache,id=..,target=/c ls /c >> /seen\n\
         RUN --mount=type=tmpfs,target=/x/c mv /x /moved && ln -s {out} /x\n\
         RUN --mount=type=secret,id=none,target=/y/c/file mkdir -p /y && mv /y /moved-too; ln -s {out} /y\n\
         RUN --mount=type=cache,target=/z/c,source=../.. ls /z/c >> /seen || true\n"
    ))?;
    let built = site.build(&[])?;
    built.ok();
    assert_eq!(std::fs::read_to_string(precious.join("c/file"))?, "precious");
    assert_eq!(precious.join("c").read_dir()?.count(), 1);
    assert_eq!(site.shell("cat /seen")?, "made\nDockerfile", "the context at most");
    site.world.assert_clean(&[])
}

/// CVE-2024-23651: two builds share a cache directory; one makes links of what the other mounts upon.
#[test]
fn a_cache_that_another_build_changes_leads_nowhere() -> Result<()> {
    let site = Site::new()?;
    let precious = site.world.dir().join("victim");
    std::fs::create_dir_all(&precious)?;
    std::fs::write(precious.join("file"), "precious")?;
    let out = precious.display();
    let post = |step: String| {
        let text = format!("FROM {}\nRUN --mount=type=cache,id=shared,target=/c {step}\n", site.image);
        site.post("nocache=1", &archive(&[("Dockerfile", Regular, "", text.as_bytes())])?)
    };
    post("mkdir /c/sub".to_owned())?;
    std::thread::scope(|threads| -> Result<()> {
        let racing = threads.spawn(|| {
            post(format!(
                "for i in $(seq 500); do rm -rf /c/sub; ln -s {out} /c/sub; rm /c/sub; mkdir /c/sub; done; true"
            ))
        });
        let mut mounted = 0;
        while !racing.is_finished() || mounted == 0 {
            let said = post("--mount=type=tmpfs,target=/c/sub echo mine > /c/sub/file".to_owned())?;
            assert!(!said.contains("precious\""), "{said}");
            mounted += usize::from(said.contains("Successfully built"));
        }
        let raced = racing.join().expect("the racer ends")?;
        assert!(raced.contains("built") || raced.contains("busy"), "{raced}");
        Ok(())
    })?;
    assert_eq!(precious.read_dir()?.count(), 1, "nothing was written through the link");
    assert_eq!(std::fs::read_to_string(precious.join("file"))?, "precious");
    site.world.assert_clean(&[])
}

/// Looks for the daemon: sockets in its tree, abstract ones, its port on loopback by the addresses that lead to the machine.
const PROBE: &str = "import os, socket, stat\n\
    for path in ['/run', '/var', '/tmp', '/dev', '/etc']:\n\
    \x20 for top, dirs, files in os.walk(path):\n\
    \x20   for name in files:\n\
    \x20     if stat.S_ISSOCK(os.lstat(os.path.join(top, name)).st_mode): print('found', top, name)\n\
    if 'tare' in open('/proc/net/unix').read(): print('found an abstract socket')\n\
    routes = [line.split() for line in open('/proc/net/route')]\n\
    gateway = [socket.inet_ntoa(bytes.fromhex(route[2])[::-1]) for route in routes if route[1] == '00000000']\n\
    for host in ['127.0.0.1', 'localhost'] + gateway:\n\
    \x20 try:\n\
    \x20   socket.create_connection((host, 2375), 1).close()\n\
    \x20   print('found a port at', host)\n\
    \x20 except OSError: pass\n\
    print('probed', len(gateway))\n";

/// Whoever reaches the daemon is root: a step does not, wherever it looks.
#[test]
fn a_step_does_not_reach_its_daemon() -> Result<()> {
    let world = tare_tests::World::with_daemon_arguments(&["-H", "tcp://127.0.0.1:2375"])?;
    let image = world.push_debian()?;
    world.docker(&["pull", "-q", &image])?.ok();
    let site = Site { world, image };
    let mut curl = site.world.command("curl");
    assert_eq!(tare_tests::capture(curl.args(["-sf", "http://127.0.0.1:2375/_ping"]))?.ok(), "OK");
    site.file("probe.py", PROBE)?;
    let told = site.built("FROM IMAGE\nCOPY probe.py /\nRUN python3 /probe.py\n")?.out;
    assert!(told.contains("\nprobed 1\n") && !told.contains("\nfound "), "{told}");
    site.world.assert_clean(&[])
}
