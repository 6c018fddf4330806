//! One build for several platforms: an index of images, of which each is what a build for its platform alone would be.

use anyhow::{Context, Result};
use serde_json::Value;
use tare_tests::capture;

use super::Site;

/// What is made once for all, what is made for each, and an image of both. Nothing runs but on this machine.
const CROSS: &str = "FROM --platform=$BUILDPLATFORM IMAGE AS once\nRUN cat /proc/sys/kernel/random/uuid > /made && echo once-ran\n\
    FROM --platform=$BUILDPLATFORM IMAGE AS each\nARG TARGETARCH\nRUN echo \"for $TARGETARCH\" > /program && echo each-ran\n\
    FROM scratch\nCOPY --from=once /made /made\nCOPY --from=each /program /program\nCMD [\"/program\"]\n";
const NAME: &str = "127.0.0.1:5000/many:1";
const BOTH: &str = "linux/amd64,linux/arm64";

impl Site {
    fn build_many(&self, words: &[&str]) -> Result<tare_tests::Ran> {
        let directory = self.directory();
        let context = directory.to_str().context("a path that is text")?;
        self.world.tare(&[&["build", "--progress=plain", "--platform", BOTH], words, &[context]].concat())
    }

    fn raw(&self, reference: &str) -> Result<Value> {
        let mut skopeo = self.world.command("skopeo");
        let raw = capture(skopeo.args(["inspect", "--raw", "--tls-verify=false", reference]))?;
        Ok(serde_json::from_str(raw.ok())?)
    }
}

/// The platforms that an index names, in its order.
fn platforms(index: &Value) -> Vec<String> {
    let platform = |entry: &Value| {
        let text = |key: &str| entry["platform"][key].as_str().unwrap_or("?").to_owned();
        format!("{}/{}", text("os"), text("architecture"))
    };
    index["manifests"].as_array().into_iter().flatten().map(platform).collect()
}

/// How often a step wrote this line: `#2 0.123 LINE`.
fn said(ran: &tare_tests::Ran, line: &str) -> usize {
    ran.err.lines().filter(|said| said.splitn(3, ' ').nth(2) == Some(line)).count()
}

#[test]
fn one_graph_makes_an_index_that_is_pushed_and_saved_whole() -> Result<()> {
    let site = Site::new()?;
    site.dockerfile(CROSS)?;
    let metadata = site.world.dir().join("metadata.json");
    let metadata = metadata.to_str().context("a path that is text")?;
    let built = site.build_many(&["-t", NAME, "--push", "--metadata-file", metadata])?;
    built.ok();
    assert!(built.err.contains("[linux/amd64 ") && built.err.contains("[linux/arm64 "), "{}", built.err);
    assert_eq!(said(&built, "once-ran"), 1, "{}", built.err);
    assert_eq!(said(&built, "each-ran"), 2, "{}", built.err);
    let index = site.raw(&format!("docker://{NAME}"))?;
    assert_eq!(platforms(&index), ["linux/amd64", "linux/arm64"], "{index}");
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let metadata: Value = serde_json::from_str(&std::fs::read_to_string(metadata)?)?;
    let mut skopeo = site.world.command("skopeo");
    let digest = skopeo.args([
        "inspect",
        "--tls-verify=false",
        "--format",
        "{{.Digest}}",
        &format!("docker://{NAME}"),
    ]);
    assert_eq!(metadata["containerimage.digest"], capture(digest)?.ok());
    // Each platform comes out of the registry as what it is.
    for architecture in ["amd64", "arm64"] {
        let platform = format!("linux/{architecture}");
        site.world.tare(&["rmi", "-f", NAME])?;
        site.world.tare(&["pull", "-q", "--platform", &platform, NAME])?.ok();
        let looked = site.world.tare(&[
            "image",
            "inspect",
            "--platform",
            &platform,
            "--format",
            "{{.Architecture}}",
            NAME,
        ])?;
        assert_eq!(looked.ok(), architecture);
    }
    // The same again is the same index, out of the cache; as an archive, too.
    let archive = site.world.dir().join("many.tar");
    let output = format!("type=oci,dest={}", archive.display());
    let again = site.build_many(&["-t", NAME, "-o", &output])?;
    again.ok();
    assert_eq!(said(&again, "once-ran") + said(&again, "each-ran"), 0, "{}", again.err);
    let layout = site.raw(&format!("oci-archive:{}", archive.display()))?;
    assert_eq!(platforms(&layout), ["linux/amd64", "linux/arm64"], "{layout}");
    assert_eq!(layout["manifests"], index["manifests"]);
    site.world.assert_clean(&[])
}

#[test]
fn files_of_each_platform_have_a_directory_of_their_own() -> Result<()> {
    let site = Site::new()?;
    site.dockerfile(CROSS)?;
    let out = site.world.dir().join("out");
    for words in [&[][..], &["--no-cache"]] {
        let output = out.to_str().context("a path that is text")?;
        site.build_many(&[words, &["-o", output]].concat())?.ok();
        let read = |path: &str| std::fs::read_to_string(out.join(path));
        assert_eq!(read("linux_amd64/program")?, "for amd64\n");
        assert_eq!(read("linux_arm64/program")?, "for arm64\n");
        assert_eq!(
            read("linux_amd64/made")?,
            read("linux_arm64/made")?,
            "what both have in common was made once"
        );
    }
    let tar = site.world.dir().join("out.tar");
    site.build_many(&["-o", &format!("type=tar,dest={}", tar.display())])?.ok();
    let listed = capture(std::process::Command::new("tar").arg("-tf").arg(&tar))?;
    for name in ["linux_amd64/", "linux_amd64/made", "linux_arm64/", "linux_arm64/program"] {
        assert!(listed.ok().lines().any(|line| line == name), "{name}: {}", listed.out);
    }
    let single = site.world.dir().join("single");
    let directory = site.directory();
    let words =
        ["build", "--platform", "linux/arm64", "-o", &single.to_string_lossy(), &directory.to_string_lossy()];
    site.world.tare(&words)?.ok();
    assert_eq!(std::fs::read_to_string(single.join("program"))?, "for arm64\n");
    site.world.assert_clean(&[])
}

#[test]
fn what_cannot_run_here_is_said_before_anything_is_done() -> Result<()> {
    let site = Site::new()?;
    site.dockerfile("FROM IMAGE AS first\nRUN echo begun\nFROM first\nCOPY Dockerfile /\nRUN true\n")?;
    let refused = site.build_many(&["-t", "many"])?;
    assert!(refused.code != 0 && refused.err.contains("cannot run programs for linux/arm64"), "{refused:?}");
    assert!(refused.err.contains("2 | RUN echo begun") && !refused.err.contains("DONE"), "{}", refused.err);
    for (platforms, words) in [
        ("linux/amd64,linux/amd64", "given twice"),
        ("linux/amd64,", "invalid platform"),
        ("linux/amd64,sunos", "invalid platform"),
        (",", "invalid platform"),
    ] {
        let (status, said) = site.world.api("POST", &format!("/build?platform={platforms}"), None)?;
        assert!(status == 400 && said.contains(words), "{platforms}: {status} {said}");
    }
    // A step that fails for one platform fails the build, and no name is given.
    site.dockerfile(&CROSS.replace("FROM scratch", "RUN test $TARGETARCH = amd64\nFROM scratch"))?;
    let failed = site.build_many(&["-t", "many"])?;
    assert!(failed.code != 0 && failed.err.contains("returned a non-zero code: 1"), "{failed:?}");
    assert_ne!(site.world.docker(&["inspect", "many"])?.code, 0);
    site.world.assert_clean(&[])
}
