//! Registries of all sorts: our own, one that wants to see a certificate, one that only its mirror answers for.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use tare_tests::{World, binaries, capture, until};

/// A server that a test started.
pub(crate) struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a server until the value is dropped; it is there when it answers on its port.
pub(crate) fn served(world: &World, mut command: Command, port: u16) -> Result<Served> {
    let log = std::fs::File::create(world.dir().join(format!("served-{port}.log")))?;
    let command = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let served = Served(command.spawn()?);
    let url = format!("http://127.0.0.1:{port}/v2/");
    until("the registry to answer", || {
        // Any answer will do, also that this is TLS.
        Ok(capture(world.command("curl").args(["-s", "-o", "/dev/null", &url]))?.code != 7)
    })?;
    Ok(served)
}

/// `tare registry serve` on a port of the world.
pub(crate) fn ours(world: &World, port: u16, more: &[&str]) -> Result<Served> {
    let tare = binaries()?.join("tare");
    let mut command = world.command(&tare.to_string_lossy());
    command.args(["registry", "serve", "--addr", &format!("127.0.0.1:{port}"), "--root"]);
    command.arg(world.dir().join(format!("depot-{port}"))).args(more);
    served(world, command, port)
}

#[test]
fn our_registry_is_one_for_every_client() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    let registry = ours(&world, 5001, &[])?;
    for (client, run) in world.clients() {
        let name = format!("127.0.0.1:5001/by/{client}:v1");
        run(&["pull", "-q", &image])?.ok();
        run(&["tag", &image, &name])?.ok();
        run(&["push", "-q", &name])?.ok();
        assert!(run(&["push", &name])?.ok().contains("Layer already exists"), "{client}");
        assert_eq!(digest(&world, &name)?, digest(&world, &image)?, "{client}");
        run(&["rmi", "-f", &image, &name])?.ok();
        run(&["pull", "-q", &name])?.ok();
        assert_eq!(run(&["run", "--rm", &name, "echo", "shipped"])?.ok(), "shipped", "{client}");
        run(&["tag", &name, &format!("127.0.0.1:5001/by/{client}:v2")])?.ok();
        run(&["push", "-a", "-q", &format!("127.0.0.1:5001/by/{client}")])?.ok();
        run(&["rmi", "-f", &name, &format!("127.0.0.1:5001/by/{client}:v2")])?.ok();
        run(&["pull", "-a", "-q", &format!("127.0.0.1:5001/by/{client}")])?.ok();
        // Names of other repositories that the same image has are none of the question.
        let listed = run(&["images", "-q", &format!("127.0.0.1:5001/by/{client}")])?;
        assert_eq!(listed.ok().lines().count(), 2, "{client}: {listed:?}");
        for tag in ["v1", "v2"] {
            run(&["inspect", "--format", "{{.Id}}", &format!("127.0.0.1:5001/by/{client}:{tag}")])?.ok();
        }
        let found = run(&["search", "--format", "{{.Name}}", "127.0.0.1:5001/by"])?;
        assert!(found.ok().contains(&format!("127.0.0.1:5001/by/{client}")), "{client}: {found:?}");
    }
    let (status, body) = world.api("GET", "/distribution/127.0.0.1:5001/by/tare:v1/json", None)?;
    assert!(status == 200 && body.contains("\"architecture\":\"amd64\""), "{status}: {body}");
    let copy = |from: &str, to: &str| {
        let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
        capture(world.command("skopeo").args(["copy", "-q"]).args(plain).args([from, to]))
    };
    let layout = format!("oci:{}:copied", world.dir().join("copied").display());
    copy("docker://127.0.0.1:5001/by/tare:v1", &layout)?.ok();
    copy(&layout, "docker://127.0.0.1:5001/by/skopeo:v1")?.ok();
    assert_eq!(digest(&world, "127.0.0.1:5001/by/skopeo:v1")?, digest(&world, &image)?);
    // Killed, it has what it had.
    drop(registry);
    let _registry = ours(&world, 5001, &[])?;
    assert_eq!(digest(&world, "127.0.0.1:5001/by/skopeo:v1")?, digest(&world, &image)?);
    Ok(())
}

fn digest(world: &World, reference: &str) -> Result<String> {
    let address = format!("docker://{reference}");
    let words = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &address];
    let ran = capture(world.command("skopeo").args(words))?;
    Some(ran.ok().to_owned()).filter(|digest| digest.starts_with("sha256:")).context("no digest")
}

/// An authority, and a certificate of it for 127.0.0.1, for servers and clients alike.
pub(crate) struct Certificates(PathBuf);

impl Certificates {
    pub(crate) fn make(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let script = "set -e
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=authority -addext basicConstraints=critical,CA:TRUE
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout own.key -out own.csr -subj /CN=127.0.0.1
printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n' > own.ext
openssl x509 -req -in own.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out own.crt -days 2 -extfile own.ext";
        capture(Command::new("sh").current_dir(dir).args(["-c", script]))?.ok();
        Ok(Self(dir.to_owned()))
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

/// A world whose daemon has a configuration file, and so a directory of certificates beside it.
pub(crate) fn world_with_certificates() -> Result<(World, PathBuf, Certificates)> {
    let mut world = World::new()?;
    let (conf, made) = (world.dir().join("conf"), Certificates::make(&world.dir().join("made"))?);
    std::fs::create_dir_all(conf.join("certs.d"))?;
    let file = conf.join("daemon.json");
    std::fs::write(&file, "{}")?;
    world.stop_daemon();
    world.start_daemon(&["--config-file", &file.to_string_lossy()])?;
    Ok((world, conf.join("certs.d"), made))
}

#[test]
fn our_registry_over_tls_asks_who_writes() -> Result<()> {
    let (world, _, made) = world_with_certificates()?;
    let image = world.push_busybox()?;
    let passwords = made.file("passwords");
    capture(Command::new("htpasswd").args(["-Bbc", &passwords, "ann", "secret"]))?.ok();
    let (cert, key) = (made.file("own.crt"), made.file("own.key"));
    let who = ["--htpasswd", &passwords, "--anonymous-read"];
    let tls = ["--tls-cert", &cert, "--tls-key", &key];
    let _registry = ours(&world, 5005, &[who.as_slice(), tls.as_slice()].concat())?;
    let curl = |more: &[&str]| {
        capture(world.command("curl").args(["-s", "--max-time", "20", "-o", "/dev/null"]).args(more))
    };
    let url = "https://127.0.0.1:5005/v2/_catalog";
    assert_eq!(curl(&["--cacert", &made.file("ca.crt"), url])?.code, 0);
    assert_eq!(curl(&[url])?.code, 60, "an authority that nobody knows");
    let name = "127.0.0.1:5005/kept:v1";
    for (client, run) in world.clients() {
        run(&["pull", "-q", &image])?.ok();
        run(&["tag", &image, name])?.ok();
        let refused = run(&["push", name])?;
        assert!(refused.code != 0 && refused.err.contains("unauthorized"), "{client}: {refused:?}");
        assert_ne!(run(&["login", "-u", "ann", "-p", "wrong", "127.0.0.1:5005"])?.code, 0, "{client}");
        run(&["login", "-u", "ann", "-p", "secret", "127.0.0.1:5005"])?.ok();
        run(&["push", "-q", name])?.ok();
        run(&["logout", "127.0.0.1:5005"])?.ok();
        assert_ne!(run(&["push", name])?.code, 0, "{client}");
        run(&["rmi", "-f", &image, name])?.ok();
        run(&["pull", "-q", name])?.ok();
        run(&["rmi", "-f", name])?.ok();
    }
    Ok(())
}

/// Told 401, docker's client asks for a name and a password, also where nobody is there who could answer.
#[test]
fn nobody_is_asked_for_a_password_in_a_script() -> Result<()> {
    let world = World::new()?;
    let passwords = world.dir().join("passwords").display().to_string();
    capture(Command::new("htpasswd").args(["-Bbc", &passwords, "ann", "secret"]))?.ok();
    let _registry = ours(&world, 5001, &["--htpasswd", &passwords])?;
    for (client, run) in world.clients() {
        for words in [&["pull", "127.0.0.1:5001/kept:v1"][..], &["pull", "-a", "127.0.0.1:5001/kept"]] {
            let refused = run(words)?;
            assert!(refused.fails(1).contains("no basic auth credentials"), "{client}: {refused:?}");
            assert!(!refused.out.contains("Username"), "{client}: {refused:?}");
        }
    }
    Ok(())
}

#[test]
fn a_registry_that_wants_a_certificate_is_shown_one() -> Result<()> {
    let (world, certs, made) = world_with_certificates()?;
    let image = world.push_busybox()?;
    let config = world.dir().join("strict.yml");
    let text = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:5004\n  tls:\n    certificate: {}\n    key: {}\n    clientcas:\n      - {}\n",
        world.dir().join("strict").display(),
        made.file("own.crt"),
        made.file("own.key"),
        made.file("ca.crt")
    );
    std::fs::write(&config, text)?;
    let mut command = world.command("docker-registry");
    command.arg("serve").arg(&config);
    let _registry = served(&world, command, 5004)?;
    let name = "127.0.0.1:5004/strict:v1";
    world.tare(&["pull", "-q", &image])?.ok();
    world.tare(&["tag", &image, name])?.ok();
    assert_ne!(world.tare(&["push", name])?.code, 0, "nobody comes without a certificate");
    let host = certs.join("127.0.0.1:5004");
    std::fs::create_dir_all(&host)?;
    for (from, to) in [("ca.crt", "ca.crt"), ("own.crt", "client.cert")] {
        std::fs::copy(made.file(from), host.join(to))?;
    }
    let half = world.tare(&["push", name])?;
    assert!(half.fails(1).contains("missing key client.key"), "{half:?}");
    std::fs::copy(made.file("own.key"), host.join("client.key"))?;
    world.tare(&["push", "-q", name])?.ok();
    world.tare(&["rmi", "-f", &image, name])?.ok();
    world.tare(&["pull", "-q", name])?.ok();
    Ok(())
}

#[test]
fn settings_for_registries_are_read_again() -> Result<()> {
    let (world, certs, _) = world_with_certificates()?;
    let image = world.push_busybox()?;
    let _registry = ours(&world, 5005, &[])?;
    let copied = format!("docker://{}", image.replace("5000", "5005"));
    let copy = [
        "copy",
        "-q",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        &format!("docker://{image}"),
        &copied,
    ];
    capture(world.command("skopeo").args(copy))?.ok();
    let file = certs.with_file_name("daemon.json");
    // A registry that nobody answers for, with a mirror that has everything.
    let text = r#"{"registries":{"127.0.0.1:9":{"mirrors":["http://127.0.0.1:5005"]}},"max-concurrent-downloads":1}"#;
    std::fs::write(&file, text)?;
    let there = image.replace("5000", "9");
    assert_ne!(world.tare(&["pull", "-q", &there])?.code, 0);
    hang_up(&world)?;
    until("the settings to count", || Ok(world.tare(&["pull", "-q", &there])?.code == 0))?;
    std::fs::write(&file, r#"{"registries":{"127.0.0.1:9":{"mirrors":["ftp://x"]}}}"#)?;
    hang_up(&world)?;
    until("the refusal to be logged", || Ok(world.daemon().log().contains("is not read again")))?;
    world.tare(&["rmi", "-f", &there])?.ok();
    world.tare(&["pull", "-q", &there])?.ok();
    Ok(())
}

fn hang_up(world: &World) -> Result<()> {
    capture(Command::new("kill").args(["-HUP", &world.daemon().pid().to_string()]))?.ok();
    Ok(())
}

/// A pull whose client has stopped reading goes on, and so do those that wait for its layers.
#[test]
fn a_client_that_does_not_read_holds_nobody_up() -> Result<()> {
    use std::io::Write;
    let world = World::new()?;
    let image = world.push_debian()?;
    let (name, tag) = image.rsplit_once(':').context("a tag")?;
    let mut silent = std::os::unix::net::UnixStream::connect(world.daemon().socket())?;
    write!(
        silent,
        "POST /images/create?fromImage={name}&tag={tag} HTTP/1.1\r\nHost: tare\r\nContent-Length: 0\r\n\r\n"
    )?;
    world.tare(&["pull", "-q", &image])?.ok();
    assert_eq!(world.tare(&["run", "--rm", &image, "echo", "here"])?.ok(), "here");
    drop(silent);
    Ok(())
}
