//! Builds whose files find no room: as they arrive, are fetched, are unpacked, and as the image is written down.

use std::process::Command;

use anyhow::{Result, ensure};
use tare_tests::{Served, capture, capture_with_input};

use super::site::Site;

/// What is left free for files of some kilobytes.
const LITTLE: [u64; 7] = [0, 8 << 10, 64 << 10, 200 << 10, 400 << 10, 1 << 20, 2 << 20];
/// What is left free for a file of [`LARGE`] bytes, and what is made of it.
pub(super) const MUCH: [u64; 7] = [0, 64 << 10, 1 << 20, 5 << 20, 9 << 20, 14 << 20, 22 << 20];
pub(super) const LARGE: usize = 8 << 20;

/// Bytes that no archive makes smaller.
pub(super) fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(&mut next).take(bytes).collect()
}

#[test]
fn a_context_that_finds_no_room_is_refused_in_words() -> Result<()> {
    let site = Site::new()?;
    for number in 0..40 {
        site.file(&format!("many/{number}"), noise(5000))?;
    }
    site.dockerfile("FROM IMAGE\nCOPY many/7 /f\n")?;
    site.build_with(&LITTLE, None, || site.build(&["-q"]))?;
    assert_eq!(site.shell("stat -c %s /f")?, "5000");
    site.forget()?;
    site.file("large", noise(LARGE))?;
    site.dockerfile("FROM IMAGE\nCOPY large /f\n")?;
    site.build_with(&MUCH, Some("2 | COPY large"), || site.build(&[]))?;
    assert_eq!(site.shell("stat -c %s /f")?, LARGE.to_string());
    site.forget()?;
    site.build_with(&MUCH, None, || site.docker_build(&[]))
}

#[test]
fn a_context_out_of_a_pipe_that_finds_no_room_is_refused_in_words() -> Result<()> {
    let site = Site::new()?;
    site.file("large", noise(LARGE))?;
    site.dockerfile("FROM IMAGE\nCOPY large /f\n")?;
    for compress in ["cat", "gzip -1", "zstd -q"] {
        let archive = site.beside("context.tar");
        let pack = format!("tar -C {} -c . | {compress} > {}", site.directory().display(), archive.display());
        capture(Command::new("sh").args(["-c", &pack]))?.ok();
        let archive = std::fs::read(archive)?;
        site.build_with(&MUCH[1..6], None, || capture_with_input(site.build_command()?.arg("-"), &archive))?;
        assert_eq!(site.shell("stat -c %s /f")?, LARGE.to_string(), "{compress}");
        site.forget()?;
    }
    Ok(())
}

#[test]
fn a_step_that_fills_the_disk_is_said_to_and_leaves_room_for_the_next() -> Result<()> {
    let site = Site::new()?;
    site.file("large", noise(LARGE / 2))?;
    let run = format!("RUN dd if=/dev/urandom of=/f bs=64k count={}\n", LARGE >> 17);
    for (text, place) in [
        // It fits as a tree before it fits as a tree and its archive.
        (run, "2 | RUN dd"),
        ("COPY large /one\nRUN cp /one /f\n".to_owned(), "3 | RUN cp"),
    ] {
        site.dockerfile(&format!("FROM IMAGE\n{text}"))?;
        site.build_with(&MUCH[2..], Some(place), || site.build(&[]))?;
        assert_eq!(site.shell("stat -c %s /f")?, (LARGE / 2).to_string());
        site.forget()?;
    }
    Ok(())
}

#[test]
fn what_add_fetches_or_unpacks_without_room_is_said_in_its_place() -> Result<()> {
    let site = Site::new()?;
    let served = site.beside("served");
    std::fs::create_dir_all(&served)?;
    std::fs::write(served.join("large"), noise(LARGE))?;
    let _web = Served::web(&site.small.world, &served)?;
    site.dockerfile("FROM IMAGE\nADD http://127.0.0.1:8000/large /f\n")?;
    site.build_with(&MUCH, Some("2 | ADD http"), || site.build(&[]))?;
    assert_eq!(site.shell("stat -c %s /f")?, LARGE.to_string());
    site.forget()?;
    let tree = site.beside("tree");
    std::fs::create_dir_all(&tree)?;
    std::fs::write(tree.join("f"), noise(LARGE / 2))?;
    let packed = site.directory().join("tree.tgz");
    capture(Command::new("tar").arg("-czf").arg(&packed).arg("-C").arg(&tree).arg("."))?.ok();
    std::fs::copy(&packed, served.join("tree.tgz"))?;
    for text in ["ADD tree.tgz /\n", "ADD --unpack=true http://127.0.0.1:8000/tree.tgz /\n"] {
        site.dockerfile(&format!("FROM IMAGE\n{text}"))?;
        site.build_with(&MUCH, Some("2 | ADD"), || site.build(&[]))?;
        assert_eq!(site.shell("stat -c %s /f")?, (LARGE / 2).to_string());
        site.forget()?;
    }
    Ok(())
}

#[test]
fn a_repository_that_finds_no_room_is_refused_in_words() -> Result<()> {
    let site = Site::new()?;
    let all = site.beside("repositories");
    let work = all.join("app.git");
    std::fs::create_dir_all(&work)?;
    std::fs::write(work.join("large"), noise(LARGE))?;
    std::fs::write(work.join("Dockerfile"), site.text("FROM IMAGE\nCOPY large /f\n"))?;
    let git = "git init -q -b main && git add . && git -c user.name=t -c user.email=t@t commit -q -m one";
    capture(Command::new("sh").args(["-c", git]).current_dir(&work))?.ok();
    let _server = Served::git(&site.small.world, &all, "app.git")?;
    let address = "git://127.0.0.1/app.git";
    site.build_with(&MUCH, None, || capture(site.build_command()?.arg(address)))?;
    assert_eq!(site.shell("stat -c %s /f")?, LARGE.to_string());
    site.forget()?;
    site.dockerfile(&format!("FROM IMAGE\nADD {address} /\n"))?;
    site.build_with(&MUCH, Some("2 | ADD git"), || site.build(&[]))?;
    assert_eq!(site.shell("stat -c %s /large")?, LARGE.to_string());
    Ok(())
}

#[test]
fn what_is_pushed_once_it_is_built_is_pushed_whole_or_not_at_all() -> Result<()> {
    const NAME: &str = "127.0.0.1:5000/pushed:v1";
    let site = Site::new()?;
    site.file("large", noise(LARGE / 4))?;
    site.dockerfile("FROM IMAGE\nCOPY large /f\n")?;
    let small = &site.small;
    let build =
        || capture(small.world.tare_command()?.args(["build", "--push", "-t", NAME]).arg(site.directory()));
    small.try_with(
        (&small.disk, &[0, 64 << 10, 1 << 20, 3 << 20, 5 << 20, 6 << 20, 9 << 20]),
        build,
        |ran| {
            // What was built and could not be pushed is the client's to keep.
            let made = !small.world.tare(&["images", "-q", NAME])?.ok().is_empty();
            ensure!(made || ran.code != 0, "it is nowhere: {ran:?}");
            if made {
                small.world.tare(&["rmi", NAME])?.ok();
            }
            site.forget()
        },
    )?;
    build()?.ok();
    small.world.tare(&["rmi", NAME])?.ok();
    small.world.tare(&["pull", "-q", NAME])?.ok();
    assert_eq!(
        small.world.tare(&["run", "--rm", NAME, "stat", "-c", "%s", "/f"])?.ok(),
        (LARGE / 4).to_string()
    );
    Ok(())
}
