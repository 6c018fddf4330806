//! What is taken from the cache, and what is not.

use anyhow::Result;

use super::Site;

const FILE: &str =
    "FROM IMAGE\nARG A\nCOPY data /data\nRUN cat /proc/sys/kernel/random/uuid > /when && cat /data\n";

fn cached(site: &Site, words: &[&str]) -> Result<usize> {
    let built = site.build(words)?;
    built.ok();
    Ok(built.out.matches("Using cache").count())
}

#[test]
fn what_did_not_change_is_not_done_again() -> Result<()> {
    let mut site = Site::new()?;
    site.file("data", "one")?;
    site.dockerfile(FILE)?;
    assert_eq!(cached(&site, &[])?, 0);
    let (first, when) = (site.id()?, site.shell("cat /when")?);
    assert_eq!(cached(&site, &[])?, 3);
    assert_eq!(site.id()?, first, "the same image, with the same times");
    // Touched, and a new file beside it: the same bytes are the same step.
    site.file("data", "one")?;
    site.file("other", "new")?;
    assert_eq!(cached(&site, &[])?, 3);
    site.world.kill_daemon();
    site.world.start_daemon(&[])?;
    assert_eq!(cached(&site, &[])?, 3, "the cache outlives the daemon");
    assert_eq!(site.shell("cat /when")?, when);
    assert_eq!(cached(&site, &["--no-cache"])?, 0);
    assert_ne!(site.shell("cat /when")?, when);
    site.file("data", "two")?;
    assert_eq!(cached(&site, &[])?, 1, "ARG alone is what it was");
    assert_eq!(site.shell("cat /data")?, "two");
    assert_eq!(cached(&site, &["--build-arg", "A=1"])?, 2, "the copy, but no RUN that sees another argument");
    Ok(())
}

/// CVE-2024-24557 and its like: an entry serves the very same step upon the very same files, and no look-alike.
#[test]
fn steps_that_look_alike_are_other_steps() -> Result<()> {
    let site = Site::new()?;
    site.file("a/x", "1")?;
    site.file("b/x", "1")?;
    for name in ["c/ab", "c/c", "d/a", "d/bc", "e/a b", "e/a", "e/b"] {
        site.file(name, "")?;
    }
    for (text, expected) in [
        ("FROM IMAGE\nENV V=1\nRUN echo $V > /v\n", "1"),
        ("FROM IMAGE\nENV V=2\nRUN echo $V > /v\n", "2"),
        ("FROM IMAGE\nARG V=3\nRUN echo $V > /v\n", "3"),
        ("FROM IMAGE\nARG V=4\nRUN echo $V > /v\n", "4"),
        ("FROM IMAGE\nRUN echo ${V:-5} > /v\n", "5"),
        ("FROM IMAGE\nWORKDIR /tmp\nRUN pwd > /v\n", "/tmp"),
        ("FROM IMAGE\nWORKDIR /root\nRUN pwd > /v\n", "/root"),
        ("FROM IMAGE\nRUN id -u > /v\n", "0"),
        ("FROM IMAGE\nRUN chmod 777 /root && echo 6 > /v\nUSER web\nRUN id -u > /root/v\n", "6"),
        ("FROM IMAGE\nSHELL [\"/bin/sh\", \"-xc\"]\nRUN echo 7 > /v\n", "7"),
        ("FROM scratch\nCOPY --from=IMAGE / /\nRUN echo 8 > /v\n", "8"),
        ("FROM IMAGE\nCOPY a/x /v\n", "1"),
        ("FROM IMAGE\nENV A=\"1 B=2\"\nRUN echo $A,$B > /v\n", "1 B=2,"),
        ("FROM IMAGE\nENV A=1 B=2\nRUN echo $A,$B > /v\n", "1,2"),
        ("FROM IMAGE\nARG A=1\nARG B=2\nRUN echo $A,$B > /v\n", "1,2"),
        ("FROM IMAGE\nARG A=\"1 B=2\"\nRUN echo $A,$B > /v\n", "1 B=2,"),
        ("FROM IMAGE\nENV A=1\nARG B=2\nRUN echo $A,$B > /v && env | grep -c '^[AB]=' >> /v\n", "1,2\n2"),
        ("FROM IMAGE\nRUN [\"/bin/sh\", \"-c\", \"echo 1 2 > /v\"]\n", "1 2"),
        ("FROM IMAGE\nRUN [\"/bin/sh\", \"-c\", \"echo $0 $1 > /v\", \"1\", \"2\"]\n", "1 2"),
        ("FROM IMAGE\nRUN [\"/bin/sh\", \"-c\", \"echo $0 $1 > /v\", \"1 2\"]\n", "1 2"),
        ("FROM IMAGE\nCOPY c/ab c/c /w/\nRUN ls /w > /v\n", "ab\nc"),
        ("FROM IMAGE\nCOPY d/a d/bc /w/\nRUN ls /w > /v\n", "a\nbc"),
        ("FROM IMAGE\nCOPY c /w/\nRUN ls /w > /v\n", "ab\nc"),
        ("FROM IMAGE\nCOPY --parents c/ab c/c /w/\nRUN ls /w > /v\n", "c"),
        ("FROM IMAGE\nCOPY --exclude=c c /w/\nRUN ls /w > /v\n", "ab"),
        ("FROM IMAGE\nCOPY [\"e/a b\", \"/w/\"]\nRUN ls /w > /v\n", "a b"),
        ("FROM IMAGE\nCOPY e/a e/b /w/\nRUN ls /w > /v\n", "a\nb"),
        ("FROM IMAGE\nCOPY <<a <<b /w/\n1\na\n2\nb\nRUN cat /w/a > /v\n", "1"),
        ("FROM IMAGE\nCOPY <<a /w/\n1\nb\n2\na\nRUN cat /w/a > /v\n", "1\nb\n2"),
        ("FROM IMAGE\nCOPY --chown=1:2 a/x /v\nRUN stat -c %u:%g /v > /w; cat /w > /v\n", "1:2"),
        ("FROM IMAGE\nCOPY --chown=12 a/x /v\nRUN stat -c %u:%g /v > /w; cat /w > /v\n", "12:12"),
        ("FROM IMAGE\nCOPY --chmod=600 b/x /v\n", "1"),
    ] {
        site.dockerfile(text)?;
        site.build(&[])?.ok();
        assert_eq!(site.shell("cat /v")?, expected, "{text}");
    }
    assert_eq!(site.shell("stat -c %a /v")?, "600");
    Ok(())
}

#[test]
fn pruning_gives_the_disk_back_and_the_next_build_begins_anew() -> Result<()> {
    let site = Site::new()?;
    site.file("data", vec![b'x'; 1 << 20])?;
    site.dockerfile(FILE)?;
    site.build(&[])?.ok();
    site.world.docker(&["rmi", "built"])?.ok();
    let layers =
        || Ok::<_, anyhow::Error>(site.world.dir().join("data/snapshots/layers").read_dir()?.count());
    assert_eq!(layers()?, 3, "the cache keeps its layers");
    let (status, kept) = site.world.api("POST", "/build/prune?keep-storage=1000000000", None)?;
    assert_eq!((status, kept.contains("\"CachesDeleted\":null")), (200, true), "{kept}");
    let (status, pruned) = site.world.api("POST", "/build/prune", None)?;
    let pruned: serde_json::Value = serde_json::from_str(&pruned)?;
    assert_eq!((status, pruned["CachesDeleted"].as_array().map(Vec::len)), (200, Some(3)));
    assert!(pruned["SpaceReclaimed"].as_i64() > Some(1 << 20), "{pruned}");
    assert_eq!(layers()?, 1);
    assert_eq!(cached(&site, &[])?, 0);
    Ok(())
}

/// The same input and the same moment give the same image, bit by bit, on whatever day it is built.
#[test]
fn a_moment_that_is_given_makes_the_same_image_each_time() -> Result<()> {
    let site = Site::new()?;
    site.file("data", "one")?;
    site.dockerfile("FROM IMAGE\nWORKDIR /w\nCOPY data /data\nRUN mkdir -p /made/here && echo a > /made/here/file\nCMD [\"sh\"]\n")?;
    let words = ["--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1700000000"];
    site.build(&words)?.ok();
    let first = site.id()?;
    std::fs::File::options()
        .append(true)
        .open(site.directory().join("data"))?
        .set_modified(std::time::SystemTime::now())?;
    site.build(&words)?.ok();
    assert_eq!(site.id()?, first);
    let created = site.world.docker(&["inspect", "--format", "{{.Created}}", "built"])?;
    assert_eq!(created.ok(), "2023-11-14T22:13:20Z");
    assert_eq!(site.shell("stat -c %Y /made/here/file /data | sort -u")?, "1700000000");
    Ok(())
}

/// What another machine has built and shipped stands for steps that this one would have to do, for who names it.
#[test]
fn an_image_lends_its_steps_to_who_names_it() -> Result<()> {
    const NAME: &str = "127.0.0.1:5000/lent:1";
    let mut site = Site::new()?;
    site.file("data", "one")?;
    let text = "FROM IMAGE\nARG A=x\nENV B=$A\nWORKDIR /w\nCOPY --chmod=600 data /data\n\
        RUN cat /proc/sys/kernel/random/uuid > /when\nRUN [\"touch\", \"/exec\"]\nCMD [\"sh\"]\n";
    site.built(text)?;
    let (id, when) = (site.id()?, site.shell("cat /when")?);
    site.world.docker(&["tag", "built", NAME])?.ok();
    site.world.docker(&["push", "-q", NAME])?.ok();
    // An empty data root, as on another machine.
    site.world.stop_daemon();
    std::fs::remove_dir_all(site.world.dir().join("data"))?;
    site.world.start_daemon(&[])?;
    assert_eq!(
        cached(&site, &["--cache-from", NAME])?,
        5,
        "all before the list of words, which could be read otherwise"
    );
    assert_eq!(site.shell("cat /when")?, when);
    assert_eq!(site.shell("stat -c %a /data")?, "600");
    // Who does not name it does not get what it lent, but the layers that were done here.
    assert_eq!(cached(&site, &[])?, 0);
    assert_ne!(site.shell("cat /when")?, when);
    site.world.stop_daemon();
    std::fs::remove_dir_all(site.world.dir().join("data"))?;
    site.world.start_daemon(&[])?;
    site.dockerfile(&text.replace("[\"touch\", \"/exec\"]", "touch /exec").replace("IMAGE", &site.image))?;
    for (words, hits) in
        [(&["--cache-from", NAME, "--build-arg", "A=y"][..], 1), (&["--no-cache", "--cache-from", NAME], 0)]
    {
        assert_eq!(cached(&site, words)?, hits, "{words:?}");
    }
    site.file("data", "two")?;
    assert_eq!(cached(&site, &["--cache-from", NAME])?, 3, "all before the copy of other bytes");
    site.file("data", "three")?;
    let warned = site.build(&["--cache-from", "127.0.0.1:5000/none:1"])?;
    assert!(warned.ok().contains("--cache-from 127.0.0.1:5000/none:1: "), "{warned:?}");
    assert_ne!(site.id()?, id);
    Ok(())
}

/// What an image lends is found by what its history tells, where values could read as further variables.
#[test]
fn an_image_lends_no_step_that_only_reads_alike() -> Result<()> {
    const NAME: &str = "127.0.0.1:5000/alike:1";
    let mut site = Site::new()?;
    let step = "RUN echo \"$A-$C\" > /v\n";
    for (lent, wanted, expected) in [
        ("ENV A=\"b C=d\"\n", "ENV A=b C=d\n", "b-d"),
        ("ARG A=\"b /bin/sh -c true;\"\n", "ARG A=b\nARG C\n", "b-"),
        ("ENV A=b C=d\n", "ENV A=\"b C=d\"\n", "b C=d-"),
    ] {
        site.built(&format!("FROM IMAGE\n{lent}{step}"))?;
        site.world.docker(&["tag", "built", NAME])?.ok();
        site.world.docker(&["push", "-q", NAME])?.ok();
        site.world.stop_daemon();
        std::fs::remove_dir_all(site.world.dir().join("data"))?;
        site.world.start_daemon(&[])?;
        site.dockerfile(&format!("FROM IMAGE\n{wanted}{step}"))?;
        site.build(&["--cache-from", NAME])?.ok();
        assert_eq!(site.shell("cat /v")?, expected, "{lent}{wanted}");
    }
    Ok(())
}

/// CVE-2024-24557: an image of somebody else that claims to come of the very steps that are built stands for none of them.
#[test]
fn what_is_loaded_stands_for_no_step() -> Result<()> {
    let site = Site::new()?;
    site.file("data", "one")?;
    site.built(FILE)?;
    let (id, when) = (site.id()?, site.shell("cat /when")?);
    let archive = site.world.dir().join("claims.tar").display().to_string();
    site.world.docker(&["save", "-o", &archive, "built"])?.ok();
    site.world.docker(&["rmi", "built"])?.ok();
    assert_eq!(site.world.api("POST", "/build/prune", None)?.0, 200);
    site.world.docker(&["load", "-i", &archive])?.ok();
    assert_eq!(site.id()?, id, "all that the steps made is here, and how they were called");
    assert_eq!(cached(&site, &[])?, 0);
    assert_ne!(site.shell("cat /when")?, when);
    Ok(())
}

/// All that a RUN can see is part of what it is known by: whoever changes it does not get what was made before.
#[test]
fn a_step_is_done_again_when_it_would_see_something_else() -> Result<()> {
    let site = Site::new()?;
    site.dockerfile("FROM IMAGE\nRUN cat /proc/sys/kernel/random/uuid > /when\n")?;
    let mut seen = Vec::new();
    for words in [
        &[][..],
        &["--network", "none"],
        &["--network", "host"],
        &["--add-host", "one:1.2.3.4"],
        &["--add-host", "one:1.2.3.5"],
        &["--ulimit", "nofile=100:200"],
        &["--shm-size", "8m"],
        &["--memory", "64m"],
        &["--build-arg", "SOURCE_DATE_EPOCH=1700000000"],
    ] {
        assert_eq!(cached(&site, words)?, 0, "{words:?}");
        let when = site.shell("cat /when")?;
        assert!(!seen.contains(&when), "{words:?}");
        seen.push(when);
        assert_eq!(cached(&site, words)?, 1, "{words:?}");
    }
    for mount in [
        "",
        "--network=none ",
        "--mount=type=secret,id=a ",
        "--mount=type=secret,id=b ",
        "--mount=type=ssh ",
        "--mount=type=ssh,id=x ",
        "--mount=type=cache,id=a,target=/c ",
        "--mount=type=cache,id=b,target=/c ",
        "--mount=type=cache,id=a,target=/d ",
        "--mount=type=cache,id=a,target=/c,uid=1 ",
        "--mount=type=tmpfs,target=/c ",
        "--mount=type=tmpfs,target=/c,size=4096 ",
        "--mount=from=IMAGE,source=/bin,target=/c ",
        "--mount=from=IMAGE,source=/etc,target=/c ",
        "--mount=from=IMAGE,source=/etc,target=/c,rw ",
    ] {
        site.dockerfile(&format!("FROM IMAGE\nRUN {mount}cat /proc/sys/kernel/random/uuid > /other\n"))?;
        site.build(&[])?.ok();
        let when = site.shell("cat /other")?;
        assert!(!seen.contains(&when), "{mount}");
        seen.push(when.clone());
        site.build(&[])?.ok();
        assert_eq!(site.shell("cat /other")?, when, "{mount}");
    }
    // Permissions that would let somebody become somebody else are not lost, nor come from a look-alike.
    site.file("tool", "x")?;
    for (mode, expected) in [("755", "755"), ("4755", "4755"), ("u=rwxs,go=rx", "4755"), ("755", "755")] {
        site.built(&format!("FROM IMAGE\nCOPY --chmod={mode} tool /tool\n"))?;
        assert_eq!(site.shell("stat -c %a /tool")?, expected, "{mode}");
    }
    Ok(())
}
