//! Turns `USER` texts into numbers, by the image's own /etc/passwd and /etc/group, which nobody trusts.

use crate::{Error, Result};

/// Neither file is read further than this (moby#38972: a /etc/passwd of gigabytes is an attack, not a user list).
pub(crate) const MAX_FILE: usize = 4 << 20;
/// Supplementary groups; the kernel takes 65536, but nobody has so many.
const MAX_GROUPS: usize = 1024;
/// Ids above are negative for programs that keep them in an `int`; Docker refuses them too.
const MAX_ID: u64 = i32::MAX as u64;

/// Who a process runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResolvedUser {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: String,
}

/// The image's user and group lists; missing files are empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    pub passwd: Vec<u8>,
    pub group: Vec<u8>,
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Reads `text` (`user`, `uid`, `user:group`, `uid:gid`; empty = root) and adds the groups of `extra`.
///
/// A number is a number: `4294967296` is refused instead of becoming root (CVE-2024-40635), and a name is looked up even
/// if it begins with digits.
pub(crate) fn resolve(text: &str, extra: &[String], accounts: &Accounts) -> Result<ResolvedUser> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let mut resolved = resolve_user(user, accounts)?;
    if !group.is_empty() {
        resolved.gid = resolve_group(group, accounts)?;
        resolved.groups.clear();
    }
    for group in extra {
        resolved.groups.push(resolve_group(group, accounts)?);
    }
    resolved.groups.truncate(MAX_GROUPS);
    let mut seen = std::collections::BTreeSet::new();
    resolved.groups.retain(|gid| seen.insert(*gid));
    Ok(resolved)
}

/// Who a file belongs to that is given to `text` (`user`, `uid`, `user:group`, `uid:gid`), by an image's user and group
/// lists: a user's own group where none is named, and for a number the same number.
///
/// # Errors
/// [`Error::User`] for a name that is not listed and for a number that is none of an id (CVE-2024-40635).
pub fn resolve_owner(text: &str, passwd: &[u8], group: &[u8]) -> Result<(u32, u32)> {
    let accounts = Accounts { passwd: passwd.to_vec(), group: group.to_vec() };
    let resolved = resolve(text, &[], &accounts)?;
    match text.split_once(':') {
        None if id_of(text)?.is_some() => Ok((resolved.uid, resolved.uid)),
        _ => Ok((resolved.uid, resolved.gid)),
    }
}

fn resolve_user(user: &str, accounts: &Accounts) -> Result<ResolvedUser> {
    let number = if user.is_empty() { Some(0) } else { id_of(user)? };
    let found =
        users(&accounts.passwd).find(|account| number.map_or(account.name == user, |uid| account.uid == uid));
    let Some(account) = found else {
        let uid = number.ok_or_else(|| {
            Error::User(format!("unable to find user {user}: no matching entries in passwd file"))
        })?;
        return Ok(ResolvedUser { uid, home: "/".to_owned(), ..ResolvedUser::default() });
    };
    let member = |group: &Group| group.members.split(',').any(|member| member == account.name);
    let groups = groups(&accounts.group).filter(member).map(|group| group.gid).take(MAX_GROUPS).collect();
    let home = if account.home.is_empty() { "/" } else { account.home };
    Ok(ResolvedUser { uid: account.uid, gid: account.gid, groups, home: home.to_owned() })
}

fn resolve_group(group: &str, accounts: &Accounts) -> Result<u32> {
    if let Some(gid) = id_of(group)? {
        return Ok(gid);
    }
    let found = groups(&accounts.group).find(|entry| entry.name == group);
    found.map(|entry| entry.gid).ok_or_else(|| {
        Error::User(format!("unable to find group {group}: no matching entries in group file"))
    })
}

/// The number that `text` is; nothing when it is a name.
fn id_of(text: &str) -> Result<Option<u32>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let out_of_range = || Error::User(format!("uids and gids must be in range 0-{MAX_ID}: \"{text}\""));
    let number = text.parse::<u64>().ok().filter(|id| *id <= MAX_ID).ok_or_else(out_of_range)?;
    Ok(Some(number as u32))
}

fn users(passwd: &[u8]) -> impl Iterator<Item = Account<'_>> {
    lines(passwd).filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid, _) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        Some(Account { name, uid: listed(uid)?, gid: listed(gid)?, home: fields.next().unwrap_or("") })
    })
}

fn groups(group: &[u8]) -> impl Iterator<Item = Group<'_>> {
    lines(group).filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Group { name, gid: listed(gid)?, members: fields.next().unwrap_or("") })
    })
}

fn listed(id: &str) -> Option<u32> {
    id.parse::<u64>().ok().filter(|id| *id <= MAX_ID).map(|id| id as u32)
}

fn lines(file: &[u8]) -> impl Iterator<Item = &str> {
    let whole = &file[..file.len().min(MAX_FILE)];
    whole.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: b"root:x:0:0:root:/root:/bin/sh\n# comment\nweb:x:33:34::/var/www:/bin/sh\n1000:x:7:8::/odd:\nbig:x:4294967296:0::/:\n".to_vec(),
            group: b"root:x:0:\nwww:x:34:\nadm:x:4:web,other\ndocker:x:999:other\nweb2:x:5:web\n".to_vec(),
        }
    }

    #[test]
    fn names_and_numbers_are_found() {
        let web = resolve("web", &[], &accounts()).unwrap();
        assert_eq!(web, ResolvedUser { uid: 33, gid: 34, groups: vec![4, 5], home: "/var/www".into() });
        assert_eq!(resolve("33", &[], &accounts()).unwrap(), web);
        assert_eq!(resolve("", &[], &accounts()).unwrap().home, "/root");
        let group = resolve("web:docker", &["4".into(), "www".into(), "4".into()], &accounts()).unwrap();
        assert_eq!((group.gid, group.groups), (999, vec![4, 34]));
        let unknown = resolve("4000:4001", &[], &accounts()).unwrap();
        assert_eq!((unknown.uid, unknown.gid, unknown.home.as_str()), (4000, 4001, "/"));
    }

    #[test]
    fn owners_of_files_are_found() {
        let Accounts { passwd, group } = accounts();
        for (text, owner) in [("web", (33, 34)), ("33", (33, 33)), ("web:docker", (33, 999)), ("7:8", (7, 8))]
        {
            assert_eq!(resolve_owner(text, &passwd, &group).unwrap(), owner, "{text}");
        }
        for bad in ["nobody", "4294967296", "web:none", "-1"] {
            assert!(resolve_owner(bad, &passwd, &group).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_number_is_never_looked_up_as_a_name() {
        assert_eq!(resolve("1000", &[], &accounts()).unwrap().uid, 1000);
    }

    #[test]
    fn ids_that_overflow_are_refused_and_never_root() {
        for bad in ["4294967296", "-1", "2147483648", "18446744073709551616", "0:4294967296", "1:-1"] {
            assert!(matches!(resolve(bad, &[], &accounts()), Err(Error::User(_))), "{bad}");
        }
        for bad in ["0x0", "nobody", "big", "web:none", "ro ot"] {
            assert!(resolve(bad, &[], &accounts()).is_err(), "{bad}");
        }
    }

    #[test]
    fn damaged_lists_are_survived() {
        let broken = Accounts {
            passwd: b"\xff\xfe:x:0:0\n::::::\nroot\nroot:x:0:0:r:/root:/bin/sh".to_vec(),
            group: vec![b'a'; 100],
        };
        assert_eq!(resolve("root", &[], &broken).unwrap().home, "/root");
    }
}
