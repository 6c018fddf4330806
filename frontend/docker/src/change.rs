//! `--change` of commit and import: single instructions of a Dockerfile that change how an image is run. Pure.

use std::collections::BTreeMap;

use tare_oci::image::{Empty, ExecutionConfig, HealthConfig};

use crate::{Error, Result};

/// The instructions that make sense without a build (the reference of `docker commit`).
const KNOWN: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Applies instructions in their order. One text may hold several, a line each.
pub(crate) fn apply<'a>(config: &mut ExecutionConfig, changes: impl Iterator<Item = &'a str>) -> Result<()> {
    for line in changes.flat_map(str::lines).map(str::trim) {
        if !line.is_empty() && !line.starts_with('#') {
            one(config, line)?;
        }
    }
    Ok(())
}

fn one(config: &mut ExecutionConfig, line: &str) -> Result<()> {
    let (given, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (name, rest) = (given.to_ascii_uppercase(), rest.trim());
    if !KNOWN.contains(&name.as_str()) {
        return Err(Error::invalid(format!("{given} is not a valid change command")));
    }
    if rest.is_empty() {
        return Err(Error::invalid(format!("{name} requires at least one argument")));
    }
    match name.as_str() {
        "CMD" => config.cmd = Some(command(rest)),
        "ENTRYPOINT" => config.entrypoint = Some(command(rest)),
        "ENV" => pairs(&name, rest)?.into_iter().for_each(|(key, value)| set_env(config, &key, &value)),
        "LABEL" => config.labels.get_or_insert_default().extend(pairs(&name, rest)?),
        "EXPOSE" => {
            for port in words(rest)? {
                exposed(&port)?.for_each(|port| {
                    config.exposed_ports.get_or_insert_default().insert(port, Empty {});
                });
            }
        }
        "VOLUME" => {
            let paths = list(rest).map_or_else(|| words(rest), Ok)?;
            let volumes = config.volumes.get_or_insert_default();
            volumes.extend(paths.into_iter().map(|path| (path, Empty {})));
        }
        "USER" => config.user = single(&name, rest)?,
        "STOPSIGNAL" => {
            let signal = single(&name, rest)?;
            crate::check::signal(&signal)?;
            config.stop_signal = Some(signal);
        }
        "WORKDIR" => config.working_dir = directory(&config.working_dir, &single(&name, rest)?),
        "HEALTHCHECK" => config.healthcheck = Some(health(rest)?),
        _ => config.on_build.get_or_insert_default().push(rest.to_owned()),
    }
    Ok(())
}

/// The JSON form, or the shell's.
fn command(rest: &str) -> Vec<String> {
    list(rest).unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.to_owned()])
}

fn list(rest: &str) -> Option<Vec<String>> {
    rest.starts_with('[').then(|| serde_json::from_str(rest).ok()).flatten()
}

fn single(name: &str, rest: &str) -> Result<String> {
    match &words(rest)?[..] {
        [word] => Ok(word.clone()),
        _ => Err(Error::invalid(format!("{name} requires exactly one argument"))),
    }
}

/// Words parted by blanks, quotes and backslashes taken as a shell takes them.
fn words(text: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut open) = (Vec::new(), None::<String>, None);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (open, letter) {
            (Some(quote), letter) if letter == quote => open = None,
            (Some('\''), letter) => word.get_or_insert_default().push(letter),
            (_, '\\') => word.get_or_insert_default().extend(letters.next()),
            (None, '\'' | '"') => {
                open = Some(letter);
                word.get_or_insert_default();
            }
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    match open {
        Some(quote) => Err(Error::invalid(format!("a quote {quote} is not closed: {text}"))),
        None => Ok(words),
    }
}

/// `NAME=value …`, or the old form `NAME value with blanks`.
fn pairs(name: &str, rest: &str) -> Result<BTreeMap<String, String>> {
    let words = words(rest)?;
    if !words.first().is_some_and(|word| word.contains('=')) {
        let (key, value) = rest
            .split_once(char::is_whitespace)
            .ok_or_else(|| Error::invalid(format!("{name} must have two arguments")))?;
        return Ok(BTreeMap::from([(key.to_owned(), value.trim().to_owned())]));
    }
    let pair = |word: &String| match word.split_once('=') {
        Some(("", _)) => Err(Error::invalid(format!("{name} names can not be blank"))),
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(Error::invalid(format!(
            "Syntax error - can't find = in \"{word}\". Must be of the form: name=value"
        ))),
    };
    words.iter().map(pair).collect()
}

fn set_env(config: &mut ExecutionConfig, key: &str, value: &str) {
    let env = config.env.get_or_insert_default();
    let variable = format!("{key}={value}");
    match env.iter_mut().find(|entry| entry.split('=').next() == Some(key)) {
        Some(entry) => *entry = variable,
        None => env.push(variable),
    }
}

/// `80`, `80/udp`, `8000-8010/tcp`, each port by its own.
fn exposed(text: &str) -> Result<impl Iterator<Item = String> + use<>> {
    let refused = || Error::invalid(format!("Invalid containerPort: {text}"));
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(refused());
    }
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last): (u16, u16) =
        (first.parse().map_err(|_| refused())?, last.parse().map_err(|_| refused())?);
    if first > last {
        return Err(refused());
    }
    Ok((first..=last).map(move |port| format!("{port}/{protocol}")))
}

fn directory(current: &str, wanted: &str) -> String {
    if wanted.starts_with('/') {
        return wanted.to_owned();
    }
    format!("{}/{wanted}", current.trim_end_matches('/'))
}

fn health(rest: &str) -> Result<HealthConfig> {
    let mut health = HealthConfig::default();
    let mut left = rest;
    while let Some(flag) = left.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        let (key, value) = flag.split_once('=').unwrap_or((flag, ""));
        let time = || {
            let duration = tare_model::parse_duration(value).ok().filter(|time| !time.is_zero());
            let nanoseconds = duration.and_then(|time| i64::try_from(time.as_nanos()).ok());
            nanoseconds.ok_or_else(|| Error::invalid(format!("invalid duration \"{value}\" for --{key}")))
        };
        match key {
            "interval" => health.interval = time()?,
            "timeout" => health.timeout = time()?,
            "start-period" => health.start_period = time()?,
            "start-interval" => health.start_interval = time()?,
            "retries" => {
                let count = value.parse().map_err(|_| Error::invalid("--retries must be a number"))?;
                health.retries = count;
            }
            _ => return Err(Error::invalid(format!("unknown flag: {key}"))),
        }
        left = after.trim_start();
    }
    let (kind, what) = left.split_once(char::is_whitespace).unwrap_or((left, ""));
    let test = match (kind.to_ascii_uppercase().as_str(), what.trim()) {
        ("NONE", "") => vec!["NONE".to_owned()],
        ("CMD", what) if !what.is_empty() => match list(what) {
            Some(words) => [vec!["CMD".to_owned()], words].concat(),
            None => vec!["CMD-SHELL".to_owned(), what.to_owned()],
        },
        ("CMD", _) => return Err(Error::invalid("Missing command after HEALTHCHECK CMD")),
        _ => {
            return Err(Error::invalid(format!("Unknown type \"{kind}\" in HEALTHCHECK (try CMD)")));
        }
    };
    health.test = Some(test);
    Ok(health)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn changed(changes: &[&str]) -> serde_json::Value {
        let mut config =
            ExecutionConfig { env: Some(vec!["A=1".into(), "B=1".into()]), ..Default::default() };
        apply(&mut config, changes.iter().copied()).unwrap();
        serde_json::to_value(config).unwrap()
    }

    #[test]
    fn every_instruction_changes_its_field() {
        let changes = [
            "CMD [\"nginx\", \"-g\", \"daemon off;\"]",
            "entrypoint exec /start \"$@\"",
            "ENV A=2 C=\"x y\" D=a\\ b",
            "ENV E one two",
            "EXPOSE 80 53/UDP 8000-8002",
            "LABEL a=b \"c d\"='e f'",
            "ONBUILD RUN make",
            "USER 7:8",
            "VOLUME [\"/a\", \"/b c\"]",
            "VOLUME /d /e",
            "WORKDIR /srv",
            "WORKDIR app",
            "STOPSIGNAL SIGQUIT",
            "HEALTHCHECK --interval=5s --retries=2 CMD curl -f http://localhost/",
        ];
        let expected = json!({
            "Cmd": ["nginx", "-g", "daemon off;"],
            "Entrypoint": ["/bin/sh", "-c", "exec /start \"$@\""],
            "Env": ["A=2", "B=1", "C=x y", "D=a b", "E=one two"],
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}, "8002/tcp": {}},
            "Labels": {"a": "b", "c d": "e f"},
            "OnBuild": ["RUN make"],
            "User": "7:8",
            "Volumes": {"/a": {}, "/b c": {}, "/d": {}, "/e": {}},
            "WorkingDir": "/srv/app",
            "StopSignal": "SIGQUIT",
            "Healthcheck": {"Test": ["CMD-SHELL", "curl -f http://localhost/"], "Interval": 5_000_000_000_i64,
                "Timeout": 0, "Retries": 2, "StartPeriod": 0, "StartInterval": 0},
        });
        assert_eq!(changed(&changes), expected);
        assert_eq!(changed(&["USER a\nUSER b"])["User"], "b");
    }

    #[test]
    fn what_is_no_change_is_refused() {
        for bad in [
            "RUN rm -rf /",
            "FROM debian",
            "USER",
            "USER a b",
            "ENV A",
            "ENV A=1 B",
            "ENV =1",
            "EXPOSE http",
            "EXPOSE 70000",
            "EXPOSE 9-8",
            "EXPOSE 80/icmp",
            "LABEL \"a=b",
            "HEALTHCHECK curl",
            "STOPSIGNAL x",
            "HEALTHCHECK --interval=x CMD a",
            "HEALTHCHECK CMD",
        ] {
            let refused = apply(&mut ExecutionConfig::default(), [bad].into_iter());
            assert!(matches!(refused, Err(Error::Invalid(_))), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(CMD|ENV|EXPOSE|HEALTHCHECK|LABEL|VOLUME) [-\\[\\]\"'=\\\\ a-z0-9/,]{0,60}") {
            let _ = apply(&mut ExecutionConfig::default(), [text.as_str()].into_iter());
        }
    }
}
