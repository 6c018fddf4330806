//! What the administrator has put down for one host: authorities that vouch for it, and a certificate that we show it. In
//! Docker's form: `DIR/HOST[:PORT]/` with `*.crt` for authorities, and `NAME.cert` beside `NAME.key` for ourselves.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use reqwest::{Certificate, Identity};

use crate::{Error, Result};

/// No certificate and no key is longer.
const LIMIT: u64 = 1 << 20;

/// The files that were found for a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Papers {
    authorities: Vec<File>,
    /// Certificate and key.
    own: Option<(File, File)>,
}

/// A file, and what changes when it does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct File {
    path: PathBuf,
    changed: Option<SystemTime>,
    length: u64,
}

impl Papers {
    /// Looks into the first of `places` that has a directory for the host. Nothing is read yet.
    pub(crate) fn find(places: &[PathBuf], authority: &str) -> Result<Self> {
        // A name is one component: no host is called `..`.
        if authority.starts_with('.') || authority.contains('/') {
            return Ok(Self::default());
        }
        let with_port = if authority.contains(':') { None } else { Some(format!("{authority}:443")) };
        let names = std::iter::once(authority.to_owned()).chain(with_port);
        let directories = names.flat_map(|name| places.iter().map(move |place| place.join(&name)));
        for directory in directories {
            match fs::read_dir(&directory) {
                Ok(entries) => return sorted(&directory, entries),
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) => return Err(unusable(&directory, &error)),
            }
        }
        Ok(Self::default())
    }

    /// Whether nobody has said anything about the host.
    pub(crate) fn is_empty(&self) -> bool {
        self.authorities.is_empty() && self.own.is_none()
    }

    /// Whether there are authorities that vouch for this host: then it has to be vouched for, also on this machine.
    pub(crate) fn vouch(&self) -> bool {
        !self.authorities.is_empty()
    }

    /// A client that trusts the host's authorities beside those of the system and shows our certificate.
    pub(crate) fn apply(&self, mut builder: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder> {
        for file in &self.authorities {
            let text = read(&file.path)?;
            let found = Certificate::from_pem_bundle(&text).map_err(|e| unusable(&file.path, &e))?;
            if found.is_empty() {
                return Err(unusable(&file.path, &"it holds no certificate"));
            }
            builder = builder.tls_certs_merge(found);
        }
        let Some((certificate, key)) = &self.own else { return Ok(builder) };
        let pem = [read(&certificate.path)?, vec![b'\n'], read(&key.path)?].concat();
        let identity = Identity::from_pem(&pem).map_err(|e| unusable(&certificate.path, &e))?;
        Ok(builder.identity(identity))
    }
}

fn sorted(directory: &Path, entries: fs::ReadDir) -> Result<Papers> {
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let ending = |path: &Path, wanted: &str| path.extension().is_some_and(|ending| ending == wanted);
    let of = |wanted: &'static str| paths.iter().filter(move |path| ending(path, wanted));
    let mut papers = Papers::default();
    for path in of("crt") {
        papers.authorities.push(file(path)?);
    }
    for certificate in of("cert") {
        let key = certificate.with_extension("key");
        if !paths.contains(&key) {
            let why = format!(
                "missing key {} for client certificate {}; CA certificates must use the extension .crt",
                name(&key),
                name(certificate)
            );
            return Err(unusable(directory, &why));
        }
        // One is shown: the first by name, as none of them says whom it is for.
        papers.own = papers.own.or(Some((file(certificate)?, file(&key)?)));
    }
    if let Some(alone) = of("key").find(|key| !paths.contains(&key.with_extension("cert"))) {
        let wanted = name(&alone.with_extension("cert"));
        return Err(unusable(
            directory,
            &format!("missing client certificate {wanted} for key {}", name(alone)),
        ));
    }
    Ok(papers)
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn file(path: &Path) -> Result<File> {
    let found = fs::metadata(path).map_err(|e| unusable(path, &e))?;
    Ok(File { path: path.to_owned(), changed: found.modified().ok(), length: found.len() })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let file = fs::File::open(path).map_err(|e| unusable(path, &e))?;
    file.take(LIMIT).read_to_end(&mut text).map_err(|e| unusable(path, &e))?;
    Ok(text)
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::Config(format!("certificates in {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(place: &Path, host: &str, files: &[&str]) {
        fs::create_dir_all(place.join(host)).unwrap();
        files.iter().for_each(|file| fs::write(place.join(host).join(file), "x").unwrap());
    }

    #[test]
    fn the_first_place_that_knows_the_host_counts() {
        let (own, dockers) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        put(own.path(), "a.example", &["ca.crt", "other.crt", "readme"]);
        put(dockers.path(), "a.example", &["client.cert", "client.key"]);
        put(dockers.path(), "b.example:443", &["client.cert", "client.key"]);
        let places = [own.path().to_owned(), dockers.path().to_owned(), "/no/such/place".into()];
        let find = |authority| Papers::find(&places, authority).unwrap();
        assert!(find("a.example").vouch() && find("a.example").own.is_none());
        assert_eq!(find("a.example").authorities.len(), 2);
        assert!(!find("b.example").vouch() && find("b.example").own.is_some());
        for nobody in ["c.example", "a.example:5000", "..", "../a.example", ""] {
            assert!(find(nobody).is_empty(), "{nobody}");
        }
    }

    #[test]
    fn a_certificate_without_its_key_is_named() {
        let place = tempfile::tempdir().unwrap();
        put(place.path(), "a", &["client.cert"]);
        put(place.path(), "b", &["client.key"]);
        let error = |host| Papers::find(&[place.path().to_owned()], host).unwrap_err().to_string();
        assert!(error("a").contains("missing key client.key for client certificate client.cert"));
        assert!(error("b").contains("missing client certificate client.cert for key client.key"));
    }

    #[test]
    fn a_file_that_is_no_certificate_is_an_error() {
        let place = tempfile::tempdir().unwrap();
        put(place.path(), "a", &["ca.crt"]);
        let papers = Papers::find(&[place.path().to_owned()], "a").unwrap();
        let error = papers.apply(reqwest::Client::builder()).unwrap_err().to_string();
        assert!(error.contains("ca.crt"), "{error}");
    }

    #[test]
    fn a_file_that_changes_is_another() {
        let place = tempfile::tempdir().unwrap();
        put(place.path(), "a", &["ca.crt"]);
        let places = [place.path().to_owned()];
        let before = Papers::find(&places, "a").unwrap();
        assert_eq!(before, Papers::find(&places, "a").unwrap());
        fs::write(place.path().join("a/ca.crt"), "another").unwrap();
        assert_ne!(before, Papers::find(&places, "a").unwrap());
    }
}
