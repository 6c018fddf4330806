use std::sync::Arc;

use tare_http::{Reply, Request};
use tare_image::PushRequest;
use tare_model::Reference;

use super::publish;
use super::work::Work;
use crate::{Error, Result, Rooms, auth, parameter};

/// `POST /images/{name}/push`; `compression` (`gzip`, `zstd`) is a word of our own.
pub(crate) async fn push(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let tag = parameter::text(&request.query, "tag");
    let reference = reference(request.parameter("name"), tag)?;
    let platform = parameter::platform(&request.query)?;
    let compression = parameter::text(&request.query, "compression").map(str::parse).transpose()?;
    let credentials = auth::of_header(&request)?;
    let wanted = PushRequest { reference: reference.clone(), platform, compression, credentials };
    let images = Arc::clone(&rooms.images);
    let work = Work::begin(|listener| async move { images.push(wanted, listener).await });
    work.reply(move |pushed| {
        let name = reference.repository().familiar();
        for one in &pushed {
            let full = if one.tag.contains(':') {
                format!("{name}@{}", one.tag)
            } else {
                format!("{name}:{}", one.tag)
            };
            publish(&rooms, "push", &full, &name);
        }
        Vec::new()
    })
    .await
}

/// The name in the path with the tag that stands beside it; without any tag all of them are meant.
fn reference(name: &str, tag: Option<&str>) -> Result<Reference> {
    let invalid = |why: tare_model::ReferenceError| Error::invalid(why.to_string());
    let reference: Reference = name.parse().map_err(invalid)?;
    match tag {
        Some(tag) => reference.with_tag(tag).map_err(invalid),
        None => Ok(reference),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_beside_the_name_counts() {
        let read = |name, tag| reference(name, tag).map(|reference| reference.to_string());
        assert_eq!(read("127.0.0.1:5000/a/b", Some("v1")).unwrap(), "127.0.0.1:5000/a/b:v1");
        assert_eq!(read("a:v1", None).unwrap(), "docker.io/library/a:v1");
        assert_eq!(read("a", None).unwrap(), "docker.io/library/a");
        for (name, tag) in [("A", None), ("a", Some("x y")), ("a", Some("x/y"))] {
            assert!(read(name, tag).is_err(), "{name} {tag:?}");
        }
    }
}
