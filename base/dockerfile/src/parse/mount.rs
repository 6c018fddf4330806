use tare_model::{nearest, parse_bytes};

use crate::statement::truth;
use crate::{BindMount, CacheMount, Error, Mount, Result, SecretMount, Sharing, SshMount, Word};

const KINDS: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];

/// `key=value,key` of `RUN --mount`.
pub(super) fn read(word: &Word) -> Result<Mount> {
    let pairs = word.text.split(',').map(|field| {
        let (key, value) = field.split_once('=').map_or((field, None), |(key, value)| (key, Some(value)));
        (canonical(&key.trim().to_ascii_lowercase()).to_owned(), value.map(str::to_owned))
    });
    let mut fields = Fields { word, kind: "bind", pairs: pairs.collect() };
    if let Some(kind) = fields.text("type")? {
        fields.kind = KINDS.into_iter().find(|known| *known == kind).ok_or_else(|| {
            let hint = nearest(&kind, KINDS).map_or(KINDS.join(", "), |near| format!("did you mean {near}?"));
            fields.fault(format!("unknown mount type \"{kind}\": {hint}"))
        })?;
    }
    match fields.kind {
        "cache" => cache(&fields),
        "tmpfs" => tmpfs(&fields),
        "secret" => secret(&fields),
        "ssh" => ssh(&fields),
        _ => bind(&fields),
    }
}

fn canonical(key: &str) -> &str {
    match key {
        "dst" | "destination" => "target",
        "src" => "source",
        "ro" => "readonly",
        "rw" => "readwrite",
        other => other,
    }
}

struct Fields<'a> {
    word: &'a Word,
    kind: &'static str,
    pairs: Vec<(String, Option<String>)>,
}

impl Fields<'_> {
    fn fault(&self, message: impl Into<String>) -> Error {
        Error::at(self.word.span, message)
    }

    /// Refuses keys that the type does not have.
    fn only(&self, known: &[&str]) -> Result<()> {
        let Some((key, _)) =
            self.pairs.iter().find(|(key, _)| key != "type" && !known.contains(&key.as_str()))
        else {
            return Ok(());
        };
        let hint = match nearest(key, known.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("it takes {}", known.join(", ")),
        };
        Err(self.fault(format!("unknown key \"{key}\" for a mount of type {}: {hint}", self.kind)))
    }

    fn text(&self, key: &str) -> Result<Option<String>> {
        let Some((_, value)) = self.pairs.iter().rev().find(|(name, _)| name == key) else { return Ok(None) };
        let value = value.clone().filter(|value| !value.is_empty());
        value
            .map(Some)
            .ok_or_else(|| self.fault(format!("the key \"{key}\" of the mount needs a value: {key}=…")))
    }

    fn part(&self, key: &str) -> Result<Option<Word>> {
        Ok(self.text(key)?.map(|text| Word { text, span: self.word.span }))
    }

    fn needed(&self, key: &str) -> Result<Word> {
        self.part(key)?.ok_or_else(|| self.fault(format!("a mount of type {} needs {key}=…", self.kind)))
    }

    fn switch(&self, key: &str) -> Result<Option<bool>> {
        let Some((_, value)) = self.pairs.iter().rev().find(|(name, _)| name == key) else { return Ok(None) };
        let text = value.as_deref().unwrap_or("true");
        truth(text)
            .map(Some)
            .ok_or_else(|| self.fault(format!("\"{key}\" of the mount is true or false, not \"{text}\"")))
    }

    fn number(&self, key: &str, radix: u32, standing: u32) -> Result<u32> {
        let Some(text) = self.text(key)? else { return Ok(standing) };
        let what = if radix == 8 { "an octal mode" } else { "a number" };
        let read = u32::from_str_radix(&text, radix).ok().filter(|mode| radix != 8 || *mode <= 0o7777);
        read.ok_or_else(|| self.fault(format!("\"{key}\" of the mount is {what}, not \"{text}\"")))
    }

    /// A stage, an image or a named context.
    fn from(&self) -> Result<Option<Word>> {
        let from = self.part("from")?;
        if from.as_ref().is_some_and(|from| from.text.contains('$')) {
            return Err(self.fault(
                "\"from\" of a mount takes no variables: name the stage with FROM … AS, which takes them, and mount from that name",
            ));
        }
        Ok(from)
    }
}

fn bind(fields: &Fields<'_>) -> Result<Mount> {
    fields.only(&["target", "source", "from", "readwrite", "readonly"])?;
    let writable = fields.switch("readwrite")?.or(fields.switch("readonly")?.map(|read_only| !read_only));
    Ok(Mount::Bind(BindMount {
        target: fields.needed("target")?,
        source: fields.part("source")?,
        from: fields.from()?,
        writable: writable.unwrap_or(false),
    }))
}

fn cache(fields: &Fields<'_>) -> Result<Mount> {
    fields.only(&[
        "target",
        "id",
        "readonly",
        "readwrite",
        "sharing",
        "from",
        "source",
        "mode",
        "uid",
        "gid",
    ])?;
    let sharing = match fields.text("sharing")?.as_deref() {
        None | Some("shared") => Sharing::Shared,
        Some("private") => Sharing::Private,
        Some("locked") => Sharing::Locked,
        Some(other) => {
            return Err(
                fields.fault(format!("\"sharing\" is one of shared, private, locked, not \"{other}\""))
            );
        }
    };
    let read_only = fields.switch("readonly")?.or(fields.switch("readwrite")?.map(|writable| !writable));
    Ok(Mount::Cache(CacheMount {
        target: fields.needed("target")?,
        id: fields.part("id")?,
        read_only: read_only.unwrap_or(false),
        sharing,
        from: fields.from()?,
        source: fields.part("source")?,
        mode: fields.number("mode", 8, 0o755)?,
        uid: fields.number("uid", 10, 0)?,
        gid: fields.number("gid", 10, 0)?,
    }))
}

fn tmpfs(fields: &Fields<'_>) -> Result<Mount> {
    fields.only(&["target", "size"])?;
    let size = fields.text("size")?.map(|text| {
        parse_bytes(&text).map_err(|error| fields.fault(format!("\"size\" of the mount: {error}")))
    });
    Ok(Mount::Tmpfs { target: fields.needed("target")?, size: size.transpose()? })
}

fn secret(fields: &Fields<'_>) -> Result<Mount> {
    fields.only(&["id", "source", "target", "env", "required", "mode", "uid", "gid"])?;
    let target = fields.part("target")?;
    let named = fields.part("id")?.or(fields.part("source")?);
    let from_target = || {
        let target = target.as_ref()?;
        let name = target.text.rsplit('/').next().filter(|name| !name.is_empty())?;
        Some(Word { text: name.to_owned(), span: target.span })
    };
    let id = named.or_else(from_target);
    Ok(Mount::Secret(SecretMount {
        id: id.ok_or_else(|| fields.fault("a mount of type secret needs id=…"))?,
        env: fields.part("env")?,
        required: fields.switch("required")?.unwrap_or(false),
        mode: fields.number("mode", 8, 0o400)?,
        uid: fields.number("uid", 10, 0)?,
        gid: fields.number("gid", 10, 0)?,
        target,
    }))
}

fn ssh(fields: &Fields<'_>) -> Result<Mount> {
    fields.only(&["id", "target", "required", "mode", "uid", "gid"])?;
    Ok(Mount::Ssh(SshMount {
        id: fields.part("id")?,
        target: fields.part("target")?,
        required: fields.switch("required")?.unwrap_or(false),
        mode: fields.number("mode", 8, 0o600)?,
        uid: fields.number("uid", 10, 0)?,
        gid: fields.number("gid", 10, 0)?,
    }))
}
