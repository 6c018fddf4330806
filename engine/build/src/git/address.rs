use std::path::PathBuf;

use crate::{Error, Result};

/// A repository, what of it, and where in it: `URL#REF:DIRECTORY`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Address {
    pub url: String,
    /// A branch, a tag or a commit; absent = what the repository itself says.
    pub reference: Option<String>,
    /// From the repository's root.
    pub directory: PathBuf,
}

/// Whether an address is one of git's.
pub(crate) fn is_git(source: &str) -> bool {
    let path = source.split('#').next().unwrap_or_default();
    let known = ["git@", "git://", "ssh://"].iter().any(|prefix| source.starts_with(prefix));
    known || path.ends_with(".git") || source.starts_with("github.com/")
}

impl Address {
    /// Takes an address apart. What git could take for a flag, a helper or a pattern is refused.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let refused = |why: &str| Error::Request(format!("the git address {text:?}: {why}"));
        let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
        let url = if url.starts_with("github.com/") { format!("https://{url}") } else { url.to_owned() };
        if url.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') || url.contains("::") {
            return Err(refused("it holds what no address holds"));
        }
        if url
            .split_once("://")
            .is_some_and(|(scheme, _)| !matches!(scheme, "https" | "http" | "git" | "ssh"))
        {
            return Err(refused("only https, http, ssh and git are understood"));
        }
        let host = authority(&url);
        // Others read `%`, and letters that look like ASCII, as another host than we do.
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(known) || host.starts_with('-') || url.starts_with('-') {
            return Err(refused("it names no host"));
        }
        let plain =
            |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | '@' | '=' | ',');
        if !reference.chars().all(plain) || reference.starts_with(['-', '+', '/']) || reference.contains("..")
        {
            return Err(refused(&format!("{reference:?} is neither branch, tag nor commit")));
        }
        let reference = (!reference.is_empty()).then(|| reference.to_owned());
        let directory = crate::stage::state::clean(directory.as_ref());
        Ok(Self { url, reference, directory })
    }

    /// The host, with its port where the address has one.
    pub(super) fn host(&self) -> &str {
        authority(&self.url)
    }

    /// The address that `.gitmodules` tells for a commit: `./` and `../` begin at this one (gitmodules(5)), and stay on its
    /// server.
    pub(super) fn beside(&self, url: &str, commit: String) -> Result<Self> {
        let refused = |why: &str| Error::Request(format!("the git address {url:?}: {why}"));
        if url.contains('#') || commit.bytes().any(|byte| !byte.is_ascii_hexdigit()) {
            return Err(refused("it holds what no address of a submodule holds"));
        }
        let relative = url.starts_with("./") || url.starts_with("../");
        let url = if relative {
            self.joined(url).ok_or_else(|| refused("it leads above its server"))?
        } else {
            url.to_owned()
        };
        Ok(Self { reference: Some(commit), ..Self::parse(&url)? })
    }

    fn joined(&self, mut relative: &str) -> Option<String> {
        let (root, path) = match self.url.split_once("://") {
            Some((scheme, rest)) => {
                let (host, path) = rest.split_once('/')?;
                (format!("{scheme}://{host}/"), path)
            }
            None => self.url.split_once(':').map(|(host, path)| (format!("{host}:"), path))?,
        };
        let mut path: Vec<&str> = path.trim_end_matches('/').split('/').collect();
        loop {
            if let Some(rest) = relative.strip_prefix("../") {
                path.pop()?;
                relative = rest;
            } else if let Some(rest) = relative.strip_prefix("./") {
                relative = rest;
            } else {
                break;
            }
        }
        path.push(Some(relative).filter(|rest| !rest.split('/').any(|part| part == ".."))?);
        Some(root + &path.join("/"))
    }

    /// As messages show it.
    pub(super) fn shown(&self) -> String {
        tare_registry::shown(&self.url)
    }
}

/// `host` or `host:port` of `scheme://user@host:port/path`, and of `user@host:path` as scp(1) writes it; else nothing.
fn authority(url: &str) -> &str {
    let whole = match url.split_once("://") {
        Some((_, rest)) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
        None => {
            url.split_once(':').map(|(host, _)| host).filter(|host| host.contains('@')).unwrap_or_default()
        }
    };
    whole.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (text, url, reference, directory) in [
            ("https://h/a.git", "https://h/a.git", None, "/"),
            ("https://h/a.git#v1.2:sub/dir", "https://h/a.git", Some("v1.2"), "/sub/dir"),
            ("git@h:a/b.git#main", "git@h:a/b.git", Some("main"), "/"),
            ("ssh://u@h:22/a#:x", "ssh://u@h:22/a", None, "/x"),
            ("github.com/a/b#feature/x", "https://github.com/a/b", Some("feature/x"), "/"),
            ("git://h/a#r:../../etc", "git://h/a", Some("r"), "/etc"),
        ] {
            let parsed = Address::parse(text).unwrap();
            assert!(is_git(text), "{text}");
            assert_eq!((parsed.url.as_str(), parsed.reference.as_deref()), (url, reference), "{text}");
            assert_eq!(parsed.directory, std::path::Path::new(directory), "{text}");
            assert!(matches!(parsed.host(), "h" | "h:22" | "github.com"), "{text}: {}", parsed.host());
        }
        for (text, host) in
            [("http://a@b@h:80/x.git", "h:80"), ("http://h?@far/x.git", "h"), ("http://h/@far/x.git", "h")]
        {
            assert_eq!(Address::parse(text).unwrap().host(), host, "{text}");
        }
        for plain in ["https://h/a.tar.gz", "http://h/Dockerfile", "file.txt"] {
            assert!(!is_git(plain), "{plain}");
        }
    }

    #[test]
    fn submodules_are_told_from_where_they_are_named() {
        let commit = "12ab";
        for (base, url, expected) in [
            ("https://h/g/app.git", "../one.git", "https://h/g/one.git"),
            ("https://h/g/app.git/", "../../one.git", "https://h/one.git"),
            ("https://h/g/app.git#v1:sub", "./one", "https://h/g/app.git/one"),
            ("git@h:g/app.git", "../one.git", "git@h:g/one.git"),
            ("git@h:app.git", "../one.git", "git@h:one.git"),
            ("https://h/app.git", "ssh://git@o/x", "ssh://git@o/x"),
        ] {
            let address = Address::parse(base).unwrap().beside(url, commit.to_owned()).unwrap();
            assert_eq!(
                (address.url.as_str(), address.reference.as_deref()),
                (expected, Some(commit)),
                "{base} {url}"
            );
            assert_eq!(address.directory, std::path::Path::new("/"));
        }
        for bad in [
            "../../../x",
            "../x/../../y",
            "-u./x",
            "/etc",
            "file:///etc",
            "ext::sh -c id",
            "https://h/x#y",
            "ssh://-oProxyCommand=id/x",
            "x",
            "",
        ] {
            let refused = Address::parse("https://h/app.git").unwrap().beside(bad, commit.to_owned());
            assert!(refused.is_err(), "{bad}: {refused:?}");
        }
        assert!(
            Address::parse("https://h/a.git").unwrap().beside("../b", "--upload-pack".to_owned()).is_err()
        );
    }

    /// CVE-2017-1000117 (`ssh://-oProxyCommand=…`) and its like: nothing becomes a flag, a helper or another protocol.
    #[test]
    fn what_would_steer_git_is_refused() {
        for bad in [
            "ssh://-oProxyCommand=id/a.git",
            "git@-oProxyCommand=id:a.git",
            "-u./x:a.git",
            "--upload-pack=id.git",
            "ext::sh -c id.git",
            "ext::id.git",
            "file:///etc/a.git",
            "/etc/a.git",
            "fd::7/a.git",
            "https:///a.git",
            "https://h/a b.git",
            "https://127%2e0.0.1/a.git",
            "https://\u{ff11}27.0.0.1/a.git",
            "https://far\\h/a.git",
            "http://far\\@h/a.git",
            "https://h/a\n.git",
            "https://h/a.git#--upload-pack=id",
            "https://h/a.git#+refs/*",
            "https://h/a.git#a..b",
            "https://h/a.git#a b",
            "https://h/a.git#HEAD^{/x}",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
