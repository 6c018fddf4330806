//! Entries before the context: who asks for the build sends them, and nobody whose files are built counts as him.

use anyhow::{Context, Result};
use tar::EntryType::Regular;
use tare_tests::capture_with_input;

use super::{Site, archive};

/// Names of a tree that means to have its way.
const NAMES: [&str; 4] = [".tare-contexts/c/x", ".tare-dockerfile", ".tare-end", ".tare-secrets/key"];
/// Shows these files as they came with the context.
const LOOK: &str = "cat /all/.tare-contexts/c/x /all/.tare-dockerfile /all/.tare-end /all/.tare-secrets/key | sort | uniq -c";
const EACH_IS_THEIRS: &str = "4 FROM nowhere/theirs";

/// The files of the tree, and a Dockerfile under this name.
fn theirs<'a>(name: &'a str, text: &'a str) -> Vec<(&'a str, tar::EntryType, &'a str, &'a [u8])> {
    let tree = NAMES.map(|name| (name, Regular, "", &b"FROM nowhere/theirs\n"[..]));
    tree.into_iter().chain([(name, Regular, "", text.as_bytes())]).collect()
}

/// What other clients send has no special names, whether it is sent or fetched.
#[test]
fn no_file_of_a_context_is_a_special_one() -> Result<()> {
    let site = Site::new()?;
    for name in NAMES {
        site.file(name, "FROM nowhere/theirs\n")?;
    }
    site.built("FROM IMAGE\nCOPY . /all\n")?;
    assert_eq!(site.shell(LOOK)?.trim(), EACH_IS_THEIRS);
    let web = site.world.dir().join("web");
    std::fs::create_dir_all(&web)?;
    let text = format!("FROM {}\nCOPY . /all\n", site.image);
    std::fs::write(web.join("context.tar"), archive(&theirs("Dockerfile", &text))?)?;
    let _web = tare_tests::Served::web(&site.world, &web)?;
    // What is beside the address counts only where it is said that there is something.
    let beside =
        archive(&[(".tare-dockerfile", Regular, "", b"FROM nowhere/mine\n"), ("x", Regular, "", b"")])?;
    for body in [&b""[..], &beside] {
        site.world.docker(&["rmi", "built"])?.ok();
        let said = site.post("t=built&nocache=1&remote=http://127.0.0.1:8000/context.tar", body)?;
        assert!(said.contains("Successfully tagged"), "{said}");
        assert_eq!(site.shell(LOOK)?.trim(), EACH_IS_THEIRS);
    }
    // No files of a further context have come.
    let said = site.post(
        "contexts=%7B%22c%22:%22tar:c%22%7D",
        &archive(&theirs("Dockerfile", "FROM scratch\nCOPY --from=c x /\n"))?,
    )?;
    assert!(said.contains("the files of the build context c did not come"), "{said}");
    site.world.assert_clean(&[])
}

/// A person builds foreign files by a Dockerfile of his own, with a secret.
#[test]
fn a_foreign_directory_changes_neither_dockerfile_nor_secret_nor_further_context() -> Result<()> {
    let site = Site::new()?;
    for name in NAMES {
        site.file(name, "FROM nowhere/theirs\n")?;
    }
    site.file("inside", format!("FROM {}\nCOPY . /all\n", site.image))?;
    let mine = site.world.dir().join("mine");
    std::fs::create_dir_all(mine.join("c"))?;
    std::fs::write(mine.join("c/x"), "further")?;
    std::fs::write(mine.join("key"), "secret")?;
    let text =
        "COPY . /all\nCOPY --from=c x /x\nRUN --mount=type=secret,id=key cat /x /run/secrets/key > /seen\n";
    std::fs::write(mine.join("Dockerfile"), format!("FROM {}\n{text}", site.image))?;
    let here = |name: &str| mine.join(name).display().to_string();
    let (secret, further) = (format!("id=key,src={}", here("key")), format!("c={}", here("c")));
    let dockerfile = here("Dockerfile");
    let words =
        ["build", "-t", "built", "--no-cache", "--secret", &secret, "--build-context", &further, "-f"];
    let directory = site.directory();
    let context = directory.to_str().context("a path that is text")?;
    site.world.tare(&[&words[..], &[&dockerfile, context]].concat())?.ok();
    assert_eq!(site.shell("cat /seen")?, "furthersecret");
    assert_eq!(site.shell(LOOK)?.trim(), EACH_IS_THEIRS);
    // Nothing but the context is sent, and the person names the Dockerfile in it.
    site.world.docker(&["rmi", "built"])?.ok();
    let inside = directory.join("inside").display().to_string();
    site.world.tare(&["build", "-t", "built", "-f", &inside, context])?.ok();
    assert_eq!(site.shell(LOOK)?.trim(), EACH_IS_THEIRS);
    // The files come as an archive.
    site.world.docker(&["rmi", "built"])?.ok();
    let text = format!("FROM {}\n{text}", site.image);
    let mut tare = site.world.tare_command()?;
    tare.args(words).args(["file", "-"]);
    capture_with_input(&mut tare, &archive(&theirs("file", &text))?)?.ok();
    assert_eq!(site.shell("cat /seen")?, "furthersecret");
    assert_eq!(site.shell(LOOK)?.trim(), EACH_IS_THEIRS);
    site.world.assert_clean(&[])
}

/// What is announced comes first, once, and has an end.
#[test]
fn reserved_entries_out_of_order_are_refused() -> Result<()> {
    let site = Site::new()?;
    let file = ("Dockerfile", Regular, "", &b"FROM scratch\nCOPY . /\n"[..]);
    let (end, key) = ((".tare-end", Regular, "", &b""[..]), (".tare-secrets/key", Regular, "", &b"x"[..]));
    let apart = (".tare-dockerfile", file.1, file.2, file.3);
    for (entries, words) in [
        (&[key, file, end][..], "comes before the end of the reserved entries"),
        (&[key, key, end, file], "comes twice"),
        (&[apart, key, apart, end, file], "comes twice"),
        (&[key, apart], "is missing"),
    ] {
        let said = site.post("tarereserved=1", &archive(entries)?)?;
        assert!(said.contains("the build context is refused") && said.contains(words), "{words}: {said}");
    }
    let said = site.post("tarereserved=1", &archive(&[key, end, file])?)?;
    assert!(said.contains("Successfully built"), "{said}");
    site.world.assert_clean(&[])
}
