//! Images built from Dockerfiles by the unmodified docker command line, through the classic builder's protocol.

mod attack;
mod bounds;
mod cache;
mod drivers;
mod files;
mod git;
mod names;
mod platforms;
mod real;
mod reserved;
mod run;
mod ship;
mod squash;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tare_tests::{Ran, World, capture_with_input};

/// A world with the busybox image in it, and a directory to build from.
struct Site {
    world: World,
    image: String,
}

impl Site {
    fn new() -> Result<Self> {
        Self::with(&[])
    }

    /// With more arguments for the daemon.
    fn with(arguments: &[&str]) -> Result<Self> {
        let world = World::with_daemon_arguments(arguments)?;
        let image = world.push_busybox()?;
        world.docker(&["pull", "-q", &image])?.ok();
        Ok(Self { world, image })
    }

    fn directory(&self) -> PathBuf {
        self.world.dir().join("context")
    }

    /// Writes a file of the context, with the directories that it needs.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.directory().join(name);
        std::fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
        std::fs::write(&path, content)?;
        Ok(path)
    }

    /// `IMAGE` in the text stands for the busybox image.
    fn dockerfile(&self, text: &str) -> Result<()> {
        self.file("Dockerfile", text.replace("IMAGE", &self.image)).map(drop)
    }

    fn build(&self, words: &[&str]) -> Result<Ran> {
        let directory = self.directory();
        let context = directory.to_str().context("a path that is text")?;
        let mut command = self.world.docker_command()?;
        command.env("DOCKER_BUILDKIT", "0").args(["build", "-t", "built"]).args(words).arg(context);
        tare_tests::capture(&mut command)
    }

    /// Builds a Dockerfile, which must succeed.
    fn built(&self, text: &str) -> Result<Ran> {
        self.dockerfile(text)?;
        let built = self.build(&[])?;
        built.ok();
        Ok(built)
    }

    /// Runs a shell command in what was built last.
    fn shell(&self, command: &str) -> Result<String> {
        let ran = self.world.docker(&["run", "--rm", "--network", "none", "built", "sh", "-c", command])?;
        Ok(ran.ok().to_owned())
    }

    fn id(&self) -> Result<String> {
        Ok(self.world.docker(&["inspect", "--format", "{{.Id}}", "built"])?.ok().to_owned())
    }

    /// Posts a body to `/build`; the answer's lines.
    fn post(&self, query: &str, body: &[u8]) -> Result<String> {
        Ok(capture_with_input(&mut self.posting(query), body)?.out)
    }

    fn posting(&self, query: &str) -> std::process::Command {
        let mut curl = self.world.command("curl");
        curl.args(["-s", "-X", "POST", "-H", "Content-Type: application/x-tar", "--data-binary", "@-"]);
        curl.arg("--unix-socket").arg(self.world.daemon().socket()).arg(format!("http://tare/build?{query}"));
        curl
    }
}

/// A tar of entries written by hand, as `tar` itself refuses to write some.
fn archive(entries: &[(&str, tar::EntryType, &str, &[u8])]) -> Result<Vec<u8>> {
    let bytes = entries
        .iter()
        .map(|(name, kind, target, content)| (name.as_bytes(), *kind, target.as_bytes(), *content));
    raw(&bytes.collect::<Vec<Raw<'_>>>())
}

/// Name, kind, where it leads, content; names need be no text.
type Raw<'a> = (&'a [u8], tar::EntryType, &'a [u8], &'a [u8]);

fn raw(entries: &[Raw<'_>]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, kind, target, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, *content)?;
    }
    Ok(tar.into_inner()?)
}

/// The main job: several stages, files between them, and an image that says how it wants to be run.
#[test]
fn an_image_of_several_stages_is_built_and_runs() -> Result<()> {
    let site = Site::new()?;
    site.file("src/hello.txt", "hello\n")?;
    let built = site.built(
        "FROM IMAGE AS compile\nARG WHO=world\nENV GREETING=hi\nWORKDIR /work\nCOPY src/ .\n\
         RUN echo \"$GREETING $WHO\" >> hello.txt && sleep 0 && echo compiled\n\
         FROM IMAGE AS unused\nRUN false\n\
         FROM IMAGE\nCOPY --from=compile --chown=web:extra --chmod=640 /work/hello.txt /srv/\n\
         LABEL kind=test\nEXPOSE 80/tcp 53/udp\nUSER web\nVOLUME /data\nSTOPSIGNAL SIGQUIT\n\
         ENTRYPOINT [\"cat\"]\nCMD [\"/srv/hello.txt\"]\n",
    )?;
    assert!(built.out.contains("Step 1/15 : FROM"), "{}", built.out);
    assert!(built.out.contains("\ncompiled\n"), "{}", built.out);
    assert!(built.out.contains("Successfully tagged built:latest"), "{}", built.out);
    let ran = site.world.docker(&["run", "--rm", "--network", "none", "built"])?;
    assert_eq!(ran.ok(), "hello\nhi world");
    let looked = "{{.Config.User}} {{.Config.StopSignal}} {{len .RootFS.Layers}} {{index .Config.Labels \"kind\"}} {{.Config.ExposedPorts}}";
    let looked = site.world.docker(&["inspect", "--format", looked, "built"])?;
    assert_eq!(looked.ok(), "web SIGQUIT 2 test map[53/udp:{} 80/tcp:{}]");
    let stat = site.world.docker(&[
        "run",
        "--rm",
        "--network=none",
        "--entrypoint",
        "stat",
        "built",
        "-c",
        "%U:%G %a",
        "/srv/hello.txt",
    ])?;
    assert_eq!(stat.ok(), "web:extra 640");
    let listed = site.world.docker(&["ps", "-aq"])?;
    assert_eq!(listed.ok(), "", "containers of steps are nobody's");
    site.world.assert_clean(&[])
}

#[test]
fn mistakes_are_shown_in_their_place() -> Result<()> {
    let site = Site::new()?;
    for (text, words) in [
        ("FROM IMAGE\nRUN exit 7\n", &["returned a non-zero code: 7", "2 | RUN exit 7", "^^^"][..]),
        ("FROM IMAGE\nCOPY missing /\n", &["file does not exist", "2 | COPY missing /"]),
        ("FROM IMAGE\nCOPPY a b\n", &["dockerfile parse error on line 2", "did you mean COPY"]),
        ("FROM IMAGE\nUSER nobody-here\nRUN id\n", &["unable to find user nobody-here", "3 | RUN id"]),
        ("RUN id\n", &["dockerfile parse error"]),
        ("FROM IMAGE\nCOPY --from=nowhere:5 a b\n", &["nowhere"]),
        ("FROM IMAGE\nRUN --security=insecure id\n", &["insecure is not allowed"]),
        (
            "FROM IMAGE\nRUN --device=vendor.com/gpu=all id\n",
            &["not supported yet: devices in a build", "2 | RUN --device"],
        ),
        ("FROM IMAGE\nADD git@-example:a/b.git /\n", &["names no host", "2 | ADD git@"]),
        ("FROM IMAGE\nRUN --frobnicate id\n", &["dockerfile parse error on line 2", "frobnicate"]),
        (
            "FROM --platform=linux/arm64 scratch\nCOPY Dockerfile /f\nRUN [\"/f\"]\n",
            &["cannot run programs for linux/arm64", "3 | RUN"],
        ),
        ("FROM IMAGE\nRUN [\"/no/such/program\"]\n", &["/no/such/program"]),
    ] {
        site.dockerfile(text)?;
        let failed = site.build(&[])?;
        assert_ne!(failed.code, 0, "{text}");
        for word in words {
            assert!(failed.err.contains(word), "{text}: {word}: {}", failed.err);
        }
    }
    site.dockerfile("FROM IMAGE\nRUN exit 7\n")?;
    assert_eq!(site.build(&[])?.code, 7);
    site.world.assert_clean(&[])
}

#[test]
fn an_image_passes_its_triggers_on() -> Result<()> {
    let site = Site::new()?;
    site.built("FROM IMAGE\nONBUILD COPY marker /marker\nONBUILD RUN cat /marker > /seen\n")?;
    site.world.docker(&["tag", "built", "base:1"])?.ok();
    site.file("marker", "triggered")?;
    let built = site.built("FROM base:1\nRUN cat /seen\n")?;
    assert!(built.out.contains("# Executing 2 build triggers"), "{}", built.out);
    assert_eq!(site.shell("cat /seen")?, "triggered");
    let left = site.world.docker(&["inspect", "--format", "{{.Config.OnBuild}}", "built"])?;
    assert_eq!(left.ok(), "[]");
    Ok(())
}

/// A build belongs to who asked for it: when the client goes, everything of it goes.
#[test]
fn a_client_that_leaves_ends_its_build() -> Result<()> {
    let site = Site::new()?;
    site.dockerfile("FROM IMAGE\nRUN echo begun > /begun; sleep 1000\n")?;
    let mut command = site.world.docker_command()?;
    command.env("DOCKER_BUILDKIT", "0").args(["build", "-q"]).arg(site.directory());
    let mut client =
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn()?;
    let writable = site.world.dir().join("data/snapshots/writable");
    let begun = |path: &Path| {
        path.read_dir().into_iter().flatten().flatten().any(|e| e.path().join("fs/begun").exists())
    };
    tare_tests::until("the step to run", || Ok(begun(&writable)))?;
    client.kill()?;
    client.wait()?;
    site.world.assert_clean(&[])
}

/// Without the plugin buildx and without a variable that says so, docker's command line falls back to the protocol that is
/// spoken here; what only BuildKit's clients ask for is answered in words.
#[test]
fn the_docker_command_line_needs_to_be_told_nothing() -> Result<()> {
    let site = Site::new()?;
    site.dockerfile("FROM IMAGE\nRUN echo plain > /f\n")?;
    let mut command = site.world.docker_command()?;
    command.env_remove("DOCKER_BUILDKIT").args(["build", "-t", "built"]).arg(site.directory());
    let built = tare_tests::capture(&mut command)?;
    assert!(built.ok().contains("Successfully tagged built:latest"), "{built:?}");
    assert_eq!(site.shell("cat /f")?, "plain");
    let mut curl = site.world.command("curl");
    curl.args(["-s", "-D", "-", "--unix-socket"]).arg(site.world.daemon().socket()).arg("http://tare/_ping");
    assert!(tare_tests::capture(&mut curl)?.ok().to_lowercase().contains("builder-version: 1\r\n"));
    for path in ["/session", "/grpc", "/build?version=2"] {
        let (status, said) = site.world.api("POST", path, None)?;
        assert!(status == 501 && said.contains("BuildKit"), "{path}: {status} {said}");
    }
    Ok(())
}
