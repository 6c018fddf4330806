//! Debian's `docker-registry`, filled by `skopeo`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tare_image::{LayerCompression, Progress, PullRequest, PushRequest, Pushed, Result};
use tare_model::{HasKind, Kind, Platform, Reference};
use tare_registry::Credentials;
use tempfile::TempDir;

use crate::Room;
use crate::sample::{Layer, Sample, noise};
use crate::several::{OTHERS, Several};

/// A registry process; it ends with its value.
struct Running {
    process: Child,
    port: u16,
    directory: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Running {
    /// Starts a registry with these lines added to its configuration; `None` where it is not installed.
    fn start(auth: &str, tls: &str) -> Option<Self> {
        for tool in ["docker-registry", "skopeo", "htpasswd", "openssl"] {
            if !Path::new("/usr/bin").join(tool).exists() {
                println!("skipped: needs {tool}");
                return None;
            }
        }
        let directory = TempDir::new().unwrap();
        let at = directory.path().display();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (auth, tls) = (auth.replace("@", &at.to_string()), tls.replace("@", &at.to_string()));
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {at}/data\n{auth}http:\n  addr: 127.0.0.1:{port}\n{tls}"
        );
        std::fs::write(directory.path().join("config.yml"), config).unwrap();
        prepare(directory.path());
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(directory.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = Self { process, port, directory };
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "the registry does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(running)
    }

    /// Pushes an image the way people do.
    fn push(&self, sample: &Sample, name: &str, login: &str, format: &str) {
        let layout: PathBuf = self.directory.path().join("layout");
        sample.write_layout(&layout);
        self.copy(&layout, name, login, &["--format", format]);
    }

    fn copy(&self, layout: &Path, name: &str, login: &str, options: &[&str]) {
        let mut command = Command::new("skopeo");
        command.args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"]).args(options);
        if !login.is_empty() {
            command.args(["--dest-creds", login]);
        }
        let status = command
            .arg(format!("oci:{}:latest", layout.display()))
            .arg(format!("docker://127.0.0.1:{}/{name}", self.port))
            .status()
            .unwrap();
        assert!(status.success());
    }

    fn name(&self, rest: &str) -> Reference {
        format!("127.0.0.1:{}/{rest}", self.port).parse().unwrap()
    }
}

/// A password file for ada, and a certificate that nobody vouches for.
fn prepare(directory: &Path) {
    let htpasswd = Command::new("htpasswd").args(["-Bbn", "ada", "s3cret"]).output().unwrap();
    std::fs::write(directory.join("htpasswd"), htpasswd.stdout).unwrap();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=registry", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(directory)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
}

fn sample() -> Sample {
    Sample::new(&[
        Layer::gzip(&[("etc/base", &noise(1, 300_000))]),
        Layer::gzip(&[("usr/bin/tool", &noise(2, 5_000_000))]),
        Layer::gzip(&[("srv/page", b"hello")]),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_pushed_by_skopeo_is_pulled() {
    let Some(registry) = Running::start("", "") else { return };
    let (room, sample) = (Room::open().await, sample());
    registry.push(&sample, "web/site:v1", "", "oci");
    registry.push(&sample, "web/site:docker", "", "v2s2");
    let pulled = room.pull(&registry.name("web/site:v1")).await.unwrap();
    assert_eq!((pulled.id, pulled.digest), (sample.id(), sample.digest()));
    let image = room.images.resolve(&registry.name("web/site:v1").to_string()).unwrap();
    assert_eq!(room.file(&image, "/srv/page").unwrap(), b"hello");
    assert_eq!(room.file(&image, "/etc/base").unwrap(), noise(1, 300_000));

    // The same layers in a manifest of Docker's form, and by digest.
    room.pull(&registry.name("web/site:docker")).await.unwrap();
    let by_digest = registry.name("web/site").with_digest(sample.digest());
    assert!(room.pull(&by_digest).await.unwrap().up_to_date);

    let error = room.pull(&registry.name("web/site:nosuch")).await.unwrap_err();
    let words =
        format!("manifest for 127.0.0.1:{}/web/site:nosuch not found: manifest unknown: ", registry.port);
    assert!(error.to_string().starts_with(&words), "{error}");
    assert_eq!(room.pull(&registry.name("nosuch:v1")).await.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_password_and_a_certificate_of_its_own_is_pulled_from() {
    let auth = "auth:\n  htpasswd:\n    realm: here\n    path: @/htpasswd\n";
    let tls = "  tls:\n    certificate: @/cert.pem\n    key: @/key.pem\n";
    let Some(registry) = Running::start(auth, tls) else { return };
    let (room, sample) = (Room::open().await, sample());
    registry.push(&sample, "web:v1", "ada:s3cret", "oci");
    let login = |password: &str| {
        Some(Credentials { username: "ada".into(), password: password.into(), ..Credentials::default() })
    };
    let request = |credentials| PullRequest {
        reference: registry.name("web:v1"),
        platform: None,
        all_platforms: false,
        credentials,
    };
    for (refused, kind, words) in
        [(None, Kind::Forbidden, "no basic auth"), (login("wrong"), Kind::Unauthorized, "unauthorized: ")]
    {
        let error = room.request(request(refused)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().starts_with(words), "{error}");
    }
    room.request(request(login("s3cret"))).await.unwrap();
    assert_eq!(room.images.list().unwrap().len(), 1);
}

async fn push(room: &Room, name: &Reference, credentials: Option<Credentials>) -> Result<Vec<Pushed>> {
    let told = room.told.clone();
    told.lock().unwrap().clear();
    let request = PushRequest { reference: name.clone(), platform: None, compression: None, credentials };
    room.images.push(request, move |progress| told.lock().unwrap().push(progress)).await
}

/// What was told of a layer last.
fn last_word(room: &Room, layer: &Layer) -> String {
    let id = crate::sample::sha256(&layer.blob).short();
    let told = room.told.lock().unwrap();
    let words = told.iter().rev().find_map(|progress| match progress {
        Progress::Layer { id: about, state } if *about == id => Some(state.as_str().to_owned()),
        Progress::Status { id: Some(about), text } if *about == id => Some(text.clone()),
        _ => None,
    });
    words.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pushed_as_it_came_and_its_layers_are_mounted_or_sent_once() {
    let (Some(registry), Some(other)) = (Running::start("", ""), Running::start("", "")) else { return };
    let (room, sample) = (Room::open().await, sample());
    registry.push(&sample, "web:v1", "", "oci");
    room.pull(&registry.name("web:v1")).await.unwrap();
    let source = registry.name("web:v1").to_string();
    for (name, word) in [
        (registry.name("web/copy:v2"), "Mounted from web"),
        (registry.name("web/copy:v3"), "Layer already exists"),
        (other.name("moved/web:v1"), "Pushed"),
    ] {
        room.images.tag(&source, &name).await.unwrap();
        let pushed = push(&room, &name, None).await.unwrap();
        assert_eq!((pushed.len(), pushed[0].digest), (1, sample.digest()), "{name}");
        for layer in &sample.layers {
            assert_eq!(last_word(&room, layer), word, "{name}");
        }
        let told = room.told.lock().unwrap().clone();
        let line = format!("{}: digest: {} size: {}", name.identifier(), sample.digest(), pushed[0].size);
        assert!(told.contains(&Progress::Status { id: None, text: line }), "{told:?}");
        assert_eq!(told.last(), Some(&Progress::Pushed(pushed[0].clone())));
        let fresh = Room::open().await;
        assert_eq!(fresh.pull(&name).await.unwrap().id, sample.id());
        let image = room.images.resolve(&name.with_digest(sample.digest()).to_string()).unwrap();
        assert_eq!(image.id, sample.id());
    }
    // All tags of a repository.
    assert_eq!(push(&room, &registry.name("web/copy"), None).await.unwrap().len(), 2);
    let error = push(&room, &registry.name("web/nosuch:v1"), None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_password_and_a_certificate_of_its_own_is_pushed_to() {
    let auth = "auth:\n  htpasswd:\n    realm: here\n    path: @/htpasswd\n";
    let tls = "  tls:\n    certificate: @/cert.pem\n    key: @/key.pem\n";
    let (Some(source), Some(registry)) = (Running::start("", ""), Running::start(auth, tls)) else { return };
    let (room, sample) = (Room::open().await, sample());
    source.push(&sample, "web:v1", "", "v2s2");
    let digest = room.pull(&source.name("web:v1")).await.unwrap().digest;
    let name = registry.name("web:v1");
    room.images.tag(&source.name("web:v1").to_string(), &name).await.unwrap();
    let login = |password: &str| {
        Some(Credentials { username: "ada".into(), password: password.into(), ..Credentials::default() })
    };
    for (refused, kind) in [(None, Kind::Forbidden), (login("wrong"), Kind::Unauthorized)] {
        let error = push(&room, &name, refused).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    let pushed = push(&room, &name, login("s3cret")).await.unwrap();
    assert_eq!(pushed[0].digest, digest);
}

/// The image stays the one that it is: only how its layers travel changes.
#[tokio::test(flavor = "multi_thread")]
async fn layers_are_compressed_anew_on_their_way_out_where_that_is_asked_for() {
    let Some(registry) = Running::start("", "") else { return };
    let room = Room::open().await;
    let sample = Sample::new(&[
        Layer::gzip(&[("etc/base", &noise(1, 300_000))]),
        Layer::zstd(&[("usr/bin/tool", &noise(2, 5_000_000))]),
        Layer::plain(&[("srv/page", b"hello")]),
    ]);
    registry.push(&sample, "web:v1", "", "oci");
    room.pull(&registry.name("web:v1")).await.unwrap();
    let kept = room.files();
    // skopeo has compressed the third of them.
    for (compression, ending, others) in
        [(LayerCompression::Zstd, "tar+zstd", 2), (LayerCompression::Gzip, "tar+gzip", 1)]
    {
        let name = registry.name(&format!("again/{ending}:v1").replace('+', "-"));
        room.images.tag(&registry.name("web:v1").to_string(), &name).await.unwrap();
        let wanted = || PushRequest {
            reference: name.clone(),
            platform: None,
            compression: Some(compression),
            credentials: None,
        };
        let pushed = room.images.push(wanted(), |_| {}).await.unwrap();
        assert_ne!(pushed[0].digest, sample.digest());
        let manifest: serde_json::Value = serde_json::from_slice(&raw(&name)).unwrap();
        assert_eq!(manifest["config"]["digest"], sample.id().to_string());
        let layers = manifest["layers"].as_array().unwrap();
        assert_eq!(layers.len(), sample.layers.len());
        for layer in layers {
            let kind = layer["mediaType"].as_str().unwrap();
            assert_eq!(kind, format!("application/vnd.oci.image.layer.v1.{ending}"));
        }
        // The same layers come to the same bytes, so that they go once.
        let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let again = {
            let told = told.clone();
            room.images.push(wanted(), move |progress| told.lock().unwrap().push(progress)).await.unwrap()
        };
        assert_eq!(again, pushed);
        let told = told
            .lock()
            .unwrap()
            .iter()
            .filter_map(|progress| match progress {
                Progress::Layer { state, .. } => Some(state.as_str()),
                _ => None,
            })
            .collect::<Vec<_>>();
        let count = |word: &str| told.iter().filter(|said| **said == word).count();
        assert_eq!((count("Layer already exists"), count("Pushed")), (layers.len(), 0), "{told:?}");
        assert_eq!(count("Compressed"), others, "{told:?}");
        // Others make the same trees of it, and here it is found under the digest that it has there.
        let fresh = Room::open().await;
        assert_eq!(fresh.pull(&name).await.unwrap().id, sample.id());
        let image = fresh.images.resolve(&name.to_string()).unwrap();
        assert_eq!(fresh.file(&image, "/etc/base").unwrap(), noise(1, 300_000));
        let found = room.images.resolve(&name.with_digest(pushed[0].digest).to_string()).unwrap();
        assert_eq!(found.id, sample.id());
        assert_eq!(room.files(), kept, "it left something behind");
        // What is kept goes out as before.
        assert_eq!(push(&room, &registry.name("web:v1"), None).await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_what_it_was_is_not_compressed_anew_and_sent() {
    let Some(registry) = Running::start("", "") else { return };
    let (room, sample) = (Room::open().await, sample());
    registry.push(&sample, "web:v1", "", "oci");
    room.pull(&registry.name("web:v1")).await.unwrap();
    let name = registry.name("bad/web:v1");
    room.images.tag(&registry.name("web:v1").to_string(), &name).await.unwrap();
    let kept = room.files();
    for layer in &sample.layers {
        let digest = crate::sample::sha256(&layer.blob);
        let path = room.root.path().join("content/blobs/sha256").join(digest.hex());
        let whole = std::fs::read(&path).unwrap();
        let mut more = whole.clone();
        more.extend(b"trailing");
        for damaged in [more, whole[..whole.len() / 2].to_vec()] {
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, damaged).unwrap();
            for compression in [LayerCompression::Zstd, LayerCompression::Gzip] {
                let wanted = PushRequest {
                    reference: name.clone(),
                    platform: None,
                    compression: Some(compression),
                    credentials: None,
                };
                match room.images.push(wanted, |_| {}).await {
                    Err(error) => assert_eq!(error.kind(), Kind::Corrupt, "{error}"),
                    // In this compression it is already, and the registry has the true one.
                    Ok(_) => assert_eq!(compression, LayerCompression::Gzip),
                }
                // What the other layers were in the midst of ends a moment later.
                let deadline = Instant::now() + Duration::from_secs(20);
                while room.files() != kept {
                    assert!(Instant::now() < deadline, "{:?} is left of {kept:?}", room.files());
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
        std::fs::write(&path, whole).unwrap();
    }
}

/// A layer that was unpacked already when an image came is sent in the form in which it came before.
#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_was_here_in_another_form_is_pushed_in_that_form() {
    let Some(registry) = Running::start("", "") else { return };
    let room = Room::open().await;
    let files: &[(&str, &[u8])] = &[("same", b"the same tree")];
    let gzip = Sample::new(&[Layer::gzip(files)]);
    let zstd = Sample::new(&[Layer::zstd(files), Layer::gzip(&[("more", b"m")])]);
    registry.push(&gzip, "one:v1", "", "oci");
    registry.push(&zstd, "two:v1", "", "oci");
    room.pull(&registry.name("one:v1")).await.unwrap();
    room.pull(&registry.name("two:v1")).await.unwrap();
    let name = registry.name("three:v1");
    room.images.tag(&registry.name("two:v1").to_string(), &name).await.unwrap();
    push(&room, &name, None).await.unwrap();
    let fresh = Room::open().await;
    assert_eq!(fresh.pull(&name).await.unwrap().id, zstd.id());
}

/// What skopeo says that a name stands for, byte for byte.
fn raw(name: &Reference) -> Vec<u8> {
    let output = Command::new("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_pushed_as_it_came_with_everything_that_it_names() {
    let (Some(registry), Some(other)) = (Running::start("", ""), Running::start("", "")) else { return };
    let (room, several) = (Room::open().await, Several::new());
    let layout = registry.directory.path().join("several");
    several.write_layout(&layout);
    registry.copy(&layout, "web:v1", "", &["--all"]);
    let request = |platform: Option<&str>| PullRequest {
        reference: registry.name("web:v1"),
        platform: platform.map(|platform| platform.parse().unwrap()),
        all_platforms: platform.is_none(),
        credentials: None,
    };
    assert_eq!(room.request(request(None)).await.unwrap().digest, several.digest());
    for name in [other.name("moved/web:v1"), registry.name("copy:v1")] {
        room.images.tag(&registry.name("web:v1").to_string(), &name).await.unwrap();
        let pushed = push(&room, &name, None).await.unwrap();
        assert_eq!((pushed.len(), pushed[0].digest), (1, several.digest()));
        assert_eq!(raw(&name), several.index.to_string().into_bytes());
        // Everything is there: skopeo takes all of it, and a fresh store too.
        let copied = TempDir::new().unwrap();
        let to = format!("dir:{}", copied.path().display());
        let from = format!("docker://{name}");
        let copy = ["copy", "--quiet", "--all", "--insecure-policy", "--src-tls-verify=false", &from, &to];
        assert!(Command::new("skopeo").args(copy).status().unwrap().success());
        let fresh = Room::open().await;
        let wanted = PullRequest { reference: name.clone(), ..request(None) };
        assert_eq!(fresh.request(wanted).await.unwrap().digest, several.digest());
        // The name still stands for all of it, also under the digest that the registry has.
        let digest = name.with_digest(several.digest()).to_string();
        for text in [name.to_string(), digest] {
            let arch = format!("linux/{}", OTHERS[1]).parse().unwrap();
            let found = room.images.resolve_for(&text, Some(&arch)).unwrap().id;
            assert_eq!(found, several.id(OTHERS[1]), "{text}");
        }
    }

    // One of them, where that is asked for.
    let name = other.name("one/web:v1");
    room.images.tag(&registry.name("web:v1").to_string(), &name).await.unwrap();
    let platform = Some(format!("linux/{}", OTHERS[0]).parse().unwrap());
    let wanted = PushRequest { reference: name.clone(), platform, compression: None, credentials: None };
    let pushed = room.images.push(wanted, |_| {}).await.unwrap();
    assert_eq!(pushed[0].digest, several.images[0].digest());
    assert_eq!(raw(&name), several.images[0].manifest.to_string().into_bytes());
    let whole = push(&room, &name, None).await.unwrap();
    assert_eq!(whole[0].digest, several.digest(), "the name still stands for all of it");

    // Its layers in another compression would make another index.
    let compression = Some(LayerCompression::Zstd);
    let wanted = |platform| PushRequest { reference: name.clone(), platform, compression, credentials: None };
    let error = room.images.push(wanted(None), |_| {}).await.unwrap_err();
    assert!(error.kind() == Kind::InvalidInput && error.to_string().contains("--platform"), "{error}");
    let one = Some(format!("linux/{}", OTHERS[0]).parse().unwrap());
    assert_ne!(room.images.push(wanted(one), |_| {}).await.unwrap()[0].digest, several.images[0].digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_index_that_is_not_here_whole_the_image_is_pushed_and_that_is_said() {
    let (Some(registry), Some(other)) = (Running::start("", ""), Running::start("", "")) else { return };
    let (room, several) = (Room::open().await, Several::new());
    let layout = registry.directory.path().join("several");
    several.write_layout(&layout);
    registry.copy(&layout, "web:v1", "", &["--all"]);
    let host = Platform::host().architecture;
    for architecture in [OTHERS[0], &*host, OTHERS[1]] {
        let platform = Some(format!("linux/{architecture}").parse().unwrap());
        let request = PullRequest {
            reference: registry.name("web:v1"),
            platform,
            all_platforms: false,
            credentials: None,
        };
        room.request(request).await.unwrap();
        // Until the end the attestation is not here.
        let name = other.name("web:v1");
        room.images.tag(&registry.name("web:v1").to_string(), &name).await.unwrap();
        let pushed = push(&room, &name, None).await.unwrap();
        let image = if architecture == OTHERS[0] { &several.images[0] } else { &several.images[1] };
        assert_eq!(pushed[0].digest, image.digest());
        assert_eq!(raw(&name), image.manifest.to_string().into_bytes());
        let told = room.told.lock().unwrap().clone();
        let Some(Progress::PushedOneOf { index, manifest }) = told.last() else { panic!("{told:?}") };
        assert_eq!((index.digest, manifest.digest), (several.digest(), image.digest()));
    }
}
