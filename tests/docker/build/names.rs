//! Names in a Dockerfile that lead elsewhere, wherever the tree that they are looked for in has links.

use anyhow::Result;

use super::Site;

/// The file of a here-document has its delimiter as its name. Resolved as a path, it would lead through the image's links from
/// the host's root.
#[test]
fn a_here_document_makes_no_file_of_the_host() -> Result<()> {
    let site = Site::new()?;
    let victim = site.world.dir().join("victim");
    std::fs::create_dir_all(&victim)?;
    std::fs::write(victim.join("kept"), "kept")?;
    let out = victim.display();
    let linked = format!("FROM IMAGE\nRUN mkdir /d && ln -s {out} /d/link && ln -s {out}/kept /d/file\n");
    for step in [
        "COPY <<link/new /d/\nx\nlink/new\n",
        "COPY <<link/kept /d/\nx\nlink/kept\n",
        "ADD <<'../d/link/new' /d/\nx\n../d/link/new\n",
        "RUN <<link/new\n#!/bin/cat\nlink/new\n",
        "ONBUILD COPY <<link/new /d/\nx\nlink/new\n",
    ] {
        site.dockerfile(&format!("{linked}{step}"))?;
        let refused = site.build(&[])?;
        assert!(refused.code != 0 && refused.err.contains("without slashes"), "{step}: {refused:?}");
    }
    // A name alone replaces a link and does not go through it.
    site.built(&format!("{linked}COPY <<file /d/\nx\nfile\nCOPY <<other /d/file\ny\nother\n"))?;
    assert_eq!(site.shell("test ! -L /d/file && cat /d/file")?, "y");
    assert_eq!(std::fs::read_dir(&victim)?.count(), 1);
    assert_eq!(std::fs::read_to_string(victim.join("kept"))?, "kept");
    site.world.assert_clean(&[])
}
