use anyhow::{Context, Result};
use tare_tests::{World, capture};

/// The same bytes go out that came in, and come back from where they were sent.
#[test]
fn an_image_is_pushed_under_another_name_and_runs_from_there() -> Result<()> {
    let world = World::new()?;
    let image = world.push_debian()?;
    for (client, run) in world.clients() {
        let other = format!("127.0.0.1:5000/shipped/by-{client}:v2");
        run(&["pull", "-q", &image])?.ok();
        run(&["tag", &image, &other])?.ok();
        let pushed = run(&["push", &other])?;
        let words = pushed.ok();
        assert!(words.contains(&format!("[127.0.0.1:5000/shipped/by-{client}]")), "{client}: {words}");
        // The registry has these layers in the repository that they were pulled from.
        assert!(words.contains("Mounted from web"), "{client}: {words}");
        assert!(words.contains("v2: digest: sha256:"), "{client}: {words}");
        assert_eq!(digest(&world, &other)?, digest(&world, &image)?, "{client}");
        let again = run(&["push", &other])?;
        assert!(again.ok().contains("Layer already exists"), "{client}: {again:?}");
        run(&["rmi", "-f", &image, &other])?.ok();
        run(&["pull", "-q", &other])?.ok();
        let ran = run(&["run", "--rm", &other, "python3", "-c", "print(6 * 7)"])?;
        assert_eq!(ran.ok(), "42", "{client}");
        run(&["rmi", &other])?.ok();
    }
    Ok(())
}

#[test]
fn what_cannot_be_pushed_is_said_in_a_line() -> Result<()> {
    let mut world = World::new()?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        let missing = run(&["push", "127.0.0.1:5000/no/such:thing"])?;
        assert!(missing.fails(1).contains("does not exist locally"), "{client}: {missing:?}");
        run(&["pull", "-q", &image])?.ok();
        run(&["tag", &image, "127.0.0.1:1/bb:v1"])?.ok();
        let nobody = run(&["push", "127.0.0.1:1/bb:v1"])?;
        assert!(nobody.fails(1).contains("refused"), "{client}: {nobody:?}");
    }
    world.stop_registry();
    for (client, run) in world.clients() {
        let gone = run(&["push", &image])?;
        assert!(gone.fails(1).contains("refused"), "{client}: {gone:?}");
    }
    Ok(())
}

#[test]
fn all_tags_of_a_repository_are_pushed_when_asked_for() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        let name = format!("127.0.0.1:5000/many/{client}");
        run(&["pull", "-q", &image])?.ok();
        for tag in ["one", "two"] {
            run(&["tag", &image, &format!("{name}:{tag}")])?.ok();
        }
        run(&["push", "--all-tags", &name])?.ok();
        for tag in ["one", "two"] {
            assert_eq!(digest(&world, &format!("{name}:{tag}"))?, digest(&world, &image)?, "{client}");
        }
    }
    Ok(())
}

/// The digest that skopeo reads under a name in the registry.
fn digest(world: &World, reference: &str) -> Result<String> {
    let address = format!("docker://{reference}");
    let words = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &address];
    let ran = capture(world.command("skopeo").args(words))?;
    Some(ran.ok().to_owned()).filter(|digest| digest.starts_with("sha256:")).context("no digest")
}
