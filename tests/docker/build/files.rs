//! COPY and ADD.

use anyhow::Result;

use super::Site;

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
    for (flag, name) in [("-czf", "a.tar.gz"), ("-cf", "b.tar"), ("--zstd", "c.tar.zst")] {
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
    site.built("FROM IMAGE\nADD a.tar.gz /a/\nADD b.tar /b\nADD c.tar.zst /c/\nCOPY b.tar /plain/\nADD --unpack=false b.tar /kept/\n")?;
    for place in ["a", "b", "c"] {
        assert_eq!(
            site.shell(&format!("cat /{place}/inner/file; echo; stat -c %u /{place}/inner/file"))?,
            "packed\n1000"
        );
    }
    assert_eq!(site.shell("ls /plain /kept")?, "/kept:\nb.tar\n\n/plain:\nb.tar");
    Ok(())
}
