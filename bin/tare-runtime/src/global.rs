//! The flags before the command.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tare_model::Timestamp;
use tare_runtime::kept::Kept;

use crate::failure::Failure;
use crate::flags::{Flag, Given, switch, value};

const FLAGS: [Flag; 9] = [
    value("root", ""),
    value("log", ""),
    value("log-format", ""),
    switch("debug", ""),
    switch("systemd-cgroup", ""),
    value("rootless", ""),
    value("criu", ""),
    switch("version", "v"),
    switch("help", "h"),
];

/// What holds for every command.
pub(crate) struct Global {
    pub(crate) root: PathBuf,
    /// Whether systemd makes the groups of new containers.
    pub(crate) systemd: bool,
    log: Option<PathBuf>,
    json: bool,
    debug: bool,
    /// Whether a cgroup that may not be made is done without, where that was said.
    rootless: Option<bool>,
    /// The program that checkpoints and restores.
    pub(crate) criu: String,
}

impl Global {
    pub(crate) fn parse<'a>(arguments: &'a [&'a str]) -> Result<(Self, Vec<&'a str>), Failure> {
        let given = Given::parse(arguments, &FLAGS)?;
        let json = match given.value("log-format") {
            None | Some("text") => false,
            Some("json") => true,
            Some(other) => {
                return Err(Failure::new(format!("--log-format must be text or json, not {other}")));
            }
        };
        let global = Self {
            root: given.value("root").map_or_else(default_root, PathBuf::from),
            systemd: given.is("systemd-cgroup"),
            log: given.value("log").filter(|path| !path.is_empty()).map(PathBuf::from),
            json,
            debug: given.is("debug"),
            rootless: rootless(given.value("rootless"))?,
            criu: given.value("criu").filter(|path| !path.is_empty()).unwrap_or("criu").to_owned(),
        };
        let rest = match () {
            () if given.is("version") => vec!["version"],
            () if given.is("help") => vec!["help"],
            () => given.rest.clone(),
        };
        Ok((global, rest))
    }

    /// Whether a cgroup that may not be made is done without. Unless it was said: whoever is not root, or root of a user
    /// namespace only, does without what only the host's root has, and without a word.
    pub(crate) fn rootless(&self) -> bool {
        self.rootless.unwrap_or_else(|| !rustix::process::geteuid().is_root() || in_user_namespace())
    }

    /// The container of an id.
    pub(crate) fn open(&self, id: &str) -> Result<Kept, Failure> {
        Ok(Kept::open(&self.root, id)?)
    }

    /// One line for who reads the log file: engines take the last error from there. A log that cannot be written must
    /// not hide the error itself, which goes to standard error as well.
    pub(crate) fn log(&self, level: &str, message: &str) {
        let Some(path) = self.log.as_ref().filter(|_| level != "debug" || self.debug) else { return };
        let line = line(self.json, level, message, Timestamp::from(SystemTime::now()));
        let file = File::options().append(true).create(true).open(path);
        if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
            eprintln!("tare-runtime: cannot write {}: {error}", path.display());
        }
    }

    /// To the log, and to a person.
    pub(crate) fn warn(&self, message: &str) {
        self.log("warning", message);
        if self.log.is_none() {
            eprintln!("tare-runtime: warning: {message}");
        }
    }
}

/// The form that containerd and dockerd read, or the one for people.
fn line(json: bool, level: &str, message: &str, time: Timestamp) -> String {
    if json {
        return serde_json::json!({"level": level, "msg": message, "time": time.to_string()}).to_string()
            + "\n";
    }
    format!("time=\"{time}\" level={level} msg={message:?}\n")
}

fn rootless(wanted: Option<&str>) -> Result<Option<bool>, Failure> {
    match wanted {
        None | Some("" | "auto") => Ok(None),
        Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(Some(true)),
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(Some(false)),
        Some(other) => Err(Failure::new(format!("--rootless must be true, false or auto, not {other}"))),
    }
}

/// user_namespaces(7): the initial one maps all ids onto themselves.
fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.is_empty() && map.split_whitespace().ne(["0", "0", "4294967295"])
}

fn default_root() -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|_| !rustix::process::geteuid().is_root());
    own.map_or_else(|| Path::new("/run").to_owned(), PathBuf::from).join("tare-runtime")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_is_what_engines_parse() {
        let time = Timestamp { seconds: 0, nanoseconds: 0 };
        assert_eq!(
            line(true, "error", "no \"x\"", time),
            "{\"level\":\"error\",\"msg\":\"no \\\"x\\\"\",\"time\":\"1970-01-01T00:00:00Z\"}\n"
        );
        assert_eq!(
            line(false, "error", "no \"x\"", time),
            "time=\"1970-01-01T00:00:00Z\" level=error msg=\"no \\\"x\\\"\"\n"
        );
    }

    #[test]
    fn global_flags_come_first() {
        let words = ["--root", "/r", "--log=/l", "--log-format", "json", "--debug", "state", "--root"];
        let (global, rest) = Global::parse(&words).unwrap();
        assert_eq!((global.root.as_path(), global.json, global.debug), (Path::new("/r"), true, true));
        assert_eq!(rest, ["state", "--root"]);
        assert!(Global::parse(&["--log-format", "xml"]).is_err());
        assert!(Global::parse(&["--systemd-cgroup", "list"]).unwrap().0.systemd);
    }
}
