//! Where passwords of registries are kept: Docker's `config.json`, and the helpers that it names.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tare_docker_api::AuthConfig;

use crate::call::Call;
use crate::failure::{Failure, Result};

/// Under which name Docker keeps the password of its own registry.
pub(crate) const HUB: &str = "https://index.docker.io/v1/";

/// What a helper calls a user whose password is an identity token.
const TOKEN_USER: &str = "<token>";

/// A helper may have to ask a person for the key of a wallet.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of a helper's answer.
const LONGEST: u64 = 1 << 20;

/// The name under which a registry's credentials are kept.
pub(crate) fn key_of(server: &str) -> String {
    let host = server.trim_start_matches("https://").trim_start_matches("http://");
    let host = host.split('/').next().unwrap_or(host);
    match host {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => HUB.to_owned(),
        host => host.to_owned(),
    }
}

/// The credentials for a registry, where a person has logged in to it.
pub(crate) fn for_registry(call: &Call, domain: &str) -> Result<Option<AuthConfig>> {
    Store::open(call.config.as_deref())?.get(&key_of(domain))
}

/// Docker's configuration file. What Tare does not know in it stays as it is.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    json: Map<String, Value>,
}

impl Store {
    /// Reads `config.json` in `dir`, in `$DOCKER_CONFIG` or in `~/.docker`. A file that is not there is an empty one.
    pub(crate) fn open(dir: Option<&str>) -> Result<Self> {
        let chosen = dir.map(PathBuf::from).or_else(|| std::env::var_os("DOCKER_CONFIG").map(PathBuf::from));
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker"));
        let dir = chosen
            .or_else(home)
            .ok_or_else(|| Failure::new("no home directory").hint("set HOME or DOCKER_CONFIG"))?;
        let path = dir.join("config.json");
        let json = match fs::read(&path) {
            Ok(bytes) if bytes.trim_ascii().is_empty() => Map::new(),
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                Failure::new(format!("{} cannot be read: {error}", path.display()))
                    .hint("mend or remove the file")
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Map::new(),
            Err(error) => return Err(Failure::new(format!("{}: {error}", path.display()))),
        };
        Ok(Self { path, json })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The helper that keeps this registry's password, where one does.
    pub(crate) fn helper(&self, key: &str) -> Option<String> {
        let special = self.json.get("credHelpers").and_then(|helpers| helpers.get(key));
        let name = special.or_else(|| self.json.get("credsStore"))?.as_str()?;
        (!name.is_empty()).then(|| name.to_owned())
    }

    /// What is kept for a registry.
    pub(crate) fn get(&self, key: &str) -> Result<Option<AuthConfig>> {
        if let Some(helper) = self.helper(key) {
            return from_helper(&helper, key);
        }
        let Some(auths) = self.json.get("auths").and_then(Value::as_object) else { return Ok(None) };
        let entry = auths
            .get(key)
            .or_else(|| auths.iter().find(|(name, _)| key_of(name) == key).map(|(_, entry)| entry));
        Ok(entry.and_then(|entry| from_entry(entry, key)))
    }

    /// The registries that the file knows, by the domains of their images.
    pub(crate) fn registries(&self) -> Vec<String> {
        let lists = ["auths", "credHelpers"].iter().filter_map(|list| self.json.get(*list)?.as_object());
        let names = lists.flat_map(|list| list.keys());
        let domain = |key: String| if key == HUB { "docker.io".to_owned() } else { key };
        names.map(|name| domain(key_of(name))).collect()
    }

    /// Keeps credentials, with the helper or in the file.
    pub(crate) fn put(&mut self, key: &str, credentials: &AuthConfig) -> Result<()> {
        if let Some(helper) = self.helper(key) {
            let (user, secret) = match credentials.identity_token.as_str() {
                "" => (credentials.username.as_str(), credentials.password.as_str()),
                token => (TOKEN_USER, token),
            };
            let input = json!({"ServerURL": key, "Username": user, "Secret": secret}).to_string();
            ask(&helper, "store", &input)?;
            return self.set(key, json!({}));
        }
        let auth = STANDARD.encode(format!("{}:{}", credentials.username, credentials.password));
        let entry = match credentials.identity_token.as_str() {
            "" => json!({ "auth": auth }),
            token => {
                json!({"auth": STANDARD.encode(format!("{}:", credentials.username)), "identitytoken": token})
            }
        };
        self.set(key, entry)
    }

    /// Forgets credentials; false where there were none.
    pub(crate) fn remove(&mut self, key: &str) -> Result<bool> {
        if let Some(helper) = self.helper(key) {
            ask(&helper, "erase", key)?;
        }
        let auths = self.json.get_mut("auths").and_then(Value::as_object_mut);
        let known = auths.is_some_and(|auths| auths.remove(key).is_some());
        if known {
            self.write()?;
        }
        Ok(known)
    }

    fn set(&mut self, key: &str, entry: Value) -> Result<()> {
        let auths = self.json.entry("auths").or_insert_with(|| json!({}));
        let auths =
            auths.as_object_mut().ok_or_else(|| Failure::new("\"auths\" of config.json is no object"))?;
        auths.insert(key.to_owned(), entry);
        self.write()
    }

    /// Replaces the file as a whole: whoever reads it meanwhile sees the old or the new one, and nobody else sees either.
    fn write(&self) -> Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let failed =
            |error: io::Error| Failure::new(format!("{} cannot be written: {error}", self.path.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let target = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let temporary = target.with_file_name(format!("config.json.{}", std::process::id()));
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&temporary).map_err(failed)?;
        let text =
            serde_json::to_string_pretty(&self.json).map_err(|error| Failure::new(error.to_string()))?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        let moved = written.and_then(|()| fs::rename(&temporary, &target));
        moved.inspect_err(|_| drop(fs::remove_file(&temporary))).map_err(failed)
    }
}

fn from_entry(entry: &Value, key: &str) -> Option<AuthConfig> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let decoded = STANDARD
        .decode(text("auth"))
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_default();
    let (username, password) = decoded.trim_end_matches('\0').split_once(':').unwrap_or_default();
    let credentials = AuthConfig {
        username: if username.is_empty() { text("username") } else { username.to_owned() },
        password: if password.is_empty() { text("password") } else { password.to_owned() },
        identity_token: text("identitytoken"),
        registry_token: text("registrytoken"),
        server_address: key.to_owned(),
        ..AuthConfig::default()
    };
    let empty = [&credentials.username, &credentials.identity_token, &credentials.registry_token]
        .iter()
        .all(|t| t.is_empty());
    (!empty).then_some(credentials)
}

fn from_helper(helper: &str, key: &str) -> Result<Option<AuthConfig>> {
    let Some(answer) = ask(helper, "get", key)? else { return Ok(None) };
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut credentials = AuthConfig { server_address: key.to_owned(), ..AuthConfig::default() };
    match text("Username").as_str() {
        TOKEN_USER => credentials.identity_token = text("Secret"),
        user => (credentials.username, credentials.password) = (user.to_owned(), text("Secret")),
    }
    Ok(Some(credentials))
}

/// Asks `docker-credential-<helper>`; nothing where it knows no such registry.
fn ask(helper: &str, verb: &str, input: &str) -> Result<Option<Value>> {
    let program = format!("docker-credential-{helper}");
    let failed = |why: String| {
        Failure::new(format!("{program} {verb}: {why}"))
            .hint("install it, or remove it from credsStore and credHelpers of config.json")
    };
    if helper.contains('/') {
        return Err(failed("not the name of a helper".into()));
    }
    let (said, succeeded) = spoken_with(&program, verb, input, PATIENCE).map_err(&failed)?;
    if succeeded {
        return Ok(Some(serde_json::from_str(&said).unwrap_or(Value::Null)));
    }
    match said.contains("not found") {
        true => Ok(None),
        false => Err(failed(said.trim().to_owned())),
    }
}

/// Runs a helper to its end: what it said, and whether it succeeded. One that asks a person may take its time, one that
/// never ends or never stops talking is ended.
fn spoken_with(program: &str, verb: &str, input: &str, patience: Duration) -> Result<(String, bool), String> {
    let mut command = Command::new(program);
    command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let (mut stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let input = input.to_owned();
    let (done, answer) = mpsc::channel();
    // In threads of their own, which end with the helper: it may read nothing, and say nothing.
    std::thread::spawn(move || stdin.as_mut().map(|stdin| stdin.write_all(input.as_bytes())));
    std::thread::spawn(move || {
        let mut said = Vec::new();
        let read = stdout.map_or(Ok(0), |stdout| stdout.take(LONGEST + 1).read_to_end(&mut said));
        done.send(read.map(|_| said))
    });
    let mut give_up = |why: String| {
        let _ = child.kill();
        let _ = child.wait();
        why
    };
    let said = match answer.recv_timeout(patience) {
        Ok(Ok(said)) if said.len() as u64 > LONGEST => {
            return Err(give_up(format!("it says more than {LONGEST} bytes")));
        }
        Ok(Ok(said)) => said,
        Ok(Err(error)) => return Err(give_up(error.to_string())),
        Err(_) => return Err(give_up(format!("it has not answered for {} s", patience.as_secs()))),
    };
    let status = child.wait().map_err(|error| error.to_string())?;
    Ok((String::from_utf8_lossy(&said).into_owned(), status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn store(json: &str) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), json).unwrap();
        let store = Store::open(dir.path().to_str()).unwrap();
        (dir, store)
    }

    #[test]
    fn what_is_put_is_got_and_the_rest_of_the_file_stays() {
        let (dir, mut store) =
            store(r#"{"detachKeys":"ctrl-x","auths":{"https://old.example/v1/":{"auth":"dTpw"}}}"#);
        let credentials =
            AuthConfig { username: "me".into(), password: "a:b".into(), ..AuthConfig::default() };
        store.put("127.0.0.1:5000", &credentials).unwrap();
        let again = Store::open(dir.path().to_str()).unwrap();
        let got = again.get("127.0.0.1:5000").unwrap().unwrap();
        assert_eq!((got.username.as_str(), got.password.as_str()), ("me", "a:b"));
        assert_eq!(again.get("old.example").unwrap().unwrap().username, "u");
        assert_eq!(again.json["detachKeys"], "ctrl-x");
        let mode = fs::metadata(again.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn what_is_removed_is_gone() {
        let (dir, mut store) = store(r#"{"auths":{"a":{"auth":"dTpw"}}}"#);
        assert!(store.remove("a").unwrap() && !store.remove("a").unwrap());
        assert_eq!(Store::open(dir.path().to_str()).unwrap().get("a").unwrap(), None);
    }

    #[test]
    fn a_broken_file_is_named_and_an_absent_one_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Store::open(dir.path().to_str()).unwrap().get("a").unwrap(), None);
        fs::write(dir.path().join("config.json"), "{").unwrap();
        assert!(Store::open(dir.path().to_str()).unwrap_err().message.contains("config.json cannot be read"));
    }

    #[test]
    fn all_names_of_the_hub_are_one() {
        for name in
            ["", "docker.io", "index.docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"]
        {
            assert_eq!(key_of(name), HUB);
        }
        assert_eq!(key_of("https://r.example:5000/v2/"), "r.example:5000");
    }

    #[test]
    fn a_helper_that_never_ends_or_never_stops_talking_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let helper = |name: &str, script: &str| {
            let path = dir.path().join(name);
            let text = path.with_extension("txt");
            fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
            // By another process: a descriptor that is open for writing here is inherited by what other tests start,
            // until its execve, and as long as anybody has it the program is busy (`ETXTBSY`).
            assert!(Command::new("install").arg("-m755").args([&text, &path]).status().unwrap().success());
            path.to_str().unwrap().to_owned()
        };
        let ask = |program: &str, patience| spoken_with(program, "get", "127.0.0.1:5000", patience);
        let long = Duration::from_secs(60);
        let good = helper("good", "cat; test \"$1\" = get");
        assert_eq!(ask(&good, long).unwrap(), ("127.0.0.1:5000".to_owned(), true));
        let unknown = helper("unknown", "echo credentials not found in native keychain; exit 1");
        assert!(!ask(&unknown, long).unwrap().1);
        let silent = helper("silent", "exec sleep 600");
        assert!(ask(&silent, Duration::from_millis(200)).unwrap_err().contains("not answered"));
        let loud = helper("loud", "exec yes");
        assert!(ask(&loud, long).unwrap_err().contains("more than"));
        assert!(ask("/no/such/helper", long).is_err());
    }

    #[test]
    fn a_helper_is_a_name_and_never_a_path() {
        let (_dir, store) = store(r#"{"credsStore":"../../bin/sh"}"#);
        assert!(store.get("a").unwrap_err().message.contains("not the name of a helper"));
    }
}
