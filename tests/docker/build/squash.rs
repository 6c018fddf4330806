//! `--squash`: one layer for all that a build adds.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Site;

/// Files that come and go from layer to layer: of the base and of the build, links, owners, kinds that change.
const STEPS: &str = "RUN mkdir -p /tree/deep /gone && echo one > /tree/one && echo x > /gone/x && ln /tree/one /tree/deep/two && echo base > /etc/added\n\
    RUN rm -r /gone /bin/vi /etc/added && echo more >> /tree/one && ln -s one /tree/link && mkfifo /tree/fifo\n\
    RUN rm -r /var/www && mkdir -p /var/www && echo new > /var/www/page && chown -R 1000:100 /var/www && chmod 2750 /var/www\n\
    RUN rm /tree/link && mkdir /tree/link && echo dir > /tree/link/file && mv /tree/deep /tree/moved\n\
    RUN rm -r /tree/moved && echo file > /tree/moved && touch -d '2001-02-03 04:05:06' /etc/group && chmod 4755 /tree/one && ln /tree/one /tree/three\n\
    ENV A=b\nCMD [\"cat\", \"/tree/one\"]\n";

/// All that a tree has, times included.
const LISTED: &str = "cd / && find . -xdev ! -path './etc/host*' ! -path ./etc/resolv.conf ! -path './dev*' ! -path './proc*' ! -path './sys*' \
    ! -path . ! -path ./etc -exec stat -c '%n %a %u %g %F %Y %s' {} + | sed 's/ \\(directory .*\\) [0-9]*$/ \\1/' | sort; \
    find . -xdev -type f ! -path './etc/host*' ! -path ./etc/resolv.conf ! -path './dev*' ! -path './proc*' ! -path './sys*' -exec md5sum {} + | sort";

fn inspected(site: &Site) -> Result<Value> {
    let looked: Vec<Value> = serde_json::from_str(site.world.docker(&["inspect", "built"])?.ok())?;
    looked.into_iter().next().context("an image")
}

fn history(site: &Site) -> Result<Vec<Value>> {
    let (_, history) = site.world.api("GET", "/images/built/history", None)?;
    Ok(serde_json::from_str(&history)?)
}

fn compared(driver: &str) -> Result<()> {
    let site = Site::with(&["--storage-driver", driver])?;
    let base = site.world.docker(&["inspect", "--format", "{{json .RootFS.Layers}}", &site.image])?;
    let base: Vec<String> = serde_json::from_str(base.ok())?;
    site.built(&format!("FROM IMAGE\n{STEPS}"))?;
    let (plain, listed) = (inspected(&site)?, site.shell(LISTED)?);
    for client in ["docker", "tare"] {
        if client == "tare" {
            let directory = site.directory();
            site.world.tare(&["build", "--squash", "-t", "built", &directory.to_string_lossy()])?.ok();
        } else {
            let squashed = site.post(
                "squash=1&t=built",
                &super::archive(&[(
                    "Dockerfile",
                    tar::EntryType::Regular,
                    "",
                    &std::fs::read(site.directory().join("Dockerfile"))?,
                )])?,
            )?;
            assert!(
                squashed.contains("Using cache") && squashed.contains("Successfully tagged"),
                "{squashed}"
            );
        }
        let found = inspected(&site)?;
        let layers = found["RootFS"]["Layers"].as_array().context("layers")?.len();
        assert_eq!(layers, base.len() + 1, "{driver} {client}");
        assert_eq!(found["RootFS"]["Layers"][0], base[0]);
        assert_eq!(found["Config"], plain["Config"], "{driver} {client}");
        assert_eq!(site.shell(LISTED)?, listed, "{driver} {client}");
        assert_eq!(site.shell("stat -c %h /tree/one; cat /tree/three")?, "2\none\nmore", "{driver} {client}");
        let history = history(&site)?;
        let comment = history[0]["Comment"].as_str().context("a comment")?;
        assert!(comment.starts_with("merge sha256:") && comment.contains(" to sha256:"), "{comment}");
        let sizes = history.iter().filter(|step| step["Size"].as_i64() != Some(0)).count();
        assert_eq!(sizes, base.len() + 1, "{history:?}");
    }
    // It goes to another machine and back as it is.
    let saved = site.world.dir().join("saved.tar");
    let saved = saved.to_str().context("a path that is text")?;
    site.world.docker(&["save", "-o", saved, "built"])?.ok();
    site.world.docker(&["rmi", "-f", "built"])?.ok();
    site.world.docker(&["load", "-i", saved])?.ok();
    assert_eq!(site.shell(LISTED)?, listed, "{driver}");
    site.world.assert_clean(&[])
}

#[test]
fn what_is_squashed_is_the_same_tree_in_one_layer() -> Result<()> {
    ["overlayfs", "copy"].into_iter().try_for_each(compared)
}

#[test]
fn what_has_nothing_to_squash_stays_as_it_is() -> Result<()> {
    let site = Site::new()?;
    site.dockerfile("FROM IMAGE\nENV A=b\n")?;
    site.build(&[])?.ok();
    let id = site.id()?;
    let directory = site.directory();
    let tare = |words: &[&str]| {
        site.world.tare(&[&["build", "-t", "built"], words, &[&directory.to_string_lossy()]].concat())
    };
    tare(&["--squash"])?.ok();
    assert_eq!(site.id()?, id);
    // A stage upon another is squashed to that one; one upon nothing is told to be new.
    site.dockerfile("FROM IMAGE AS a\nRUN echo 1 > /1\nRUN echo 2 > /2\nFROM a\nRUN echo 3 > /3\nRUN rm /1 && echo 4 > /4\n")?;
    tare(&["--squash"])?.ok();
    assert_eq!(site.shell("cat /2 /3 /4; ls /1 2>/dev/null | wc -l")?, "2\n3\n4\n0");
    assert_eq!(inspected(&site)?["RootFS"]["Layers"].as_array().map(Vec::len), Some(4));
    site.dockerfile("FROM scratch\nCOPY Dockerfile /a\nCOPY Dockerfile /b\n")?;
    tare(&["--squash", "--build-arg", "SOURCE_DATE_EPOCH=1700000000"])?.ok();
    let first = site.id()?;
    let comment = history(&site)?[0]["Comment"].clone();
    assert!(
        comment.as_str().is_some_and(|comment| comment.starts_with("create new from sha256:")),
        "{comment}"
    );
    tare(&["--squash", "--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1700000000"])?.ok();
    assert_eq!(site.id()?, first, "the same each time");
    site.world.assert_clean(&[])
}
