//! The query of `POST /build`, as the flags say.

use std::collections::BTreeMap;

use tare_docker_api::{BuildExport, BuildSsh};
use tare_model::{Platform, Reference, parse_bytes};

use super::export::{self, Output};
use super::secrets;
use crate::create::words::{Said, labels, map, pair};
use crate::create::{devices, networks};
use crate::failure::{Failure, Result};
use crate::flags::Given;

/// Everything that the flags say about a build, the context aside.
pub(crate) struct Request {
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) tags: Vec<Reference>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) secrets: Vec<secrets::Secret>,
    /// `--build-arg`, those with a value.
    pub(crate) args: BTreeMap<String, String>,
    /// `--build-context`: name → where.
    pub(crate) contexts: BTreeMap<String, String>,
}

/// Reads the flags; refuses what Tare lacks.
pub(crate) fn read(given: &Given) -> Result<Request> {
    refuse(given)?;
    let environment = |name: &str| std::env::var(name).ok();
    let tags = given.each("tag", tag)?;
    let args = arguments(&given.list("build-arg"), environment);
    let contexts = contexts(given)?;
    let outputs = outputs(given)?;
    let ssh = given.each("ssh", |text| secrets::ssh(text, environment))?;
    let mut query = limits(given)?;
    query.extend(tags.iter().map(|tag| ("t", tag.familiar())));
    query.extend(given.each("add-host", networks::host)?.into_iter().map(|host| ("extrahosts", host)));
    let some = |name: &'static str, value: Option<String>| {
        value.filter(|value| !value.is_empty()).map(|value| (name, value))
    };
    query.extend(some("platform", Some(platforms(given)?.join(","))));
    query.extend(some("target", given.text("target").map(str::to_owned)));
    query.extend(some("networkmode", given.text("network").map(str::to_owned)));
    for (name, flag) in [
        ("nocache", "no-cache"),
        ("pull", "pull"),
        ("squash", "squash"),
        ("q", "quiet"),
        ("forcerm", "force-rm"),
    ] {
        query.extend(given.on(flag).then(|| (name, "1".to_owned())));
    }
    query.push(("rm", if given.on("rm") { "1" } else { "0" }.to_owned()));
    query.extend(json("buildargs", &args));
    query.extend(json("labels", &labels(&[], &given.list("label")).map_err(Failure::usage)?));
    query.extend(json("cachefrom", &cache_from(&given.list("cache-from"))?));
    query.extend(json("ulimits", &given.each("ulimit", devices::ulimit)?));
    query.extend(json("allow", &given.list("allow")));
    query.extend(json::<Vec<BuildSsh>>("ssh", &ssh));
    let wanted: Vec<BuildExport> = outputs.iter().map(|output| output.wanted.clone()).collect();
    query.extend(json("outputs", &wanted));
    query.push(("tareprogress", "1".to_owned()));
    let args = args.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let secrets = given.each("secret", |text| secrets::secret(text, environment))?;
    Ok(Request { query, tags, outputs, secrets, args, contexts })
}

fn refuse(given: &Given) -> Result<()> {
    if let Some(other) = given.list("cache-to").into_iter().find(|text| !is_inline(text)) {
        return Err(Failure::not_supported(&format!("--cache-to {other}"))
            .hint("type=inline is what every image has: push it, and name it with --cache-from"));
    }
    for flag in ["no-cache-filter", "security-opt"] {
        if given.has(flag) {
            return Err(Failure::not_supported(&format!("--{flag}")));
        }
    }
    // No image gets attestations; scripts that want none say so, as docker's build makes them.
    for flag in ["provenance", "sbom"] {
        if let Some(wanted) = given.text(flag).filter(|text| *text != "false") {
            return Err(Failure::not_supported(&format!("--{flag} {wanted}")));
        }
    }
    match given.text("isolation") {
        None | Some("" | "default") => Ok(()),
        Some(other) => Err(Failure::not_supported(&format!("--isolation {other}"))),
    }
}

fn is_inline(text: &str) -> bool {
    map(&text.split(',').map(str::to_owned).collect::<Vec<_>>())
        .get("type")
        .is_some_and(|kind| kind == "inline")
}

fn tag(text: &str) -> Said<Reference> {
    let reference = text.parse::<Reference>().map_err(|error| error.to_string())?;
    if reference.digest().is_some() {
        return Err("a name with a digest cannot be given to what is not built yet".to_owned());
    }
    Ok(reference.or_latest())
}

/// As the daemon writes them; each `--platform` may hold several, with commas between them.
fn platforms(given: &Given) -> Result<Vec<String>> {
    let all = given.each("platform", |text| {
        let each =
            text.split(',').map(|one| one.trim().parse::<Platform>().map_err(|error| error.to_string()));
        each.collect::<Said<Vec<_>>>()
    })?;
    Ok(all.into_iter().flatten().map(|platform| platform.to_string()).collect())
}

/// A name alone takes the value of the environment; without one there, the daemon is told that it is not set.
fn arguments(
    given: &[String],
    environment: impl Fn(&str) -> Option<String>,
) -> BTreeMap<String, Option<String>> {
    let each = given.iter().map(|text| match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.clone(), environment(text)),
    });
    each.collect()
}

/// Images; `type=registry,ref=NAME` is BuildKit's way of saying it.
fn cache_from(given: &[String]) -> Result<Vec<String>> {
    let read = |text: &String| {
        if !text.contains('=') {
            return Ok(text.clone());
        }
        let fields = map(&text.split(',').map(str::to_owned).collect::<Vec<_>>());
        match (fields.get("type").map(String::as_str), fields.get("ref")) {
            (None | Some("registry"), Some(image)) => Ok(image.clone()),
            _ => Err(Failure::not_supported(&format!("--cache-from {text}"))
                .hint("name an image, or type=registry,ref=IMAGE")),
        }
    };
    given.iter().map(read).collect()
}

fn outputs(given: &Given) -> Result<Vec<Output>> {
    let mut outputs = given.each("output", export::output)?;
    if given.on("push") {
        if given.list("tag").is_empty() {
            return Err(Failure::usage("--push needs a name to push to: add -t REGISTRY/NAME"));
        }
        let attrs = BTreeMap::from([("push".to_owned(), "true".to_owned())]);
        outputs.push(Output { wanted: BuildExport { kind: "image".to_owned(), attrs }, destination: None });
    }
    let to_stdout = outputs.iter().filter(|output| output.destination.as_deref() == Some("-")).count();
    if to_stdout > 1 || (to_stdout == 1 && given.on("quiet")) {
        return Err(Failure::usage("standard output can take one archive alone: name files with dest=FILE"));
    }
    Ok(outputs)
}

fn contexts(given: &Given) -> Result<BTreeMap<String, String>> {
    let read = |text: &str| {
        let (name, place) = pair(text);
        if name.is_empty() || place.is_empty() {
            return Err(format!("\"{text}\" is not name=path"));
        }
        match place.split_once("://") {
            Some(("oci-layout", _)) => {
                Err("not supported yet: contexts from an OCI layout: load it, and use docker-image://"
                    .to_owned())
            }
            Some(("target", _)) => Err("not supported yet: contexts from other targets".to_owned()),
            _ => Ok((name, place)),
        }
    };
    Ok(given.each("build-context", read)?.into_iter().collect())
}

fn limits(given: &Given) -> Result<Vec<(&'static str, String)>> {
    let mut query = Vec::new();
    for (name, flag) in [("cpushares", "cpu-shares"), ("cpuperiod", "cpu-period"), ("cpuquota", "cpu-quota")]
    {
        query.extend(given.number::<i64>(flag)?.map(|number| (name, number.to_string())));
    }
    for (name, flag) in
        [("cpusetcpus", "cpuset-cpus"), ("cpusetmems", "cpuset-mems"), ("cgroupparent", "cgroup-parent")]
    {
        query.extend(given.text(flag).map(|text| (name, text.to_owned())));
    }
    let bytes =
        |text: &str| parse_bytes(text).map_err(|error| error.to_string()).map(|bytes| bytes.to_string());
    let swap = |text: &str| if text == "-1" { Ok(text.to_owned()) } else { bytes(text) };
    query.extend(given.parsed("memory", bytes)?.map(|memory| ("memory", memory)));
    query.extend(given.parsed("memory-swap", swap)?.map(|memory| ("memswap", memory)));
    query.extend(given.parsed("shm-size", bytes)?.map(|size| ("shmsize", size)));
    Ok(query)
}

/// A parameter whose value is JSON; nothing where there is nothing in it.
fn json<T: serde::Serialize>(name: &'static str, value: &T) -> Option<(&'static str, String)> {
    let text = serde_json::to_string(value).ok()?;
    (!matches!(text.as_str(), "[]" | "{}" | "null")).then_some((name, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::flags::BUILD;

    fn asked(words: &[&str]) -> Result<Request> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        read(&crate::flags::read(&[BUILD], false, &words)?)
    }

    #[test]
    fn flags_become_the_apis_query() {
        let words = [
            "-t",
            "a/b",
            "-t",
            "127.0.0.1:5000/c:v1",
            "--build-arg",
            "A=1",
            "--build-arg",
            "TARE_TEST_UNSET_NAME",
            "--label",
            "l=x y",
            "--target",
            "final",
            "--no-cache",
            "--pull",
            "--network",
            "none",
            "--add-host",
            "h:1.2.3.4",
            "--platform",
            "linux/amd64",
            "-m",
            "64m",
            "--memory-swap",
            "-1",
            "--shm-size",
            "1g",
            "--ulimit",
            "nofile=10:20",
            "--cache-from",
            "type=registry,ref=r/x",
            "-o",
            "type=tar,dest=/x",
            "--push",
        ];
        let request = asked(&words).unwrap();
        insta::assert_debug_snapshot!(request.query);
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        for (words, part) in [
            (&["--cache-to", "x"][..], "not supported yet: --cache-to"),
            (&["--cache-from", "x,y=z"], "not supported yet: --cache-from"),
            (&["--isolation", "hyperv"], "not supported yet: --isolation hyperv"),
            (&["-t", "A"], "must be lowercase"),
            (
                &["-t", "a@sha256:0000000000000000000000000000000000000000000000000000000000000000"],
                "with a digest",
            ),
            (&["--platform", "linux/amd64,,linux/arm64"], "platform"),
            (&["--push"], "needs a name"),
            (&["--build-context", "x"], "not name=path"),
            (&["--build-context", "x=oci-layout://y"], "OCI layout"),
            (&["--secret", "src=x"], "needs id"),
            (&["--label", "=x"], "its name is empty"),
            (&["-m", "lots"], "\"-m, --memory\""),
            (&["--ulimit", "x=1"], "invalid ulimit type"),
        ] {
            let message = asked(words).err().unwrap().message;
            assert!(message.contains(part), "{words:?}: {message}");
        }
    }
}
