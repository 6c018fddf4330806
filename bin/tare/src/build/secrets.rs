//! `--secret` and `--ssh`.

use std::fs;
use std::io::Read;
use std::path::Path;

use tare_docker_api::BuildSsh;

use crate::create::words::{Said, fields};

/// The most bytes of a secret, as BuildKit has it.
const MOST: u64 = 500 << 10;

/// A secret that is ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret {
    pub(crate) id: String,
    pub(crate) bytes: Vec<u8>,
}

/// No bytes of a secret in a message.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({}, {} bytes)", self.id, self.bytes.len())
    }
}

/// `id=NAME[,src=PATH|,env=VARIABLE][,type=file|env]`: without a source the variable of the secret's name, else the file of its name.
pub(crate) fn secret(text: &str, environment: impl Fn(&str) -> Option<String>) -> Said<Secret> {
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in fields(text)? {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("\"{field}\" is not key=value"))?;
        match key.to_ascii_lowercase().as_str() {
            "id" => id = Some(value.to_owned()),
            "src" | "source" => file = Some(value.to_owned()),
            "env" => variable = Some(value.to_owned()),
            "type" if matches!(value, "file" | "env") => kind = Some(value.to_owned()),
            "type" => return Err(format!("unknown type \"{value}\": file or env")),
            _ => return Err(format!("unknown key \"{key}\": known are id, src, env, type")),
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or("a secret needs id=NAME")?;
    if kind.as_deref() == Some("env") && variable.is_none() {
        variable = file.take().or_else(|| Some(id.clone()));
    }
    if file.is_none() && variable.is_none() && kind.is_none() && environment(&id).is_some() {
        variable = Some(id.clone());
    }
    let bytes = match variable {
        Some(name) => {
            environment(&name).ok_or_else(|| format!("the variable {name} is not set"))?.into_bytes()
        }
        None => read(Path::new(file.as_deref().unwrap_or(&id)))?,
    };
    Ok(Secret { id, bytes })
}

fn read(path: &Path) -> Said<Vec<u8>> {
    let failure = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(failure)?.take(MOST + 1).read_to_end(&mut bytes).map_err(failure)?;
    if bytes.len() as u64 > MOST {
        return Err(format!(
            "{} is larger than {MOST} bytes, which is the limit of a secret",
            path.display()
        ));
    }
    Ok(bytes)
}

/// The name of a secret's entry in the archive.
pub(crate) fn entry(id: &str) -> String {
    format!("{}/{}", tare_docker_api::SECRETS, id.replace('%', "%25").replace('/', "%2F"))
}

/// `default`, `ID`, `ID=SOCKET`: an agent whose socket the daemon can reach.
pub(crate) fn ssh(text: &str, environment: impl Fn(&str) -> Option<String>) -> Said<BuildSsh> {
    let (id, path) = text.split_once('=').unwrap_or((text, ""));
    let id = if id.is_empty() { "default" } else { id };
    let path = match path {
        "" => environment("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).ok_or(
            "SSH_AUTH_SOCK is not set: start an agent (ssh-agent), or name its socket with --ssh default=SOCKET",
        )?,
        path => path.to_owned(),
    };
    let socket = fs::canonicalize(&path).map_err(|error| format!("{path}: {error}"))?;
    let kind = fs::metadata(&socket).map_err(|error| format!("{path}: {error}"))?.file_type();
    if !std::os::unix::fs::FileTypeExt::is_socket(&kind) {
        return Err(format!(
            "not supported yet: key files ({path} is no socket): add the key to an agent with ssh-add"
        ));
    }
    let socket = socket.into_os_string().into_string().map_err(|_| format!("{path} is not UTF-8"))?;
    Ok(BuildSsh { id: id.to_owned(), socket })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_from_files_and_variables() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, "s3cret\n").unwrap();
        let environment = |name: &str| (name == "TOKEN").then(|| "t".to_owned());
        let read = |text: &str| secret(text, environment);
        let file = read(&format!("id=a/b%,src={}", path.display())).unwrap();
        assert_eq!((file.id.as_str(), &file.bytes[..]), ("a/b%", &b"s3cret\n"[..]));
        assert_eq!(entry(&file.id), ".tare-secrets/a%2Fb%25");
        assert!(!format!("{file:?}").contains("s3cret"));
        for text in ["id=x,env=TOKEN", "id=TOKEN", "id=TOKEN,type=env", "type=env,id=x,src=TOKEN"] {
            assert_eq!(read(text).unwrap().bytes, b"t", "{text}");
        }
        for (text, part) in [
            ("src=x", "needs id"),
            ("id=", "needs id"),
            ("id=a,env=NONE", "NONE is not set"),
            ("id=a,src=/nonexistent", "/nonexistent: No such file"),
            ("id=a,scr=x", "unknown key"),
            ("a", "not key=value"),
        ] {
            assert!(read(text).unwrap_err().contains(part), "{text}");
        }
    }

    #[test]
    fn agents_are_sockets() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let path = path.canonicalize().unwrap().display().to_string();
        let environment = |_: &str| Some(path.clone());
        assert_eq!(
            ssh("default", environment).unwrap(),
            BuildSsh { id: "default".into(), socket: path.clone() }
        );
        assert_eq!(ssh(&format!("k={path}"), |_| None).unwrap().id, "k");
        assert!(ssh("default", |_| None).unwrap_err().contains("SSH_AUTH_SOCK"));
        assert!(ssh("k=/etc/hostname", |_| None).unwrap_err().contains("ssh-add"));
    }
}
