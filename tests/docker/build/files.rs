//! COPY and ADD.

use anyhow::Result;
use tare_tests::capture_with_input;

use super::Site;

/// Docker's client ends the archive of such a context right after the last content, without what fills its block.
#[test]
fn a_dockerfile_lies_elsewhere_or_comes_on_standard_input() -> Result<()> {
    let site = Site::new()?;
    site.file("hello", "hi")?;
    site.file(".dockerignore", "nothing\n")?;
    let text = format!("FROM {}\nCOPY . /all\n", site.image);
    let outside = site.world.dir().join("Elsewhere").display().to_string();
    std::fs::write(&outside, &text)?;
    site.build(&["-f", &outside])?.ok();
    assert_eq!(site.shell("cd /all; ls -A; cat hello")?, ".dockerignore\nhello\nhi");
    let mut command = site.world.docker_command()?;
    command.env("DOCKER_BUILDKIT", "0").args(["build", "--no-cache", "-t", "built", "-f", "-"]);
    capture_with_input(command.arg(site.directory()), text.as_bytes())?.ok();
    assert_eq!(site.shell("cd /all; ls -A; cat hello")?, ".dockerignore\nhello\nhi");
    Ok(())
}

#[test]
fn files_land_where_the_reference_says() -> Result<()> {
    let site = Site::new()?;
    for name in ["one.txt", "two.txt", "dir/a", "dir/sub/b", "dir/sub/c.md", "skip/me"] {
        site.file(name, name)?;
    }
    std::os::unix::fs::symlink("one.txt", site.directory().join("link"))?;
    std::os::unix::fs::symlink("sub/b", site.directory().join("dir/inner"))?;
    site.file(".dockerignore", "skip\n")?;
    site.built(
        "FROM IMAGE\nWORKDIR /w\nCOPY *.txt texts/\nCOPY dir /whole\nCOPY one.txt renamed\nCOPY link /l/\n\
         COPY --exclude=**/*.md dir /fewer/\nCOPY --parents dir/sub/b one.txt /deep/\nCOPY [\"dir/sub\", \"/w/sub dir/\"]\n\
         RUN mkdir /real && ln -s /real /alias && ln -s /real /w/rel\nCOPY one.txt /alias\nCOPY dir/sub rel/\nCOPY . /all\n\
         COPY <<one <<two /texts/\nfirst $HOME\none\nsecond\ntwo\n",
    )?;
    for (path, content) in [
        ("/w/texts/one.txt", "one.txt"),
        ("/w/texts/two.txt", "two.txt"),
        ("/whole/sub/b", "dir/sub/b"),
        ("/w/renamed", "one.txt"),
        ("/l/link", "one.txt"),
        ("/fewer/sub/b", "dir/sub/b"),
        ("/deep/dir/sub/b", "dir/sub/b"),
        ("/deep/one.txt", "one.txt"),
        ("'/w/sub dir/b'", "dir/sub/b"),
        ("/real/one.txt", "one.txt"),
        ("/real/b", "dir/sub/b"),
        ("/texts/two", "second"),
    ] {
        assert_eq!(site.shell(&format!("cat {path}"))?, content, "{path}");
    }
    assert_eq!(site.shell("readlink /whole/inner; test -L /l/link || echo file")?, "sub/b\nfile");
    assert_eq!(
        site.shell("test -e /fewer/sub/c.md || echo gone; test -e /all/skip || echo ignored")?,
        "gone\nignored"
    );
    assert_eq!(site.shell("stat -c '%u:%g' /whole/sub/b; test -L /alias && echo link")?, "0:0\nlink");
    Ok(())
}

#[test]
fn archives_are_unpacked_by_add_and_not_by_copy() -> Result<()> {
    let site = Site::new()?;
    site.file("tree/inner/file", "packed")?;
    let directory = site.directory();
    let kinds = [
        ("-czf", "a.tar.gz"),
        ("-cf", "b.tar"),
        ("--zstd", "c.tar.zst"),
        ("-cjf", "d.tar.bz2"),
        ("-cJf", "e.tar.xz"),
    ];
    for (flag, name) in kinds {
        let mut tar = std::process::Command::new("tar");
        tar.arg(flag);
        if flag == "--zstd" {
            tar.arg("-cf");
        }
        tar.arg(directory.join(name)).arg("-C").arg(directory.join("tree")).args([
            "--owner=1000",
            "--group=1000",
            "inner",
        ]);
        tare_tests::capture(&mut tar)?.ok();
    }
    site.built("FROM IMAGE\nADD a.tar.gz /a/\nADD b.tar /b\nADD c.tar.zst /c/\nADD d.tar.bz2 /d/\nADD e.tar.xz /e/\nCOPY b.tar /plain/\nADD --unpack=false b.tar /kept/\n")?;
    for place in ["a", "b", "c", "d", "e"] {
        assert_eq!(
            site.shell(&format!("cat /{place}/inner/file; echo; stat -c %u /{place}/inner/file"))?,
            "packed\n1000"
        );
    }
    assert_eq!(site.shell("ls /plain /kept")?, "/kept:\nb.tar\n\n/plain:\nb.tar");
    Ok(())
}

/// Contexts, images and trees come in every compression that Docker takes; both command lines send them as they are.
#[test]
fn archives_arrive_compressed_in_any_way() -> Result<()> {
    let site = Site::new()?;
    site.file("Dockerfile", format!("FROM {}\nCOPY file /file\n", site.image))?;
    let saved = site.directory().join("saved.tar");
    site.world.docker(&["save", "-o", &saved.to_string_lossy(), &site.image])?.ok();
    let saved = std::fs::read(&saved)?;
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        let pack = |bytes: &[u8]| {
            let path = site.directory().join("packed");
            std::fs::write(&path, bytes)?;
            std::fs::remove_file(path.with_extension("out")).or_else(|_| anyhow::Ok(()))?;
            let mut shell = std::process::Command::new("sh");
            shell.arg("-c").arg(format!("{program} -c packed > packed.out")).current_dir(site.directory());
            tare_tests::capture(&mut shell)?.ok();
            anyhow::Ok(std::fs::read(path.with_extension("out"))?)
        };
        let regular = tar::EntryType::Regular;
        let dockerfile = std::fs::read(site.directory().join("Dockerfile"))?;
        let context = super::archive(&[
            ("Dockerfile", regular, "", &dockerfile),
            ("file", regular, "", program.as_bytes()),
        ])?;
        let context = pack(&context)?;
        for client in ["tare", "docker"] {
            let mut command =
                if client == "tare" { site.world.tare_command()? } else { site.world.docker_command()? };
            command.env("DOCKER_BUILDKIT", "0").args(["build", "-t", "built", "-"]);
            tare_tests::capture_with_input(&mut command, &context)?.ok();
            assert_eq!(site.shell("cat /file")?, program, "{client}");
            site.world.docker(&["rmi", "built"])?.ok();
            let mut command =
                if client == "tare" { site.world.tare_command()? } else { site.world.docker_command()? };
            tare_tests::capture_with_input(command.arg("load"), &pack(&saved)?)?.ok();
            let mut command =
                if client == "tare" { site.world.tare_command()? } else { site.world.docker_command()? };
            let tree = super::archive(&[("file", regular, "", b"imported")])?;
            let imported =
                tare_tests::capture_with_input(command.args(["import", "-", "tree"]), &pack(&tree)?)?;
            assert!(imported.ok().contains("sha256:"), "{client} {program}: {imported:?}");
        }
    }
    site.world.assert_clean(&[])
}

#[test]
fn add_fetches_and_believes_only_the_bytes() -> Result<()> {
    let site = Site::new()?;
    let served = site.world.dir().join("served");
    std::fs::create_dir_all(&served)?;
    std::fs::write(served.join("file.txt"), "one")?;
    let _web = tare_tests::Served::web(&site.world, &served)?;
    let dockerfile = "FROM IMAGE\nADD http://127.0.0.1:8000/file.txt /got/\nADD --chmod=755 http://127.0.0.1:8000/file.txt /named\n";
    site.built(dockerfile)?;
    assert_eq!(
        site.shell("cat /got/file.txt /named; stat -c ' %a' /got/file.txt /named")?,
        "oneone 600\n 755"
    );
    let again = site.built(dockerfile)?;
    assert_eq!(again.out.matches("Using cache").count(), 2, "{}", again.out);
    // A context by address: an archive, or a Dockerfile alone.
    std::fs::write(served.join("Only"), format!("FROM {}\nRUN echo only > /only\n", site.image))?;
    let said = site.post("t=built&remote=http://127.0.0.1:8000/Only", b"")?;
    assert!(said.contains("Successfully tagged"), "{said}");
    assert_eq!(site.shell("cat /only")?, "only");
    let regular = tar::EntryType::Regular;
    let body = super::archive(&[
        ("Dockerfile", regular, "", format!("FROM {}\nCOPY x /x\n", site.image).as_bytes()),
        ("x", regular, "", b"far"),
    ])?;
    std::fs::write(served.join("context.tar"), body)?;
    let said = site.post("t=built&remote=http://127.0.0.1:8000/context.tar", b"")?;
    assert!(said.contains("Successfully tagged"), "{said}");
    assert_eq!(site.shell("cat /x")?, "far");
    let said = site.post("remote=https://127.0.0.1:8000/a.git", b"")?;
    assert!(said.contains("git fetch https://127.0.0.1:8000/a.git"), "{said}");
    // The same length, and the date of the first: what it says of itself is the same.
    let date = std::fs::metadata(served.join("file.txt"))?.modified()?;
    std::fs::write(served.join("file.txt"), "two")?;
    std::fs::File::options().append(true).open(served.join("file.txt"))?.set_modified(date)?;
    site.built(dockerfile)?;
    assert_eq!(site.shell("cat /named")?, "two");
    let wrong =
        format!("FROM IMAGE\nADD --checksum=sha256:{} http://127.0.0.1:8000/file.txt /x\n", "ab".repeat(32));
    for (text, words) in [
        (wrong.as_str(), "--checksum wants"),
        ("FROM IMAGE\nADD http://127.0.0.1:8000/missing /x\n", "404"),
        ("FROM IMAGE\nADD http://127.0.0.1:9/x /x\n", "refused"),
        ("FROM IMAGE\nADD http://127.0.0.1:8000/ /x\n", "names no file"),
        ("FROM IMAGE\nADD https://127.0.0.1:8000/a.git /x\n", "git fetch"),
    ] {
        site.dockerfile(text)?;
        let failed = site.build(&[])?;
        assert!(failed.code != 0 && failed.err.contains(words), "{text}: {}", failed.err);
    }
    Ok(())
}

/// What other clients send is judged by the context's own rules, as docker's does not have to be.
#[test]
fn what_is_ignored_is_no_part_of_the_context() -> Result<()> {
    let site = Site::new()?;
    let dockerfile = format!("FROM {}\nCOPY . /all\n", site.image);
    let regular = tar::EntryType::Regular;
    let body = super::archive(&[
        ("Dockerfile", regular, "", dockerfile.as_bytes()),
        (".dockerignore", regular, "", b"Dockerfile\n.dockerignore\n*.log\ndeep/*\n!deep/kept\nempty\n"),
        ("a.log", regular, "", b"x"),
        ("b.txt", regular, "", b"x"),
        ("deep/kept", regular, "", b"x"),
        ("deep/gone", regular, "", b"x"),
        ("empty/x", regular, "", b"x"),
    ])?;
    let said = site.post("t=built", &body)?;
    assert!(said.contains("Successfully tagged"), "{said}");
    assert_eq!(site.shell("cd /all && find . -type f | sort")?, "./b.txt\n./deep/kept");
    // A Dockerfile from elsewhere, and a further context.
    let elsewhere = format!("FROM {}\nCOPY --from=other f /f\nCOPY . /all\n", site.image);
    let body = super::archive(&[
        (".tare-dockerfile", regular, "", elsewhere.as_bytes()),
        (".tare-contexts/other/f", regular, "", b"other"),
        (".tare-end", regular, "", b""),
        ("b.txt", regular, "", b"x"),
    ])?;
    let said = site.post("tarereserved=1&t=built&contexts=%7B%22other%22:%22tar:other%22%7D", &body)?;
    assert!(said.contains("Successfully tagged"), "{said}");
    assert_eq!(site.shell("cat /f; find /all -type f")?, "other/all/b.txt");
    Ok(())
}

#[test]
fn what_was_built_can_be_taken_as_an_archive_or_as_files() -> Result<()> {
    let site = Site::new()?;
    site.file("f", "content")?;
    site.dockerfile("FROM scratch\nCOPY f /deep/f\n")?;
    let mut tar = std::process::Command::new("tar");
    let body =
        std::process::Command::output(tar.args(["-c", "Dockerfile", "f"]).current_dir(site.directory()))?
            .stdout;
    // Bytes follow the line that tells how many they are.
    let exported = |query: &str| -> Result<Vec<u8>> {
        let answer = site.world.dir().join("answer");
        let mut posting = site.posting(query);
        capture_with_input(posting.arg("-o").arg(&answer), &body)?.ok();
        let answer = std::fs::read(answer)?;
        let (mut rest, mut all) = (&answer[..], Vec::new());
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: serde_json::Value = serde_json::from_slice(&rest[..end])?;
            let count = line["aux"]["tare.output"]["Bytes"].as_u64().unwrap_or_default();
            let (bytes, next) = rest[end + 1..].split_at(usize::try_from(count)?);
            all.extend_from_slice(bytes);
            rest = next;
        }
        Ok(all)
    };
    let files = exported("outputs=%5B%7B%22Type%22:%22tar%22%7D%5D")?;
    let mut archive = tar::Archive::new(std::io::Cursor::new(files));
    let names: Vec<String> =
        archive.entries()?.map(|entry| Ok(entry?.path()?.display().to_string())).collect::<Result<_>>()?;
    assert!(names.contains(&"deep/f".to_owned()), "{names:?}");
    assert_eq!(site.world.docker(&["images", "-aq"])?.ok().lines().count(), 1, "no image was asked for");
    let file = site.world.dir().join("image.tar");
    std::fs::write(&file, exported("t=built&outputs=%5B%7B%22Type%22:%22docker%22%7D%5D")?)?;
    site.world.docker(&["rmi", "built"])?.ok();
    let loaded = site.world.docker(&["load", "-i", file.to_str().unwrap_or_default()])?;
    assert!(loaded.ok().contains("built:latest"), "{loaded:?}");
    Ok(())
}
