//! From the query, the headers and the body of `POST /build` to what the engine builds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use tare_build::{BuildRequest, Entitlements, Export, NamedContext, Reuse, RunSettings, Source};
use tare_container::{Limits, NetworkMode};
use tare_docker_api::{BuildExport, BuildSsh};
use tare_http::{Query, Request};
use tare_model::{Platform, Reference};

use super::output::output;
use crate::{Error, Result, auth, parameter};

pub(super) fn read(request: &mut Request) -> Result<BuildRequest> {
    let query = &request.query;
    refuse(query)?;
    let outputs: Vec<BuildExport> = json(query, "outputs")?;
    let outputs = outputs.iter().map(output).collect::<Result<Vec<_>>>()?;
    let (exports, named): (Vec<_>, Vec<_>) = outputs.into_iter().unzip();
    let platforms = platforms(query)?;
    let is_anew = |export: &Export| matches!(export, Export::Push(Some(_)) | Export::Archive(Some(_)));
    if platforms.len() > 1 && exports.iter().any(is_anew) {
        return Err(Error::unsupported("a compression for several platforms at once; build one at a time"));
    }
    let names = query.all("t").filter(|name| !name.is_empty()).map(name);
    let mut wanted = BuildRequest {
        dockerfile: parameter::text(query, "dockerfile").unwrap_or_default().to_owned(),
        source: Source::Nothing,
        names: names.chain(named.into_iter().flatten().map(Ok)).collect::<Result<_>>()?,
        target: parameter::text(query, "target").map(str::to_owned),
        platforms,
        squash: parameter::flag(query, "squash"),
        args: args(query)?,
        labels: json(query, "labels")?,
        reuse: Reuse {
            no_cache: parameter::flag(query, "nocache"),
            pull: parameter::flag(query, "pull"),
            cache_from: json(query, "cachefrom")?,
        },
        run: run(query)?,
        credentials: auth::of_build_header(request)?,
        contexts: contexts(query)?,
        exports,
    };
    let reserved = parameter::flag(query, "tarereserved");
    match parameter::text(query, "remote").filter(|address| *address != "client-session") {
        Some(address) => {
            let address = address.to_owned();
            // Taken in any case: a client's going away is seen once its body is read.
            let body = request.has_body().then(|| request.body_stream());
            let beside = body.filter(|_| reserved);
            wanted.source = Source::Address { address, beside };
        }
        None if request.has_body() => {
            wanted.source = Source::Archive { archive: request.body_stream(), reserved };
        }
        None => {}
    }
    Ok(wanted)
}

/// What other builders can and this one cannot.
fn refuse(query: &Query) -> Result<()> {
    if parameter::text(query, "version").is_some_and(|version| version != "1") {
        return Err(Error::unsupported(
            "building with BuildKit's protocol (version=2); use tare build, or DOCKER_BUILDKIT=0 docker build",
        ));
    }
    if let Some(option) = query.all("securityopt").find(|option| !option.is_empty()) {
        return Err(Error::unsupported(format!("the security option {option} in builds")));
    }
    let kept: Vec<CacheExport> = json(query, "cacheto")?;
    match kept.iter().find(|export| export.kind != "inline") {
        // What `cachefrom` needs is in every image: its history.
        None => Ok(()),
        Some(other) => Err(Error::unsupported(format!(
            "--cache-to type={}; use type=inline, and push the image",
            other.kind
        ))),
    }
}

/// Where the cache is to be kept, as BuildKit writes it.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct CacheExport {
    #[serde(rename = "Type")]
    kind: String,
}

/// What a Dockerfile is allowed to do; the daemon decides whether it has a say in that.
fn entitlements(query: &Query) -> Result<Entitlements> {
    let mut allowed = Entitlements::default();
    for name in json::<Vec<String>>(query, "allow")? {
        match name.as_str() {
            "network.host" => allowed.host_network = true,
            "security.insecure" => allowed.insecure = true,
            // Nobody has to allow that.
            "network.none" => {}
            other => return Err(Error::invalid(format!("unknown entitlement {other}"))),
        }
    }
    Ok(allowed)
}

/// One platform as everywhere, or several with commas between them, each once.
fn platforms(query: &Query) -> Result<Vec<Platform>> {
    let Some(list) =
        parameter::text(query, "platform").filter(|list| list.contains(',') && !list.starts_with('{'))
    else {
        return Ok(parameter::platform(query)?.into_iter().collect());
    };
    let mut platforms = Vec::new();
    for value in list.split(',') {
        let platform = value.trim().parse::<Platform>();
        let platform = platform.map_err(|_| Error::invalid(format!("invalid platform: {value}")))?;
        if platforms.contains(&platform) {
            return Err(Error::invalid(format!("the platform {platform} is given twice")));
        }
        platforms.push(platform);
    }
    Ok(platforms)
}

/// A name for the image.
pub(super) fn name(text: &str) -> Result<Reference> {
    let parsed: std::result::Result<Reference, _> = text.parse();
    let reference = parsed.map_err(|why| Error::invalid(format!("invalid tag \"{text}\": {why}")))?;
    if reference.digest().is_some() {
        return Err(Error::invalid(format!(
            "invalid tag \"{text}\": a new image cannot be named by a digest"
        )));
    }
    Ok(reference.or_latest())
}

/// Arguments; one that is null was not given.
fn args(query: &Query) -> Result<BTreeMap<String, String>> {
    let given: BTreeMap<String, Option<String>> = json(query, "buildargs")?;
    Ok(given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}

fn run(query: &Query) -> Result<RunSettings> {
    let network = parameter::text(query, "networkmode").unwrap_or("default");
    let network = network.parse::<NetworkMode>().map_err(|why| Error::invalid(why.to_string()))?;
    let ssh: Vec<BuildSsh> = json(query, "ssh")?;
    Ok(RunSettings {
        network,
        extra_hosts: query.all("extrahosts").filter(|host| !host.is_empty()).map(str::to_owned).collect(),
        limits: limits(query)?,
        ssh: ssh.into_iter().map(|agent| (agent.id, PathBuf::from(agent.socket))).collect(),
        allowed: entitlements(query)?,
    })
}

fn limits(query: &Query) -> Result<Limits> {
    let number = |name: &str| Ok::<_, Error>(parameter::number::<i64>(query, name)?.unwrap_or_default());
    let text = |name: &str| parameter::text(query, name).unwrap_or_default().to_owned();
    let mut limits = Limits::default();
    limits.memory.limit = number("memory")?;
    limits.memory.swap = number("memswap")?;
    limits.cpu.shares = number("cpushares")?;
    limits.cpu.quota = number("cpuquota")?;
    limits.cpu.period = number("cpuperiod")?;
    limits.cpu.cpuset_cpus = text("cpusetcpus");
    limits.cpu.cpuset_mems = text("cpusetmems");
    limits.shm_size = parameter::number(query, "shmsize")?.filter(|size| *size > 0);
    limits.cgroup_parent = parameter::text(query, "cgroupparent").map(str::to_owned);
    let ulimits: Vec<tare_docker_api::Ulimit> = json(query, "ulimits")?;
    limits.ulimits = ulimits
        .into_iter()
        .map(|limit| tare_container::Ulimit { name: limit.name, soft: limit.soft, hard: limit.hard })
        .collect();
    Ok(limits)
}

fn contexts(query: &Query) -> Result<BTreeMap<String, NamedContext>> {
    let given: BTreeMap<String, String> = json(query, "contexts")?;
    let read = |(name, text): (String, String)| {
        let context = if let Some(image) = text.strip_prefix("docker-image://") {
            NamedContext::Image(image.to_owned())
        } else if let Some(directory) = text.strip_prefix("tar:") {
            NamedContext::Directory(directory.to_owned())
        } else {
            return Err(Error::unsupported(format!(
                "the build context {name}={text}; use docker-image:// or a directory"
            )));
        };
        Ok((name, context))
    };
    given.into_iter().map(read).collect()
}

/// A parameter that is a JSON document; absent and null are the same as empty.
fn json<T: DeserializeOwned + Default>(query: &Query, name: &str) -> Result<T> {
    let Some(text) = parameter::text(query, name) else { return Ok(T::default()) };
    let parsed: std::result::Result<Option<T>, _> = serde_json::from_str(text);
    let parsed = parsed.map_err(|why| Error::invalid(format!("invalid value for {name}: {why}")))?;
    Ok(parsed.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_clients_write_it() {
        let target = "/build?t=a&t=b:1&buildargs=%7B%22A%22%3A%221%22%2C%22B%22%3Anull%7D&labels=%7B%22l%22%3A%22m%22%7D\
                      &nocache=1&networkmode=none&extrahosts=h%3A1.2.3.4&memory=8388608&rm=1&version=1";
        let mut request = Request::test(tare_http::Method::POST, target).unwrap();
        let read = read(&mut request).unwrap();
        let names: Vec<String> = read.names.iter().map(Reference::familiar).collect();
        assert_eq!(names, ["a:latest", "b:1"]);
        assert_eq!(read.args, BTreeMap::from([("A".to_owned(), "1".to_owned())]));
        assert_eq!((read.labels["l"].as_str(), read.reuse.no_cache), ("m", true));
        assert_eq!(
            (read.run.network, read.run.extra_hosts),
            (NetworkMode::None, vec!["h:1.2.3.4".to_owned()])
        );
        assert_eq!(read.run.limits.memory.limit, 8_388_608);
    }

    #[test]
    fn what_cannot_be_is_said() {
        for (query, words) in [
            ("version=2", "not supported yet: building with BuildKit"),
            ("t=A", "invalid tag"),
            ("buildargs=[", "invalid value for buildargs"),
            ("memory=x", "invalid value"),
            ("outputs=%5B%7B%22Type%22%3A%22cloud%22%7D%5D", "not supported yet: --output"),
            (
                "platform=linux/amd64,linux/arm64&outputs=%5B%7B%22Type%22%3A%22oci%22%2C%22Attrs%22%3A%7B%22compression%22%3A%22zstd%22%7D%7D%5D",
                "not supported yet: a compression for several platforms",
            ),
            ("allow=%5B%22device%22%5D", "unknown entitlement device"),
            (
                "cacheto=%5B%7B%22Type%22%3A%22registry%22%7D%5D",
                "not supported yet: --cache-to type=registry",
            ),
            ("contexts=%7B%22a%22%3A%22https%3A//x%22%7D", "not supported yet"),
        ] {
            let mut request = Request::test(tare_http::Method::POST, &format!("/build?{query}")).unwrap();
            let refused = read(&mut request).map(drop).unwrap_err().to_string();
            assert!(refused.starts_with(words), "{query}: {refused}");
        }
    }
}
