//! Contexts and ADD out of git repositories, by a real git daemon.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Result;
use tare_tests::{capture, until};

use super::Site;

/// A repository with two commits, and a server that serves it inside the world's network.
struct Served {
    server: Child,
    work: PathBuf,
}

impl Served {
    fn start(site: &Site) -> Result<Self> {
        let base = site.world.dir().join("repositories");
        let work = base.join("app.git");
        std::fs::create_dir_all(work.join("sub"))?;
        let served = |name: &str, content: &str| std::fs::write(work.join(name), content);
        git(&work, &["init", "-q", "-b", "main"])?;
        served("sub/Dockerfile", &format!("FROM {}\nCOPY . /sub\n", site.image))?;
        served("sub/file", "first")?;
        std::os::unix::fs::symlink("/", work.join("root"))?;
        git(&work, &["add", "."])?;
        git(&work, &["commit", "-q", "-m", "one"])?;
        git(&work, &["tag", "-a", "-m", "one", "v1"])?;
        served("sub/file", "second")?;
        // What would run a program, if anybody believed it.
        let owned = site.world.dir().join("owned");
        served(".gitattributes", "* filter=evil\n")?;
        served(".gitconfig", &format!("[core]\n\tfsmonitor = touch {}\n", owned.display()))?;
        served(
            ".gitmodules",
            &format!("[submodule \"x\"]\n\tpath = x\n\turl = ext::touch% {}\n", owned.display()),
        )?;
        git(&work, &["add", "."])?;
        git(&work, &["commit", "-q", "-m", "two"])?;
        let program = capture(Command::new("git").arg("--exec-path"))?.ok().to_owned() + "/git-daemon";
        let mut server = site.world.command(&program);
        server.arg(format!("--base-path={}", base.display()));
        server.args(["--export-all", "--reuseaddr", "--listen=127.0.0.1", "--port=9418"]);
        let server = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let served = Self { server, work };
        until("the git daemon to answer", || {
            let asked = site.world.command("git").args(["ls-remote", "git://127.0.0.1/app.git"]).output()?;
            Ok(asked.status.success())
        })?;
        Ok(served)
    }

    fn commit(&self, name: &str) -> Result<String> {
        git(&self.work, &["rev-parse", &format!("{name}^{{commit}}")])
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn git(directory: &Path, words: &[&str]) -> Result<String> {
    let mut git = Command::new("git");
    git.arg("-C").arg(directory).args([
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@localhost",
        "-c",
        "commit.gpgsign=false",
    ]);
    Ok(capture(git.args(words))?.ok().to_owned())
}

#[test]
fn a_context_comes_out_of_a_repository() -> Result<()> {
    let site = Site::new()?;
    let served = Served::start(&site)?;
    let said = site.post("t=built&remote=git://127.0.0.1/app.git%23v1:sub", b"")?;
    assert!(said.contains("Successfully tagged"), "{said}");
    assert_eq!(site.shell("cat /sub/file; ls -A /sub")?, "firstDockerfile\nfile");
    let again = site.post("t=built&remote=git://127.0.0.1/app.git%23v1:sub", b"")?;
    assert!(again.contains("Using cache"), "{again}");
    let kept =
        "t=built&dockerfile=sub/Dockerfile&buildargs=%7B%22BUILDKIT_CONTEXT_KEEP_GIT_DIR%22:%221%22%7D";
    let said = site.post(&format!("{kept}&remote=git://127.0.0.1/app.git%23v1"), b"")?;
    assert!(said.contains("Successfully tagged") && !said.contains("not consumed"), "{said}");
    assert_eq!(
        site.shell("cat /sub/.git/HEAD; ls /sub/.git/FETCH_HEAD 2>/dev/null | wc -l")?,
        served.commit("v1")? + "\n0"
    );
    // A commit by its digits, the default branch, and our own command line, whose secrets come beside the address.
    let commit = served.commit("v1")?;
    let key = site.file("key", "hunter2")?;
    let secret = format!("id=k,src={}", key.display());
    let dockerfile = format!(
        "FROM {}\nCOPY sub/file /f\nRUN --mount=type=secret,id=k wc -c < /run/secrets/k >> /f\n",
        site.image
    );
    for (what, expected) in
        [(format!("#{commit}"), "first7"), (String::new(), "second7"), ("#main".into(), "second7")]
    {
        let mut tare = site.world.tare_command()?;
        let address = format!("git://127.0.0.1/app.git{what}");
        tare.args(["build", "-t", "built", "--secret", &secret, "-f", "-", &address]);
        let built = tare_tests::capture_with_input(&mut tare, dockerfile.as_bytes())?;
        built.ok();
        assert_eq!(site.shell("cat /f")?, expected, "{what}");
        assert_eq!(built.err.contains("submodules are not fetched"), expected == "second7", "{}", built.err);
    }
    assert!(!site.world.dir().join("owned").exists(), "something of the repository ran");
    for (remote, words) in [
        ("git://127.0.0.1/none.git", "git fetch"),
        ("git://127.0.0.1/app.git%23nothing", "git fetch"),
        ("git://127.0.0.1/app.git%23v1:nowhere", "nowhere in the repository"),
        ("git://127.0.0.1/app.git%23v1:root/etc", "in the repository"),
        ("git://127.0.0.1/app.git%23--upload-pack=touch", "neither branch, tag nor commit"),
        ("ssh://-oProxyCommand=touch/x.git", "names no host"),
        ("ext::touch.git", "no address"),
        ("file:///etc/x.git", "only https, http, ssh and git"),
    ] {
        let said = site.post(&format!("remote={remote}"), b"")?;
        assert!(said.contains(words), "{remote}: {said}");
    }
    site.world.assert_clean(&[])
}

#[test]
fn add_takes_a_repository() -> Result<()> {
    let site = Site::new()?;
    let served = Served::start(&site)?;
    let text = "FROM IMAGE\nADD git://127.0.0.1/app.git#main /main/\nADD --keep-git-dir git://127.0.0.1/app.git#v1:/ /kept\n";
    site.built(text)?;
    let (first, second) = (served.commit("v1")?, served.commit("main")?);
    assert_eq!(
        site.shell("cat /main/sub/file /kept/sub/file; ls -d /main/.git 2>/dev/null; cat /kept/.git/HEAD")?,
        format!("secondfirst{first}")
    );
    let again = site.built(text)?;
    assert_eq!(again.out.matches("Using cache").count(), 2, "{}", again.out);
    site.built(&format!("FROM IMAGE\nADD --checksum={second} git://127.0.0.1/app.git /x\n"))?;
    site.dockerfile(&format!("FROM IMAGE\nADD --checksum={first} git://127.0.0.1/app.git /x\n"))?;
    let failed = site.build(&[])?;
    assert!(failed.code != 0 && failed.err.contains("--checksum wants"), "{}", failed.err);
    // A new commit is seen, although the address is the same.
    std::fs::write(served.work.join("sub/file"), "third")?;
    git(&served.work, &["commit", "-q", "-a", "-m", "three"])?;
    site.built(text)?;
    assert_eq!(site.shell("cat /main/sub/file")?, "third");
    assert!(!site.world.dir().join("owned").exists(), "something of the repository ran");
    site.world.assert_clean(&[])
}
