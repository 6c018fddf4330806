use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tare_http::{Query, Reply, Request, StatusCode};
use tare_image::{Error as ImageError, Progress, PullRequest, Pulled};
use tare_model::{Platform, Reference};
use tokio::sync::mpsc;

use super::progress::{failure, line, message};
use super::publish;
use crate::{Error, Result, Rooms, auth, parameter};

/// `POST /images/create`. An image that cannot even be asked for is an error with a status of its own; once something was
/// told, an error is the last line of the stream.
pub(crate) async fn pull(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    if parameter::text(&request.query, "fromSrc").is_some() {
        return Err(Error::unsupported("importing an image from an archive"));
    }
    let reference = reference(&request.query)?;
    let platform = parameter::text(&request.query, "platform").map(str::parse::<Platform>).transpose();
    let platform = platform.map_err(|why| Error::invalid(why.to_string()))?;
    let wanted = PullRequest { reference, platform, credentials: auth::of_header(&request)? };
    let mut pull = Pull::begin(rooms, wanted);
    let first = match pull.next().await {
        Step::Told(progress) => line(&message(progress)),
        Step::Ended(Ok(_)) => return Ok(Reply::bytes(StatusCode::OK, "application/json", Bytes::new())),
        Step::Ended(Err(why)) => return Err(why.into()),
    };
    let first = futures_util::stream::once(std::future::ready(Ok(first)));
    Ok(Reply::stream(StatusCode::OK, "application/json", first.chain(rest(pull))))
}

/// `fromImage` with the tag or digest that stands beside it.
fn reference(query: &Query) -> Result<Reference> {
    let name = parameter::text(query, "fromImage")
        .ok_or_else(|| Error::invalid("the parameter fromImage is missing"))?;
    let text = match parameter::text(query, "tag") {
        None => name.to_owned(),
        Some(digest) if digest.contains(':') => format!("{name}@{digest}"),
        Some(tag) => format!("{name}:{tag}"),
    };
    let parsed: std::result::Result<Reference, _> = text.parse();
    Ok(parsed.map_err(|why| Error::invalid(why.to_string()))?.or_latest())
}

/// A pull under way. Dropping it stops the work, so it ends with the client that asked for it.
struct Pull {
    work: Pin<Box<dyn Future<Output = std::result::Result<Pulled, ImageError>> + Send>>,
    told: mpsc::UnboundedReceiver<Progress>,
    outcome: Option<std::result::Result<Pulled, ImageError>>,
    rooms: Arc<Rooms>,
}

enum Step {
    Told(Progress),
    Ended(std::result::Result<Pulled, ImageError>),
}

impl Pull {
    fn begin(rooms: Arc<Rooms>, wanted: PullRequest) -> Self {
        // Without a bound: a pull tells a bounded number of steps per layer.
        let (tell, told) = mpsc::unbounded_channel();
        let images = Arc::clone(&rooms.images);
        let work = Box::pin(async move {
            let listener = move |progress| drop(tell.send(progress)); // nobody listens any more: the client has gone
            images.pull(wanted, listener).await
        });
        Self { work, told, outcome: None, rooms }
    }

    /// What is told next; the end comes after all that was told before it.
    async fn next(&mut self) -> Step {
        while self.outcome.is_none() {
            tokio::select! {
                biased;
                Some(progress) = self.told.recv() => return Step::Told(progress),
                outcome = &mut self.work => self.outcome = Some(outcome),
            }
        }
        match (self.told.try_recv(), self.outcome.take()) {
            (Ok(progress), outcome) => {
                self.outcome = outcome;
                Step::Told(progress)
            }
            (Err(_), Some(outcome)) => {
                if let Ok(pulled) = &outcome {
                    let name = pulled.reference.repository().familiar();
                    publish(&self.rooms, "pull", &pulled.reference.familiar(), &name);
                }
                Step::Ended(outcome)
            }
            (Err(_), None) => Step::Ended(Err(ImageError::Cancelled)),
        }
    }
}

fn rest(pull: Pull) -> impl Stream<Item = std::result::Result<Bytes, Infallible>> {
    futures_util::stream::unfold(Some(pull), |pull| async {
        let mut pull = pull?;
        match pull.next().await {
            Step::Told(progress) => Some((Ok(line(&message(progress))), Some(pull))),
            Step::Ended(Ok(_)) => None,
            Step::Ended(Err(why)) => Some((Ok(line(&failure(&why.to_string()))), None)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_tag_become_a_reference() {
        let read = |query: &str| reference(&Query::parse(query)).map(|reference| reference.to_string());
        assert_eq!(read("fromImage=debian&tag=12").unwrap(), "docker.io/library/debian:12");
        assert_eq!(read("fromImage=127.0.0.1:5000/a").unwrap(), "127.0.0.1:5000/a:latest");
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
