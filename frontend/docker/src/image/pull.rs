use std::sync::Arc;

use tare_http::{Query, Reply, Request};
use tare_image::PullRequest;
use tare_model::{Platform, Reference};

use super::publish;
use super::work::Work;
use crate::{Error, Result, Rooms, auth, parameter};

/// `POST /images/create`. An image that cannot even be asked for is an error with a status of its own; once something was
/// told, an error is the last line of the stream.
pub(crate) async fn pull(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    if parameter::text(&request.query, "fromSrc").is_some() {
        return super::import::import(rooms, request).await;
    }
    let reference = reference(&request.query)?;
    let platform = parameter::text(&request.query, "platform").map(str::parse::<Platform>).transpose();
    let platform = platform.map_err(|why| Error::invalid(why.to_string()))?;
    let all_platforms = parameter::flag(&request.query, "allplatforms");
    let wanted = PullRequest { reference, platform, all_platforms, credentials: auth::of_header(&request)? };
    let images = Arc::clone(&rooms.images);
    let all = wanted.reference.tag().is_none() && wanted.reference.digest().is_none();
    let work = Work::begin(|listener| async move {
        match all {
            true => images.pull_all(wanted, listener).await,
            false => images.pull(wanted, listener).await.map(|pulled| vec![pulled]),
        }
    });
    work.reply(move |pulled| {
        for one in &pulled {
            let name = one.reference.repository().familiar();
            publish(&rooms, "pull", &one.reference.familiar(), &name);
        }
        Vec::new()
    })
    .await
}

/// `fromImage` with the tag or digest that stands beside it; without either all tags are meant, as for dockerd.
fn reference(query: &Query) -> Result<Reference> {
    let name = parameter::text(query, "fromImage")
        .ok_or_else(|| Error::invalid("the parameter fromImage is missing"))?;
    let text = match parameter::text(query, "tag") {
        None => name.to_owned(),
        Some(digest) if digest.contains(':') => format!("{name}@{digest}"),
        Some(tag) => format!("{name}:{tag}"),
    };
    let parsed: std::result::Result<Reference, _> = text.parse();
    parsed.map_err(|why| Error::invalid(why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_tag_become_a_reference() {
        let read = |query: &str| reference(&Query::parse(query)).map(|reference| reference.to_string());
        assert_eq!(read("fromImage=debian&tag=12").unwrap(), "docker.io/library/debian:12");
        assert_eq!(read("fromImage=127.0.0.1:5000/a").unwrap(), "127.0.0.1:5000/a");
        let digest = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(
            read(&format!("fromImage=a&tag={digest}")).unwrap(),
            format!("docker.io/library/a@{digest}")
        );
        assert_eq!(read("fromImage=a:1&tag=").unwrap(), "docker.io/library/a:1");
        for bad in ["", "fromImage=", "fromImage=A", "fromImage=a&tag=%20", "fromImage=a&tag=sha256:00"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
