//! RUN: how it is confined, what is mounted in it, and what stays of it.

use anyhow::Result;

use super::{Site, archive};

#[test]
fn steps_are_confined_like_containers() -> Result<()> {
    let site = Site::new()?;
    let built = site.built(
        "FROM IMAGE\nRUN grep Seccomp: /proc/self/status && grep CapEff /proc/self/status\n\
         RUN echo pid $$ && ls /sys/fs/cgroup > /dev/null && hostname\n\
         RUN --network=none ip -o link | wc -l\nRUN mount -t tmpfs none /tmp || echo refused\n",
    )?;
    assert!(built.out.contains("Seccomp:\t2"), "{}", built.out);
    assert!(built.out.contains("CapEff:\t00000000a80425fb"), "{}", built.out);
    assert!(built.out.contains("pid 1\n"), "{}", built.out);
    assert!(built.out.contains("\n1\n") && built.out.contains("refused"), "{}", built.out);
    Ok(())
}

#[test]
fn commands_have_three_forms() -> Result<()> {
    let site = Site::new()?;
    site.built(
        "FROM IMAGE\nRUN [\"touch\", \"/a b\"]\nRUN <<EOF\necho one > /one\necho two > /two\nEOF\n\
         RUN <<EOF\n#!/bin/cat\nnot a shell\nEOF\nRUN cat <<EOF > /three\nthree\nEOF\n",
    )?;
    assert_eq!(
        site.shell("ls '/a b'; cat /one /two /three; ls -A /dev/pipes 2>/dev/null | wc -l")?,
        "/a b\none\ntwo\nthree\n0"
    );
    Ok(())
}

#[test]
fn mounts_are_there_for_one_step_and_leave_no_trace() -> Result<()> {
    let site = Site::new()?;
    site.file("ctx/file", "from the context")?;
    site.dockerfile(
        "FROM IMAGE AS other\nRUN mkdir -p /out/deep && echo staged > /out/deep/file\nFROM IMAGE\n\
         RUN --mount=type=bind,source=ctx,target=/mnt/ctx cat /mnt/ctx/file > /seen && ! touch /mnt/ctx/x\n\
         RUN --mount=from=other,source=/out,target=/mnt/out,rw cat /mnt/out/deep/file >> /seen && touch /mnt/out/x\n\
         RUN --mount=type=tmpfs,target=/scratch touch /scratch/x && stat -f -c %T /scratch >> /seen\n\
         RUN --mount=type=cache,target=/keep,id=k echo x >> /keep/log && cat /keep/log | wc -l\n\
         RUN --mount=type=cache,target=/keep,id=k,ro ! touch /keep/y && wc -l < /keep/log >> /seen\n",
    )?;
    site.build(&[])?.ok();
    assert_eq!(
        site.shell("cat /seen; ls -A / | grep -E 'mnt|scratch|keep' | wc -l")?,
        "from the contextstaged\ntmpfs\n1\n0"
    );
    site.build(&["--no-cache"])?.ok();
    assert_eq!(site.shell("tail -n1 /seen")?, "2", "a cache mount lasts from build to build");
    Ok(())
}

/// A part of another stage is shown as its layers make it up, and what is written there is nobody's afterwards.
#[test]
fn mounts_of_stages_show_what_their_layers_come_to() -> Result<()> {
    let site = Site::new()?;
    site.built(
        "FROM IMAGE AS other\nRUN mkdir -p /tree/kept /tree/gone /tree/again && echo old > /tree/again/old && echo 1 > /tree/kept/one && echo x > /tree/gone/x\n\
         RUN rm -r /tree/gone /tree/again && mkdir /tree/again && echo 2 > /tree/kept/two && echo new > /tree/again/new\n\
         RUN ln -s /tree /link && ln -s ../../../../.. /tree/out && echo odd > '/tree/a,b:c' && mkdir '/odd,upperdir=:x' && echo o > '/odd,upperdir=:x/f' && ln -s '/odd,upperdir=:x' /alias\nFROM IMAGE\n\
         RUN --mount=from=other,source=/link,target=/m cd /m && find . -type f | sort > /seen && cat 'a,b:c' >> /seen && test ! -e out/work\n\
         RUN --mount=from=other,source=/tree/kept/two,target=/one-file cat /one-file >> /seen && ! echo x > /one-file\n\
         RUN --mount=from=other,source=/tree/again,target=/m ls /m >> /seen && ! touch /m/x\n\
         RUN --mount=from=other,source=/tree,target=/m,rw rm -r /m/kept && echo changed > /m/again/new && touch /m/made && stat -c %a /m >> /seen\n\
         RUN --mount=from=other,source=/tree/kept/one,target=/one-file,rw echo 3 > /one-file\n\
         RUN --mount=from=other,source=/alias,target=/m ls /m >> /seen\n\
         RUN --mount=from=other,target=/m cat /m/tree/again/new /m/tree/kept/one >> /seen && ! touch /m/x && test ! -e /m/tree/made\n",
    )?;
    assert_eq!(
        site.shell("cat /seen")?,
        "./a,b:c\n./again/new\n./kept/one\n./kept/two\nodd\n2\nnew\n755\nf\nnew\n1"
    );
    site.dockerfile("FROM IMAGE\nRUN --mount=from=IMAGE,source=/none,target=/m true\n")?;
    let failed = site.build(&[])?;
    assert!(failed.code != 0 && failed.err.contains("no such file"), "{}", failed.err);
    site.world.assert_clean(&[])
}

/// A secret is nowhere but in its step.
#[test]
fn secrets_leave_no_trace() -> Result<()> {
    const SECRET: &str = "hunter2-correct-horse";
    let site = Site::new()?;
    let dockerfile = format!(
        "FROM {}\nRUN --mount=type=secret,id=key cat /run/secrets/key | wc -c > /length && stat -c '%a %u' /run/secrets/key > /stat\n\
         RUN --mount=type=secret,id=key,env=KEY test -n \"$KEY\" && test ! -e /run/secrets/key\n\
         RUN --mount=type=secret,id=key,target=/etc/deep/key,mode=0440,uid=1000 test -s /etc/deep/key\n\
         RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent\n",
        site.image
    );
    let regular = tar::EntryType::Regular;
    let body = archive(&[
        (".tare-secrets/key", regular, "", SECRET.as_bytes()),
        (".tare-end", regular, "", b""),
        ("Dockerfile", regular, "", dockerfile.as_bytes()),
    ])?;
    let said = site.post("tarereserved=1&t=built", &body)?;
    assert!(said.contains("Successfully tagged built:latest"), "{said}");
    assert!(!said.contains(SECRET));
    assert_eq!(
        site.shell("cat /length /stat; ls -A /run /etc/deep 2>&1 | grep -v '^$' | wc -l")?,
        format!("{}\n400 0\n2", SECRET.len())
    );
    let found = tare_tests::capture(
        std::process::Command::new("grep")
            .args(["-rlaF", SECRET])
            .arg(site.world.dir().join("data"))
            .arg(site.world.dir().join("exec")),
    )?;
    assert_eq!(found.out, "", "the secret is on the disk");
    assert!(!site.world.daemon().log().contains(SECRET));
    let required = format!("FROM {}\nRUN --mount=type=secret,id=key,required=true true\n", site.image);
    let body = archive(&[("Dockerfile", regular, "", required.as_bytes())])?;
    let said = site.post("", &body)?;
    assert!(said.contains("secret key: not found"), "{said}");
    Ok(())
}

#[test]
fn steps_share_the_network_of_a_container_that_runs() -> Result<()> {
    let site = Site::new()?;
    let words = ["run", "-d", "--name", "other", "--hostname", "shared", "--network", "none", &site.image];
    site.world.docker(&[&words[..], &["sleep", "1000"]].concat())?.ok();
    site.dockerfile("FROM IMAGE\nRUN readlink /proc/self/ns/net > /net; hostname > /name\n")?;
    site.build(&["--network", "container:other"])?.ok();
    let net = site.world.docker(&["exec", "other", "readlink", "/proc/self/ns/net"])?;
    assert_eq!(site.shell("cat /net /name")?, format!("{}\nshared", net.ok()));
    let missing = site.build(&["--network", "container:nobody", "--no-cache"])?;
    assert!(missing.fails(1).contains("No such container: nobody"), "{missing:?}");
    site.world.docker(&["rm", "-f", "other"])?.ok();
    Ok(())
}

/// What takes a step out of its confinement has to be allowed by whoever runs the daemon and by whoever asks for the build.
#[test]
fn privileges_are_given_by_both_sides_or_not_at_all() -> Result<()> {
    let mut site = Site::new()?;
    let insecure = "FROM IMAGE\nRUN --security=insecure grep CapEff /proc/self/status > /caps && mkdir /mounted && mount -t tmpfs none /mounted\n";
    let host = "FROM IMAGE\nRUN --network=host ip -o link | wc -l > /links\n";
    let directory = site.directory();
    let directory = directory.to_str().unwrap_or_default().to_owned();
    let build = |site: &Site, text: &str, more: &[&str]| {
        site.dockerfile(text)?;
        site.world.tare(&[&["build", "-t", "built", &directory], more].concat())
    };
    let allow = ["--allow", "security.insecure", "--allow", "network.host"];
    for words in [&[][..], &allow] {
        let refused = build(&site, insecure, words)?;
        assert!(
            refused.code != 0 && refused.err.contains("not allowed by this daemon"),
            "{words:?}: {refused:?}"
        );
    }
    let refused = build(&site, host, &[])?;
    assert!(refused.code != 0 && refused.err.contains("--allow network.host"), "{refused:?}");
    build(&site, host, &allow)?.ok();
    build(&site, host, &["--network", "host"])?.ok();
    let unknown = build(&site, host, &["--allow", "device"])?;
    assert!(unknown.code != 0 && unknown.err.contains("unknown entitlement device"), "{unknown:?}");
    let file = site.world.dir().join("daemon.json");
    std::fs::write(
        &file,
        r#"{"builder": {"entitlements": {"security-insecure": true, "network-host": false}}}"#,
    )?;
    site.world.stop_daemon();
    site.world.start_daemon(&["--config-file", file.to_str().unwrap_or_default()])?;
    let refused = build(&site, insecure, &[])?;
    assert!(refused.code != 0 && refused.err.contains("--allow security.insecure"), "{refused:?}");
    let refused = build(&site, host, &[&allow[..], &["--no-cache"]].concat())?;
    assert!(refused.code != 0 && refused.err.contains("not allowed by this daemon"), "{refused:?}");
    build(&site, insecure, &allow)?.ok();
    assert!(!site.shell("cat /caps")?.contains("00000000a80425fb"));
    // What it made is not what the same step would have made without privileges, nor may who was not asked have it.
    let refused = build(&site, insecure, &[])?;
    assert!(refused.code != 0, "{refused:?}");
    let confined = build(&site, &insecure.replace("--security=insecure ", ""), &[])?;
    assert!(confined.code != 0, "{confined:?}");
    site.world.assert_clean(&[])
}
