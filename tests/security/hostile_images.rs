use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use tare_tests::{World, capture};

/// An image of one layer whose tar a small Python program wrote, member by member.
fn image_of(world: &World, name: &str, members: &str) -> Result<String> {
    let dir = world.dir().join(name);
    std::fs::create_dir_all(&dir)?;
    let program = format!(
        "import tarfile,io\nt=tarfile.open('layer.tar','w',format=tarfile.PAX_FORMAT)\n\
         def f(name,data=b'x',**k):\n  i=tarfile.TarInfo(name); i.size=len(data)\n  for a,v in k.items(): setattr(i,a,v)\n  t.addfile(i,io.BytesIO(data))\n\
         def l(name,to,kind=tarfile.SYMTYPE):\n  i=tarfile.TarInfo(name); i.type=kind; i.linkname=to; t.addfile(i)\n\
         def d(name,mode=0o755):\n  i=tarfile.TarInfo(name); i.type=tarfile.DIRTYPE; i.mode=mode; t.addfile(i)\n\
         d('bin'); f('bin/busybox',open('/bin/busybox','rb').read(),mode=0o755); l('bin/sh','busybox'); l('bin/cat','busybox'); l('bin/true','busybox')\n{members}\nt.close()\n"
    );
    std::fs::write(dir.join("make.py"), program)?;
    run(Command::new("python3").arg("make.py").current_dir(&dir))?;
    let layout = dir.join("layout");
    let tag = format!("{}:x", layout.display());
    run(Command::new("umoci").args(["init", "--layout"]).arg(&layout))?;
    run(Command::new("umoci").args(["new", "--image", &tag]))?;
    run(Command::new("umoci").args(["raw", "add-layer", "--image", &tag]).arg(dir.join("layer.tar")))?;
    run(Command::new("umoci").args([
        "config",
        "--image",
        &tag,
        "--config.env=PATH=/bin",
        "--config.cmd=true",
    ]))?;
    world.push(&format!("oci:{tag}"), &format!("{name}:x"))
}

fn run(command: &mut Command) -> Result<()> {
    let ran = capture(command)?;
    ensure!(ran.code == 0, "{} failed: {}", ran.line, ran.err);
    Ok(())
}

#[test]
fn layers_that_point_out_of_their_root_are_refused_and_touch_nothing() -> Result<()> {
    let world = World::new()?;
    let canary = world.dir().join("canary");
    std::fs::write(&canary, "alive")?;
    let target = canary.display().to_string();
    let deep = "../".repeat(30);
    for (name, members) in [
        ("dotdot", format!("f('{deep}{}',b'dead')", &target[1..])),
        ("through-link", format!("l('out','/'); f('out{target}',b'dead')")),
        ("relative-link", format!("l('out','{deep}'); f('out{target}',b'dead')")),
        ("hard-link", format!("l('copy','{deep}{}',tarfile.LNKTYPE); f('copy',b'dead')", &target[1..])),
        ("whiteout", format!("l('out','/'); f('out{}/.wh.canary',b'')", world.dir().display())),
        ("whiteout-dots", "d('a'); f('a/.wh...',b'')".to_owned()),
    ] {
        let image = image_of(&world, name, &members)?;
        let _refused_or_confined = world.tare(&["pull", &image])?;
        assert_eq!(std::fs::read_to_string(&canary)?, "alive", "{name}");
        world.assert_clean(&[])?;
        assert_eq!(world.tare(&["ps", "-aq"])?.code, 0, "{name}: the daemon lives");
    }
    Ok(())
}

/// An absolute name lands inside, as every tar does it.
#[test]
fn an_absolute_name_stays_inside() -> Result<()> {
    let world = World::new()?;
    let marker = format!("/tare-absolute-{}", std::process::id());
    let image = image_of(&world, "absolute", &format!("f('{marker}',b'inside')"))?;
    let ran = world.tare(&["run", "--rm", &image, "cat", &marker])?;
    assert!(!Path::new(&marker).exists());
    assert!(ran.code != 0 || ran.ok() == "inside", "{ran:?}");
    Ok(())
}

/// `/dev`, `/proc`, `/sys` and mount targets as symbolic links out (CVE-2026-41579, CVE-2019-19921).
#[test]
fn links_where_the_runtime_mounts_do_not_lead_to_the_host() -> Result<()> {
    let world = World::new()?;
    let outside = world.dir().join("outside");
    std::fs::create_dir_all(&outside)?;
    let out = outside.display().to_string();
    for place in ["dev", "proc", "sys", "etc", "mnt"] {
        let image = image_of(&world, &format!("link-{place}"), &format!("l('{place}','{out}')"))?;
        let _confined_or_refused = world.tare(&["run", "--rm", "-v", "vol:/mnt/deep", &image, "true"])?;
        assert_eq!(std::fs::read_dir(&outside)?.count(), 0, "/{place} as a link reached the host");
    }
    Ok(())
}

/// An endless or special passwd must not be read without end (the class of moby#38972).
#[test]
fn a_giant_or_special_passwd_is_an_error_and_not_a_hang() -> Result<()> {
    let world = World::new()?;
    for (name, members) in [
        ("passwd-zero", "d('etc'); l('etc/passwd','/dev/zero')"),
        ("passwd-fifo", "d('etc'); i=tarfile.TarInfo('etc/passwd'); i.type=tarfile.FIFOTYPE; t.addfile(i)"),
        ("passwd-big", "d('etc'); f('etc/passwd',b'a'*200000000)"),
        ("passwd-host", "d('etc'); l('etc/passwd','/../../../../etc/passwd')"),
    ] {
        let image = image_of(&world, name, members)?;
        let ran = world.tare(&["run", "--rm", "--user", "daemon", &image, "true"])?;
        assert!(ran.code != 0, "{name}: {ran:?}");
    }
    Ok(())
}

/// More than a gigabyte of nothing in a megabyte of gzip.
#[test]
fn a_bomb_is_refused_with_a_reason() -> Result<()> {
    let world = World::new()?;
    let image = image_of(
        &world,
        "bomb",
        "i=tarfile.TarInfo('zeros'); i.size=5<<28\nclass Z:\n  def read(s,n=-1): return b'\\0'*n\nt.addfile(i,Z())",
    )?;
    let refused = world.tare(&["pull", &image])?;
    assert!(
        refused.code == 1 && refused.err.contains("times as many; if it is to be trusted"),
        "{refused:?}"
    );
    world.assert_clean(&[])?;
    Ok(())
}

/// A volume whose place leads out of the root shows nothing of the host and is mounted nowhere there (CVE-2022-23648).
#[test]
fn volumes_that_lead_out_stay_inside() -> Result<()> {
    let world = World::new()?;
    let outside = world.dir().join("outside");
    std::fs::create_dir(&outside)?;
    std::fs::write(outside.join("key"), "of the host")?;
    let path = outside.display().to_string();
    for (name, members, volume) in [
        ("volume-dots", "d('v')", format!("/v/{}{}", "../".repeat(30), &path[1..])),
        ("volume-link", "l('v','/')", format!("/v{path}")),
        ("volume-up", "l('v','../../../../../..')", format!("/v{path}")),
    ] {
        image_of(&world, name, members)?;
        let tag = format!("{}:x", world.dir().join(name).join("layout").display());
        run(Command::new("umoci").args(["config", "--image", &tag, "--config.volume", &volume]))?;
        let image = world.push(&format!("oci:{tag}"), &format!("{name}:y"))?;
        for place in [&path, &volume] {
            let seen = world.tare(&["run", "--rm", &image, "cat", &format!("{place}/key")])?;
            assert!(seen.code != 0 && !seen.out.contains("of the host"), "{name}: {seen:?}");
        }
        let _refused_or_confined =
            world.tare(&["run", "--rm", &image, "sh", "-c", &format!("echo x > {path}/new")])?;
        let names: Vec<_> =
            std::fs::read_dir(&outside)?.map(|entry| entry.map(|entry| entry.file_name())).collect();
        assert_eq!(names.len(), 1, "{name}: {names:?}");
        assert_eq!(std::fs::read_to_string(outside.join("key"))?, "of the host", "{name}");
        world.assert_clean(&[])?;
    }
    Ok(())
}

/// A mount is told its source as text. A name of an image that is none must not become another one, which the image has as a link
/// to a file of the host (class of CVE-2024-1753).
#[test]
fn a_mount_from_an_image_shows_nothing_of_the_host() -> Result<()> {
    let world = World::new()?;
    let outside = world.dir().join("outside");
    std::fs::create_dir(&outside)?;
    std::fs::write(outside.join("key"), "of the host")?;
    let out = outside.display();
    let members = format!(
        "f('b\\udcff',b'of the image'); l('b\\ufffd','{out}/key'); l('a','b\\udcff')\n\
         d('d\\udcff'); f('d\\udcff/key',b'of the image'); l('d\\ufffd','{out}'); l('e','d\\udcff')"
    );
    let image = image_of(&world, "no-text", &members)?;
    let context = world.dir().join("context");
    std::fs::create_dir(&context)?;
    for (source, seen) in [("/a", "/m"), ("/e/key", "/m"), ("/e", "/m/key")] {
        let mount = format!("--mount=type=bind,from={image},source={source},target=/m");
        std::fs::write(context.join("Dockerfile"), format!("FROM {image}\nRUN {mount} cat {seen}\n"))?;
        let built = world.tare(&["build", "--progress", "plain", &context.display().to_string()])?;
        let told = format!("{}{}", built.out, built.err);
        assert!(!told.contains("of the host"), "{source}: {built:?}");
        assert!(built.code != 0 || told.contains("of the image"), "{source}: {built:?}");
    }
    world.assert_clean(&[])?;
    Ok(())
}
