//! `--output`: what is wanted of the last stage, and how.

use tare_build::Export;
use tare_docker_api::BuildExport;
use tare_model::Reference;

use super::request::name;
use crate::{Error, Result};

/// What an export may say of itself, and which of it changes nothing here: images are OCI's, and are always kept.
const OF_IMAGES: [&str; 4] = ["name", "push", "compression", "force-compression"];
const AS_IT_IS: [&str; 4] = ["oci-mediatypes", "store", "unpack", "tar"];

/// An export, and the names that it gives to the image.
pub(super) fn output(wanted: &BuildExport) -> Result<(Export, Vec<Reference>)> {
    let kind = wanted.kind.as_str();
    let is_files = matches!(kind, "tar" | "local");
    for (key, value) in &wanted.attrs {
        let is_known =
            !is_files && (OF_IMAGES.contains(&&**key) || AS_IT_IS.contains(&&**key) && is_set(value));
        if !is_known {
            return Err(Error::unsupported(format!("--output type={kind},{key}={value}")));
        }
    }
    let text = |key: &str| wanted.attrs.get(key).map(String::as_str).filter(|text| !text.is_empty());
    let compression = text("compression").map(str::parse).transpose()?;
    let is_pushed = kind == "registry" || wanted.attrs.get("push").is_some_and(|push| is_set(push));
    let export = match kind {
        "" | "moby" | "image" | "registry" if is_pushed => Export::Push(compression),
        "" | "moby" | "image" if compression.is_some() => {
            return Err(Error::unsupported(
                "a compression for an image that stays here: it is chosen as the image goes out, with push=true or type=oci",
            ));
        }
        "" | "moby" | "image" => Export::Image,
        "docker" | "oci" => Export::Archive(compression),
        "tar" | "local" => Export::Files,
        other => return Err(Error::unsupported(format!("--output type={other}"))),
    };
    let names = text("name").into_iter().flat_map(|names| names.split(','));
    Ok((export, names.map(name).collect::<Result<_>>()?))
}

/// As BuildKit reads a switch: named alone it is on.
fn is_set(value: &str) -> bool {
    matches!(value, "" | "1" | "true")
}

#[cfg(test)]
mod tests {
    use tare_image::LayerCompression;

    use super::*;

    fn read(kind: &str, attrs: &[(&str, &str)]) -> Result<(Export, String)> {
        let attrs = attrs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (export, names) = output(&BuildExport { kind: kind.to_owned(), attrs })?;
        Ok((export, names.iter().map(Reference::familiar).collect::<Vec<_>>().join(" ")))
    }

    #[test]
    fn an_output_is_read_as_buildkit_writes_it() {
        let zstd = Some(LayerCompression::Zstd);
        for (kind, attrs, wanted, names) in [
            ("", &[] as &[_], Export::Image, ""),
            ("image", &[("name", "a,b/c:1"), ("push", "true")], Export::Push(None), "a:latest b/c:1"),
            ("registry", &[("compression", "zstd"), ("force-compression", "true")], Export::Push(zstd), ""),
            ("image", &[("push", "false")], Export::Image, ""),
            ("oci", &[("compression", "zstd"), ("tar", "true")], Export::Archive(zstd), ""),
            ("docker", &[("compression", "gzip")], Export::Archive(Some(LayerCompression::Gzip)), ""),
            ("local", &[], Export::Files, ""),
        ] {
            assert_eq!(read(kind, attrs).unwrap(), (wanted, names.to_owned()), "{kind} {attrs:?}");
        }
    }

    #[test]
    fn what_would_be_passed_over_is_refused() {
        for (kind, attrs) in [
            ("oci", [("compression", "estargz")]),
            ("oci", [("compression-level", "9")]),
            ("oci", [("tar", "false")]),
            ("image", [("compression", "zstd")]),
            ("image", [("annotation.a", "b")]),
            ("image", [("name", "A")]),
            ("local", [("platform-split", "false")]),
            ("tar", [("compression", "zstd")]),
            ("cloud", [("name", "a")]),
        ] {
            assert!(read(kind, &attrs).is_err(), "{kind} {attrs:?}");
        }
    }
}
