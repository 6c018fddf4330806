use anyhow::Result;
use tare_tests::{World, until};

/// The main job: a real image of a real distribution from a real registry, by each client.
#[test]
fn a_debian_image_is_pulled_run_and_described() -> Result<()> {
    let world = World::new()?;
    let image = world.push_debian()?;
    for (client, run) in world.clients() {
        let pulled = run(&["pull", &image])?;
        assert!(pulled.ok().contains(&image), "{client}: {pulled:?}");
        let system = run(&["run", "--rm", &image, "cat", "/etc/os-release"])?;
        assert!(system.ok().contains("bookworm"), "{client}: {system:?}");
        let python = run(&["run", "--rm", &image, "python3", "-c", "print(6 * 7)"])?;
        assert_eq!(python.ok(), "42", "{client}");
        let listed = run(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?;
        assert_eq!(listed.ok(), image, "{client}");
        let layers = run(&[
            "inspect",
            "--format",
            "{{len .RootFS.Layers}} {{index .Config.Cmd 0}} {{.Config.StopSignal}}",
            &image,
        ])?;
        assert_eq!(layers.ok(), "3 nginx SIGQUIT", "{client}");
        assert!(run(&["history", "-q", &image])?.ok().lines().count() >= 3, "{client}");
        let again = run(&["pull", &image])?;
        assert!(again.ok().contains("Image is up to date"), "{client}: {again:?}");
    }
    Ok(())
}

#[test]
fn an_image_stays_without_the_names_that_are_taken_from_it() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    world.tare(&["pull", "-q", &image])?.ok();
    let id = world.tare(&["inspect", "--format", "{{.Id}}", &image])?.ok().to_owned();
    for name in ["mine/box:one", "mine/box:two", "mine/box"] {
        world.tare(&["tag", &image, name])?.ok();
    }
    assert_eq!(world.tare(&["untag", &image, "mine/box:two", "mine/box"])?.ok(), "");
    let names = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
    let mut left = world.docker(&names)?.ok().lines().map(str::to_owned).collect::<Vec<_>>();
    left.sort();
    assert_eq!(left, [image.as_str(), "mine/box:one"]);
    let other = world.tare(&["image", "untag", "mine/box:one", "your/box"])?;
    assert_eq!(other.fails(1), "tare: your/box:latest is no name of the image mine/box:one");
    world.tare(&["untag", &id])?.ok();
    assert_eq!(world.docker(&names)?.ok(), "<none>:<none>");
    assert_eq!(world.docker(&["run", "--rm", &id, "echo", "still here"])?.ok(), "still here");
    assert!(world.docker(&["image", "prune", "-f"])?.ok().contains(&id));
    Ok(())
}

#[test]
fn tags_name_and_unname_an_image_and_the_last_one_deletes_it() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        run(&["pull", "-q", &image])?.ok();
        run(&["tag", &image, "mine/box:one"])?.ok();
        assert_eq!(
            run(&["images", "-q"])?.ok().lines().collect::<std::collections::BTreeSet<_>>().len(),
            1,
            "{client}"
        );
        let untagged = run(&["rmi", &image])?;
        assert!(
            untagged.ok().contains("Untagged") && !untagged.out.contains("Deleted"),
            "{client}: {untagged:?}"
        );
        run(&["create", "--name", "keeper", "mine/box:one", "true"])?.ok();
        let refused = run(&["rmi", "mine/box:one"])?;
        assert!(
            refused.fails(1).contains("keeper") || refused.err.contains("conflict"),
            "{client}: {refused:?}"
        );
        run(&["rm", "keeper"])?.ok();
        let deleted = run(&["rmi", "mine/box:one"])?;
        assert!(deleted.ok().contains("Deleted: sha256:"), "{client}: {deleted:?}");
        assert_eq!(run(&["images", "-q"])?.ok(), "", "{client}");
    }
    Ok(())
}

#[test]
fn what_no_registry_has_is_said_in_a_line() -> Result<()> {
    let world = World::new()?;
    for (client, run) in world.clients() {
        let missing = run(&["pull", "127.0.0.1:5000/no/such:thing"])?;
        assert!(missing.fails(1).contains("not found"), "{client}: {missing:?}");
        let nobody = run(&["pull", "127.0.0.1:1/a:b"])?;
        assert!(nobody.fails(1).contains("refused"), "{client}: {nobody:?}");
        let absent = run(&["run", "--pull", "never", "127.0.0.1:5000/no/such:thing"])?;
        assert!(absent.fails(125).contains("No such image"), "{client}: {absent:?}");
        let bad = run(&["run", "Upper/Case"])?;
        assert!(bad.fails(125).contains("must be lowercase"), "{client}: {bad:?}");
    }
    Ok(())
}

#[test]
fn documents_of_images_are_those_of_the_version_that_was_asked_for() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    world.docker(&["pull", "-q", &image])?.ok();
    world.docker(&["create", "--name", "box", &image, "true"])?.ok();
    let get = |path: String| -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&world.api("GET", &path, None)?.1)?)
    };
    for (minor, fields, descriptor, containers) in
        [(47, true, false, -1), (49, true, true, -1), (50, false, true, -1), (51, false, true, 1)]
    {
        let found = get(format!("/v1.{minor}/images/{image}/json"))?;
        assert_eq!(found["Config"].get("Hostname").is_some(), fields, "1.{minor}: {found}");
        assert_eq!(found["Config"]["Env"][0], "PATH=/bin", "1.{minor}: {found}");
        assert_eq!(found.get("Descriptor").is_some(), descriptor, "1.{minor}: {found}");
        let listed = get(format!("/v1.{minor}/images/json"))?;
        assert_eq!(listed[0]["Containers"], containers, "1.{minor}: {listed}");
    }
    world.docker(&["commit", "box"])?.ok();
    for (minor, names) in [(42, serde_json::json!(["<none>:<none>"])), (43, serde_json::json!([]))] {
        let listed = get(format!("/v1.{minor}/images/json?filters=%7B%22dangling%22:%5B%22true%22%5D%7D"))?;
        assert_eq!(listed[0]["RepoTags"], names, "1.{minor}: {listed}");
    }
    Ok(())
}

#[test]
fn names_are_filtered_by_patterns_as_docker_reads_them() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    world.docker(&["pull", "-q", &image])?.ok();
    for tag in ["v1", "v2", "v3"] {
        world.docker(&["tag", &image, &format!("box:{tag}")])?.ok();
    }
    for (client, run) in world.clients() {
        let listed = run(&["images", "--format", "{{.Tag}}", "--filter", "reference=box:v[12]"])?;
        assert_eq!(listed.ok().lines().collect::<std::collections::BTreeSet<_>>().len(), 2, "{client}");
        let refused = run(&["images", "--filter", "reference=box:["])?;
        assert!(refused.fails(1).contains("syntax error in pattern"), "{client}: {refused:?}");
        let refused = run(&["tag", &image, "sha256"])?;
        assert!(refused.fails(1).contains("ambiguous tag"), "{client}: {refused:?}");
    }
    Ok(())
}

#[test]
fn what_happens_to_images_is_told_with_their_labels() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    for (client, run) in world.clients() {
        run(&["pull", "-q", &image])?.ok();
        run(&["create", "--name", client, &image, "true"])?.ok();
        let made = format!("made-{client}");
        run(&["commit", "-c", &format!("LABEL by={client}"), client, &made])?.ok();
        run(&["tag", &made, &format!("{made}:2")])?.ok();
        run(&["image", "prune", "-f"])?.ok();
        let events = [
            "events",
            "--since",
            "10m",
            "--until",
            "0s",
            "--format",
            "{{.Action}} {{json .Actor.Attributes}}",
        ];
        let label = format!("label=by={client}");
        let labelled = [&events[..], &["--filter", &label]].concat();
        // Docker's client asks for what was before this second.
        until("the events", || Ok(run(&labelled)?.ok().lines().count() == 3))?;
        let told = run(&labelled)?;
        let words: Vec<&str> = told.ok().lines().map(|line| line.split(' ').next().unwrap_or(line)).collect();
        assert_eq!(words, ["create", "tag", "tag"], "{client}: {told:?}");
        assert!(
            told.out.contains(&format!("{{\"by\":\"{client}\",\"name\":\"{made}:2\"}}")),
            "{client}: {told:?}"
        );
        let told = run(&[&events[..], &["--filter", "type=image", "--filter", "event=prune"]].concat())?;
        assert!(told.ok().contains("{\"reclaimed\":\"0\"}"), "{client}: {told:?}");
    }
    Ok(())
}
