//! Containers that become images, and the other way round: commit, diff, export, import.

use std::process::{Child, Stdio};

use anyhow::{Context, Result};
use tare_tests::{World, capture, until};

#[test]
fn what_a_container_wrote_is_told_and_becomes_an_image() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        run(&["pull", "-q", &image])?.ok();
        let name = format!("box-{client}");
        let work = "echo new > /new; rm /bin/vi; mkdir -p /srv/deep; echo x > /srv/deep/file; sleep 1000";
        run(&["run", "-d", "--name", &name, "-v", "/volume", "-e", "A=1", &image, "sh", "-c", work])?.ok();
        world.until_inside(&name, "test -e /srv/deep/file")?;
        let diff = run(&["diff", &name])?;
        let expected = ["C /bin", "D /bin/vi", "A /new", "A /srv", "A /srv/deep", "A /srv/deep/file"];
        assert_eq!(diff.ok().lines().collect::<Vec<_>>(), expected, "{client}");

        let made = format!("made/by-{client}:v1");
        let words =
            ["commit", "-a", "Ada", "-m", "a remark", "-c", "ENV B=\"2 3\"", "-c", "CMD [\"cat\", \"/new\"]"];
        let id = run(&[&words[..], &["-c", "LABEL l=m", &name, &made]].concat())?;
        assert!(id.ok().starts_with("sha256:"), "{client}: {id:?}");
        assert_eq!(run(&["inspect", "-f", "{{.State.Status}}", &name])?.ok(), "running", "{client}");
        assert_eq!(run(&["run", "--rm", &made])?.ok(), "new", "{client}");
        let look = "echo $A $B; ls /bin/vi; ls -d /volume";
        assert_eq!(run(&["run", "--rm", &made, "sh", "-c", look])?.out, "1 2 3\n/volume\n", "{client}");
        let told = run(&["image", "inspect", "-f", "{{.Author}} {{.Config.Labels.l}} {{.Comment}}", &made])?;
        assert_eq!(told.ok(), "Ada m a remark", "{client}");
        let history = run(&["history", "--format", "{{.Comment}}", &made])?;
        assert_eq!(history.ok().lines().next(), Some("a remark"), "{client}");
        run(&["rm", "-f", &name])?.ok();

        // It travels like any other.
        let there = format!("127.0.0.1:5000/{made}");
        run(&["tag", &made, &there])?.ok();
        run(&["push", &there])?.ok();
        run(&["rmi", "-f", &made, &there])?.ok();
        assert_eq!(run(&["run", "--rm", "--pull", "always", &there])?.ok(), "new", "{client}");
        run(&["rmi", "-f", &there])?.ok();
    }
    Ok(())
}

#[test]
fn a_tree_is_exported_running_or_stopped_and_imported() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        run(&["pull", "-q", &image])?.ok();
        let name = format!("box-{client}");
        let work = "echo mine > /mine; ln /mine /again; rm /bin/vi; sleep 1000";
        run(&["run", "-d", "--name", &name, &image, "sh", "-c", work])?.ok();
        world.until_inside(&name, "test ! -e /bin/vi")?;
        for state in ["running", "stopped"] {
            let file = world.dir().join(format!("{client}-{state}.tar"));
            let file = file.to_str().context("a path that is text")?;
            run(&["export", "-o", file, &name])?.ok();
            let listed = capture(world.command("tar").args(["-tvf", file]))?;
            assert!(listed.ok().contains("mine link to again"), "{client}: {listed:?}");
            assert!(!listed.ok().contains("bin/vi\n"), "{client}");
            let imported = format!("imported/{client}:{state}");
            let words = ["import", "-m", "by hand", "-c", "CMD [\"cat\", \"/again\"]", file, &imported];
            let id = run(&words)?;
            assert!(id.ok().contains("sha256:"), "{client}: {id:?}");
            assert_eq!(run(&["run", "--rm", &imported])?.ok(), "mine", "{client} {state}");
            let told = run(&["image", "inspect", "-f", "{{.Comment}} {{len .RootFS.Layers}}", &imported])?;
            assert_eq!(told.ok(), "by hand 1", "{client}");
            run(&["stop", "-t", "0", &name])?.ok();
        }
        run(&["rm", "-f", &name])?.ok();
    }
    Ok(())
}

/// A server of plain files, gone with the value.
struct Files(Child);

impl Drop for Files {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_tree_is_imported_from_an_address() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let dir = world.dir().join("served");
    std::fs::create_dir(&dir)?;
    let (plain, packed) = (dir.join("tree.tar"), dir.join("tree.tar.gz"));
    world.tare(&["run", "--name", "box", &image, "sh", "-c", "echo mine > /mine"])?.ok();
    world.tare(&["export", "-o", &plain.display().to_string(), "box"])?.ok();
    let gzip = format!("gzip -c {} > {}", plain.display(), packed.display());
    capture(world.command("sh").args(["-c", &gzip]))?.ok();
    std::fs::write(dir.join("page.html"), "<html>no tar at all</html>")?;
    let bomb = format!("head -c 1200000000 /dev/zero | gzip -c > {}", dir.join("bomb.tar.gz").display());
    capture(world.command("sh").args(["-c", &bomb]))?.ok();
    let mut server = world.command("python3");
    server.args(["-m", "http.server", "--bind", "127.0.0.1", "8000", "-d"]).arg(&dir);
    let _server = Files(server.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let fetch =
        |name: &str| capture(world.command("curl").args(["-sfI", &format!("http://127.0.0.1:8000/{name}")]));
    until("the server", || Ok(fetch("page.html")?.code == 0))?;
    for (client, run) in world.clients() {
        for (number, file) in ["tree.tar", "tree.tar.gz"].iter().enumerate() {
            let (name, address) =
                (format!("fetched/{client}:{number}"), format!("http://127.0.0.1:8000/{file}"));
            let told = run(&["import", "-c", "CMD [\"cat\", \"/mine\"]", &address, &name])?;
            assert!(told.ok().contains("sha256:"), "{client}: {told:?}");
            assert_eq!(run(&["run", "--rm", &name])?.ok(), "mine", "{client} {address}");
            let comment = run(&["image", "inspect", "-f", "{{.Comment}}", &name])?;
            assert!(comment.ok().starts_with("Imported from "), "{client}: {comment:?}");
        }
        let before = run(&["images", "-aq"])?.ok().to_owned();
        for (file, why) in
            [("none.tar", "404"), ("page.html", "no sound tar archive"), ("bomb.tar.gz", "refused")]
        {
            let refused = run(&["import", &format!("http://127.0.0.1:8000/{file}"), "bad:1"])?;
            assert!(refused.fails(1).contains(why), "{client} {file}: {refused:?}");
        }
        let nobody = run(&["import", "http://ada:s3cret@127.0.0.1:1/tree.tar", "bad:1"])?;
        assert!(
            nobody.fails(1).contains("refused") && !nobody.err.contains("s3cret"),
            "{client}: {nobody:?}"
        );
        assert_eq!(run(&["images", "-aq"])?.ok(), before, "{client}: nothing was made");
    }
    Ok(())
}

#[test]
fn what_cannot_be_done_is_said_in_a_line() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    world.tare(&["pull", "-q", &image])?.ok();
    world.tare(&["create", "--name", "box", &image, "true"])?.ok();
    let garbage = world.dir().join("garbage.tar");
    std::fs::write(&garbage, [7; 4096])?;
    let garbage = garbage.to_str().context("a path that is text")?;
    for (client, run) in world.clients() {
        for (words, expected) in [
            (&["diff", "nosuch"][..], "No such container: nosuch"),
            (&["export", "-o", "/dev/nosuch/file", "nosuch"], "such"),
            (&["commit", "nosuch"], "No such container: nosuch"),
            (&["commit", "-c", "RUN x", "box"], "RUN is not a valid change command"),
            (&["commit", "-c", "EXPOSE http", "box"], "Invalid containerPort: http"),
            (&["import", garbage], "checksum"),
        ] {
            let ran = run(words)?;
            assert!(ran.fails(1).contains(expected), "{client} {words:?}: {ran:?}");
        }
        assert_eq!(run(&["images", "-q"])?.ok().lines().count(), 1, "{client}: nothing was made");
    }
    Ok(())
}
