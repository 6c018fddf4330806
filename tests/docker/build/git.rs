//! Contexts and ADD out of git repositories, by a real git daemon.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use tare_tests::{capture, capture_with_input};

use super::Site;

/// A repository with two commits, and a server that serves it inside the world's network.
struct Served {
    _server: tare_tests::Served,
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
        Ok(Self { _server: tare_tests::Served::git(&site.world, &base, "app.git")?, work })
    }

    /// Makes another repository with these files and, as `.gitmodules` has it, links: path, commit and url.
    fn more(&self, name: &str, files: &[(&str, &str)], links: &[(&str, &str, &str)]) -> Result<String> {
        let work = self.work.with_file_name(name);
        std::fs::create_dir_all(&work)?;
        git(&work, &["init", "-q", "-b", "main"])?;
        for (path, content) in files {
            std::fs::write(work.join(path), content)?;
        }
        let mut modules = String::new();
        for (path, commit, url) in links {
            git(&work, &["update-index", "--add", "--cacheinfo", &format!("160000,{commit},{path}")])?;
            modules.push_str(&format!("[submodule \"{path}\"]\n\tpath = {path}\n\turl = {url}\n"));
        }
        if !links.is_empty() && !work.join(".gitmodules").exists() {
            std::fs::write(work.join(".gitmodules"), modules)?;
        }
        git(&work, &["add", "--ignore-removal", "."])?;
        git(&work, &["commit", "-q", "-m", "one"])?;
        git(&work, &["rev-parse", "HEAD"])
    }

    fn commit(&self, name: &str) -> Result<String> {
        git(&self.work, &["rev-parse", &format!("{name}^{{commit}}")])
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
    // The Dockerfile is the one that was named, whatever else the repository has.
    let copied = format!("FROM {}\nCOPY . /all\n", site.image);
    served.more("own.git", &[("Dockerfile", &copied), (".tare-dockerfile", "FROM nowhere/theirs\n")], &[])?;
    let said = site.post("t=built&remote=git://127.0.0.1/own.git", b"")?;
    assert!(said.contains("Successfully tagged"), "{said}");
    assert_eq!(site.shell("cat /all/.tare-dockerfile")?, "FROM nowhere/theirs");
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

#[test]
fn submodules_come_along_as_deep_as_they_go() -> Result<()> {
    let site = Site::new()?;
    let served = Served::start(&site)?;
    let deep = served.more("deep.git", &[("deep", "deep")], &[])?;
    // What is wanted need not be what a branch has now.
    served.more("deep.git", &[("deep", "deeper")], &[])?;
    let lib = served.more("lib.git", &[("lib", "lib")], &[("in/ner", &deep, "../deep.git")])?;
    let dockerfile = format!("FROM {}\nCOPY . /top\n", site.image);
    let modules = "[submodule \"l\"]\n\tpath = vendor/lib\n\turl = ../lib.git\n[submodule \"o\"]\n\tpath = other\n\turl = \"git://127.0.0.1/deep.git\"\n[submodule \"n\"]\n\tpath = none\n\turl = ../missing.git\n\tupdate = none\n";
    let files = [("Dockerfile", &dockerfile[..]), (".gitmodules", modules)];
    let links = [("vendor/lib", &lib[..], ""), ("other", &deep, ""), ("none", &deep, "")];
    served.more("top.git", &files, &links)?;
    let said = site.post("t=built&remote=git://127.0.0.1/top.git", b"")?;
    assert!(said.contains("Successfully tagged"), "{said}");
    let seen = "cat /top/vendor/lib/lib /top/vendor/lib/in/ner/deep /top/other/deep; ls -A /top/none; find /top -name .git";
    assert_eq!(site.shell(seen)?, "libdeepdeep");
    let text = "FROM IMAGE\nADD git://127.0.0.1/top.git#main:vendor /v/\nADD --keep-git-dir git://127.0.0.1/top.git /kept\n";
    site.built(text)?;
    assert_eq!(
        site.shell("cat /v/lib/in/ner/deep /kept/vendor/lib/in/ner/.git/HEAD /kept/vendor/lib/.git/HEAD")?,
        format!("deep{deep}\n{lib}")
    );
    let again = site.built(text)?;
    assert_eq!(again.out.matches("Using cache").count(), 2, "{}", again.out);
    site.world.assert_clean(&[])
}

/// CVE-2018-11235, CVE-2018-17456, CVE-2024-32002 and their like: a repository names others by what would run a program, read a
/// file of the machine, or put files elsewhere.
#[test]
fn submodules_lead_nowhere_but_to_servers() -> Result<()> {
    let site = Site::new()?;
    let served = Served::start(&site)?;
    let owned = site.world.dir().join("owned");
    let deep = served.more("deep.git", &[("deep", "deep")], &[])?;
    let local = format!("file://{}", served.work.with_file_name("deep.git").display());
    let refuse = |name: &str, said: &str, words: &str| {
        assert!(said.contains(words) && !said.contains("Successfully"), "{name} {words}: {said}");
        assert!(!owned.exists(), "{name}: something ran");
    };
    let build = |name: &str| site.post(&format!("remote=git://127.0.0.1/{name}"), b"");
    for (number, (url, words)) in [
        (format!("ext::touch% {}", owned.display()), "no address"),
        (local, "only https, http, ssh and git"),
        ("/etc".to_owned(), "names no host"),
        ("../../../deep.git".to_owned(), "leads above its server"),
        (format!("--upload-pack=touch {}", owned.display()), "no address"),
        (format!("-u./{}", owned.display()), "names no host"),
        ("ssh://-oProxyCommand=touch/x".to_owned(), "names no host"),
        ("../none.git".to_owned(), "git fetch git://127.0.0.1/none.git"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("evil{number}.git");
        served.more(&name, &[("Dockerfile", "FROM scratch\n")], &[("lib", &deep, &url)])?;
        refuse(&name, &build(&name)?, words);
    }
    // A name that would be a path below `.git`, and a commit that is not there.
    let hooks = format!(
        "[submodule \"../../hooks\"]\n\tpath = lib\n\turl = ../deep.git\n\tupdate = !touch {}\n",
        owned.display()
    );
    let files = [("Dockerfile", "FROM scratch\nCOPY lib /lib\n"), (".gitmodules", &hooks[..])];
    served.more("name.git", &files, &[("lib", &deep, "")])?;
    assert!(build("name.git")?.contains("Successfully built"));
    assert!(!owned.exists());
    let missing = "0123456789012345678901234567890123456789";
    served.more("gone.git", &[("Dockerfile", "FROM scratch\n")], &[("lib", missing, "../deep.git")])?;
    refuse("gone.git", &build("gone.git")?, "git fetch git://127.0.0.1/deep.git");
    served.more(
        "silent.git",
        &[("Dockerfile", "FROM scratch\n"), (".gitmodules", "")],
        &[("lib", &deep, "")],
    )?;
    refuse("silent.git", &build("silent.git")?, ".gitmodules tells no url for it");
    // A link and a directory of one name, so that the submodule would go through the link.
    let work = served.work.with_file_name("deep.git");
    let object = |kind: &str, text: &str| {
        let mut hash = Command::new("git");
        hash.arg("-C").arg(&work).args(["hash-object", "-w", "-t", kind, "--stdin"]);
        Ok::<_, anyhow::Error>(tare_tests::capture_with_input(&mut hash, text.as_bytes())?.ok().to_owned())
    };
    let victim = site.world.dir().join("victim");
    std::fs::create_dir_all(victim.join("lib"))?;
    let link = object("blob", victim.to_str().unwrap_or_default())?;
    let modules = object("blob", "[submodule \"a/lib\"]\n\tpath = a/lib\n\turl = ../deep.git\n")?;
    let tree = |entries: &str| {
        let mut make = Command::new("git");
        make.arg("-C").arg(&work).args(["mktree", "--missing"]);
        Ok::<_, anyhow::Error>(tare_tests::capture_with_input(&mut make, entries.as_bytes())?.ok().to_owned())
    };
    let below = tree(&format!("160000 commit {deep}\tlib\n"))?;
    let top = tree(&format!(
        "100644 blob {modules}\t.gitmodules\n120000 blob {link}\ta\n040000 tree {below}\ta\n"
    ))?;
    let commit = git(&work, &["commit-tree", "-m", "x", &top])?;
    git(&work, &["update-ref", "refs/heads/main", &commit])?;
    let said = build("deep.git")?;
    assert!(said.contains("\"error\"") || said.contains("\"message\""), "{said}");
    assert_eq!(std::fs::read_dir(victim.join("lib"))?.count(), 0, "{said}");
    site.world.assert_clean(&[])
}

/// Whoever writes a repository elsewhere does not have the daemon speak to what only its machine reaches.
#[test]
fn a_repository_elsewhere_leads_to_no_server_of_this_machine() -> Result<()> {
    const FAR: &str = "203.0.113.7";
    let site = Site::new()?;
    capture(site.world.command("ip").args(["addr", "add", FAR, "dev", "lo"]))?.ok();
    let served = Served::start(&site)?;
    let deep = served.more("deep.git", &[("deep", "deep")], &[])?;
    let base = served.work.parent().unwrap_or(&served.work);
    let _far = tare_tests::Served::git_at(&site.world, base, "app.git", FAR)?;
    for (number, url) in [
        "git://127.0.0.1/deep.git",
        "git://localhost/deep.git",
        "git://2130706433/deep.git",
        "git@127.0.0.1:deep.git",
        "http://169.254.169.254/latest",
        "http://0.0.0.0:9418/deep.git",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("lead{number}.git");
        served.more(&name, &[("Dockerfile", "FROM scratch\nCOPY lib /lib\n")], &[("lib", &deep, url)])?;
        let said = site.post(&format!("remote=git://{FAR}/{name}"), b"")?;
        assert!(said.contains("leads to this machine") && !said.contains("Successfully"), "{url}: {said}");
    }
    // Who names this machine himself gets it, and what is elsewhere may lead elsewhere.
    for (from, url) in [("127.0.0.1", "git://127.0.0.1/deep.git"), (FAR, "git://203.0.113.7/deep.git")] {
        let name = format!("from{from}.git");
        served.more(&name, &[("Dockerfile", "FROM scratch\nCOPY lib /lib\n")], &[("lib", &deep, url)])?;
        let said = site.post(&format!("remote=git://{from}/{name}"), b"")?;
        assert!(said.contains("Successfully built"), "{from}: {said}");
    }
    site.world.assert_clean(&[])
}

/// Serves its directory at `ADDRESS:80`, and sends `/to/URL` on to there; `/sly/URL` too, where not we but git asks.
const WEB: &str = "import http.server, sys, urllib.parse\n\
    class Handler(http.server.SimpleHTTPRequestHandler):\n\
    \x20   def do_GET(self):\n\
    \x20       if not self.path.startswith(('/to/', '/sly/')): return super().do_GET()\n\
    \x20       sly = self.path.startswith('/sly/') and 'tare' in self.headers['User-Agent']\n\
    \x20       self.send_response(404 if sly else 301)\n\
    \x20       self.send_header('Location', urllib.parse.unquote(self.path.split('/', 2)[2]))\n\
    \x20       self.end_headers()\n\
    http.server.ThreadingHTTPServer((sys.argv[1], 80), Handler).serve_forever()\n";

/// Neither redirects nor the Dockerfile of a context elsewhere have the daemon ask what only its machine reaches.
#[test]
fn what_comes_from_elsewhere_leads_to_no_web_server_of_this_machine() -> Result<()> {
    const FAR: &str = "203.0.113.7";
    let site = Site::new()?;
    capture(site.world.command("ip").args(["addr", "add", FAR, "dev", "lo"]))?.ok();
    let served = Served::start(&site)?;
    let base = served.work.parent().unwrap_or(&served.work);
    let _servers = ["127.0.0.1", FAR].map(|at| tare_tests::Served::python(&site.world, base, WEB, at));
    std::fs::write(base.join("secret"), "secret")?;
    served.more("lib.git", &[("Dockerfile", "FROM scratch\nCOPY . /\n")], &[])?;
    let to = |from: &str, to: &str| format!("http://{from}/to/http%253A//{to}/lib.git/.git");
    git(&base.join("lib.git"), &["update-server-info"])?;
    // A server that has moved is followed, but not to here.
    for (remote, words) in [
        (to(FAR, FAR), "Successfully built"),
        (to("127.0.0.1", "127.0.0.1"), "Successfully built"),
        (to(FAR, "127.0.0.1"), "redirects from elsewhere to this machine"),
        (to(FAR, "localhost"), "redirects from elsewhere to this machine"),
        (to(FAR, "127.0.0.1").replace("/to/", "/sly/"), "returned error: 301"),
    ] {
        let said = site.post(&format!("remote={remote}"), b"")?;
        assert!(said.contains(words), "{remote}: {said}");
    }
    for (number, near) in [
        "http://127.0.0.1/secret",
        "http://localhost/secret",
        "http://127.0.0.1/lib.git/.git",
        "git://127.0.0.1/lib.git",
    ]
    .into_iter()
    .enumerate()
    {
        let text = format!("FROM scratch\nADD {near} /x\n");
        let name = format!("add{number}.git");
        served.more(&name, &[("Dockerfile", &text)], &[])?;
        git(&base.join(&name), &["update-server-info"])?;
        std::fs::write(base.join("Only"), &text)?;
        for (far, near) in [
            (format!("http://{FAR}/{name}/.git"), format!("http://127.0.0.1/{name}/.git")),
            (format!("http://{FAR}/Only"), "http://127.0.0.1/Only".to_owned()),
        ] {
            let said = site.post(&format!("remote={far}"), b"")?;
            assert!(
                said.contains("leads to this machine") && !said.contains("Successfully"),
                "{far}: {said}"
            );
            let said = site.post(&format!("remote={near}"), b"")?;
            assert!(said.contains("Successfully built"), "{near}: {said}");
            // A Dockerfile of one's own may name what it likes, whatever lies beside it.
            let mut tare = site.world.tare_command()?;
            tare.args(["build", "-f", "-", &far]);
            capture_with_input(&mut tare, text.as_bytes())?.ok();
        }
    }
    site.world.assert_clean(&[])
}

#[test]
fn submodules_in_each_other_have_an_end() -> Result<()> {
    let site = Site::new()?;
    let served = Served::start(&site)?;
    let mut commit = served.more("r0.git", &[("Dockerfile", "FROM scratch\n")], &[])?;
    for number in 1..19 {
        let (name, url) = (format!("r{number}.git"), format!("../r{}.git", number - 1));
        commit =
            served.more(&name, &[("Dockerfile", "FROM scratch\nCOPY . /\n")], &[("sub", &commit, &url)])?;
    }
    let said = site.post("remote=git://127.0.0.1/r10.git", b"")?;
    assert!(said.contains("Successfully built"), "{said}");
    let said = site.post("remote=git://127.0.0.1/r18.git", b"")?;
    assert!(said.contains("too many submodules in each other"), "{said}");
    site.world.assert_clean(&[])
}

/// A repository of ten objects that names ten thousand million files ("git bomb"): none of them is written.
#[test]
fn a_repository_that_explodes_is_refused_before_it_does() -> Result<()> {
    let site = Site::new()?;
    let served = Served::start(&site)?;
    let work = &served.work;
    let mut object = git(work, &["hash-object", "-w", "sub/file"])?;
    for level in 0..10 {
        let kind = if level == 0 { "100644 blob" } else { "040000 tree" };
        let tree: String = (0..10).map(|name| format!("{kind} {object}\t{name}\n")).collect();
        let mut make = Command::new("git");
        make.arg("-C").arg(work).arg("mktree");
        object = capture_with_input(&mut make, tree.as_bytes())?.ok().to_owned();
    }
    let commit = git(work, &["commit-tree", "-m", "bomb", &object])?;
    git(work, &["branch", "bomb", &commit])?;
    let free = || rustix::fs::statvfs(site.world.dir()).map(|found| found.f_ffree);
    let before = free()?;
    let said = site.post("t=built&remote=git://127.0.0.1/app.git%23bomb", b"")?;
    assert!(said.contains("came to too much") || said.contains("has more than 4000000 files"), "{said}");
    assert!(before.saturating_sub(free()?) < 1_000_000, "its files were written");
    site.world.assert_clean(&[])
}
