use anyhow::Result;
use tare_tests::{World, capture};

#[test]
fn what_a_container_writes_never_reaches_the_image_or_another() -> Result<()> {
    let world = World::new()?;
    let image = world.push_debian()?;
    world.tare(&["pull", "-q", &image])?.ok();
    let used = || -> Result<u64> {
        let ran = capture(std::process::Command::new("du").args(["-skx"]).arg(world.dir().join("data")))?;
        // It complains where overlayfs removes a file of its own meanwhile, and has counted the rest.
        Ok(ran.out.split_whitespace().next().and_then(|n| n.parse().ok()).expect("kilobytes"))
    };
    let before = used()?;
    for name in ["c1", "c2", "c3"] {
        world
            .tare(&[
                "run",
                "-d",
                "--name",
                name,
                &image,
                "sh",
                "-c",
                "echo mine > /marker; rm -rf /usr/share/doc; sleep 600",
            ])?
            .ok();
    }
    let grown = used()? - before;
    assert!(grown < 1500, "three containers took {grown} KiB");
    world.tare(&["exec", "c1", "sh", "-c", "head -c 5000000 /dev/zero > /big; ls /marker"])?.ok();
    assert_eq!(world.tare(&["exec", "c2", "ls", "/big"])?.code, 2);
    assert_eq!(world.tare(&["run", "--rm", &image, "ls", "/marker"])?.code, 2);
    let documents = world.tare(&["run", "--rm", &image, "sh", "-c", "ls /usr/share/doc | wc -l"])?;
    assert!(documents.ok().parse::<u32>()? > 10);
    Ok(())
}

#[test]
fn binds_volumes_and_tmpfs_hold_what_they_should() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let host = world.dir().join("shared");
    std::fs::create_dir_all(&host)?;
    std::fs::write(host.join("given"), "from the host\n")?;
    let bind = format!("{}:/mnt", host.display());
    let read_only = format!("type=bind,source={},target=/mnt,readonly", host.display());
    for (client, run) in world.clients() {
        assert_eq!(
            run(&["run", "--rm", "-v", &bind, &image, "sh", "-c", "cat /mnt/given; echo back > /mnt/back"])?
                .ok(),
            "from the host"
        );
        assert_eq!(std::fs::read_to_string(host.join("back"))?, "back\n", "{client}");
        let refused = run(&["run", "--rm", "--mount", &read_only, &image, "touch", "/mnt/x"])?;
        assert!(refused.fails(1).contains("Read-only"), "{client}: {refused:?}");
        run(&["run", "--rm", "-v", "kept:/data", &image, "sh", "-c", "echo again > /data/file"])?.ok();
        assert_eq!(
            run(&["run", "--rm", "--mount", "type=volume,src=kept,dst=/data", &image, "cat", "/data/file"])?
                .ok(),
            "again"
        );
        assert!(run(&["volume", "ls", "-q"])?.ok().contains("kept"), "{client}");
        run(&["volume", "rm", "kept"])?.ok();
        // A new named volume begins with what the image has at that place.
        assert_eq!(
            run(&["run", "--rm", "-v", "fresh:/var/www", &image, "cat", "/var/www/index.html"])?.ok(),
            "weighs nothing",
            "{client}"
        );
        run(&["create", "--name", "holder", "-v", "fresh:/x", &image, "true"])?.ok();
        assert!(run(&["volume", "rm", "fresh"])?.fails(1).contains("in use"), "{client}");
        run(&["rm", "holder"])?.ok();
        run(&["volume", "rm", "fresh"])?.ok();
        let tmp = run(&[
            "run",
            "--rm",
            "--tmpfs",
            "/scratch:size=1m",
            &image,
            "sh",
            "-c",
            "dd if=/dev/zero of=/scratch/x bs=1M count=2",
        ])?;
        assert!(tmp.code != 0 && tmp.err.contains("No space"), "{client}: {tmp:?}");
        assert_eq!(run(&["run", "--rm", "--read-only", &image, "touch", "/x"])?.code, 1, "{client}");
        run(&["run", "--name", "anon", "-v", "/anonymous", &image, "true"])?.ok();
        assert_eq!(run(&["volume", "ls", "-q"])?.ok().len(), 64, "{client}");
        run(&["rm", "-v", "anon"])?.ok();
        assert_eq!(run(&["volume", "ls", "-q"])?.ok(), "", "{client}");
    }
    Ok(())
}

#[test]
fn a_creation_that_fails_leaves_no_volume() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        run(&["pull", "-q", &image])?.ok();
        let missing = "type=bind,source=/no/such/directory,target=/z";
        let ran = run(&["create", "-v", "/a", "-v", "/b", "--mount", missing, &image, "true"])?;
        assert!(ran.code != 0 && ran.err.contains("does not exist"), "{client}: {ran:?}");
        assert_eq!(run(&["volume", "ls", "-q"])?.ok(), "", "{client}");
    }
    Ok(())
}
