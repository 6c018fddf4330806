//! Work of the engine that tells how far it is: the client reads that line by line.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tare_docker_api::ProgressMessage;
use tare_http::{Reply, StatusCode};
use tare_image::{Error as ImageError, Progress};
use tokio::task::JoinSet;

use super::progress::{failure, line, message};
use super::told::Told;
use crate::Result;

type Outcome<T> = std::result::Result<T, ImageError>;

/// Work under way, in a task of its own: it goes on whether its client reads or not, and ends with the client that asked for
/// it, as dropping this stops it.
pub(super) struct Work<T> {
    work: JoinSet<Outcome<T>>,
    told: Arc<Told>,
    outcome: Option<Outcome<T>>,
}

enum Step<T> {
    Told(Progress),
    Ended(Outcome<T>),
}

/// Who is told.
pub(super) type Listener = Box<dyn Fn(Progress) + Send + Sync>;

impl<T: Send + 'static> Work<T> {
    pub(super) fn begin<F>(work: impl FnOnce(Listener) -> F) -> Self
    where
        F: Future<Output = Outcome<T>> + Send + 'static,
    {
        let told = Arc::<Told>::default();
        let to = Arc::clone(&told);
        let mut tasks = JoinSet::new();
        tasks.spawn(work(Box::new(move |progress| to.put(progress))));
        Self { work: tasks, told, outcome: None }
    }

    /// What is answered. What cannot even be begun is an error with a status of its own; once something was told, an error
    /// is the last line of the stream. `end` gives the lines that stand last after success.
    pub(super) async fn reply(
        mut self,
        end: impl FnOnce(T) -> Vec<ProgressMessage> + Send + 'static,
    ) -> Result<Reply> {
        let first = match self.next().await {
            Step::Told(progress) => line(&message(progress)),
            Step::Ended(Ok(done)) => {
                return Ok(Reply::bytes(StatusCode::OK, "application/json", lines(&end(done))));
            }
            Step::Ended(Err(why)) => return Err(why.into()),
        };
        let first = futures_util::stream::once(std::future::ready(Ok(first)));
        Ok(Reply::stream(StatusCode::OK, "application/json", first.chain(self.rest(end))))
    }

    /// What is told next; the end comes after all that was told before it.
    async fn next(&mut self) -> Step<T> {
        loop {
            if let Some(progress) = self.told.take() {
                return Step::Told(progress);
            }
            if let Some(outcome) = self.outcome.take() {
                return Step::Ended(outcome);
            }
            tokio::select! {
                biased;
                () = self.told.news() => {}
                ended = self.work.join_next() => {
                    let outcome = ended.and_then(|joined| joined.ok());
                    self.outcome = Some(outcome.unwrap_or(Err(ImageError::Cancelled)));
                }
            }
        }
    }

    fn rest(
        self,
        end: impl FnOnce(T) -> Vec<ProgressMessage> + Send + 'static,
    ) -> impl Stream<Item = std::result::Result<Bytes, Infallible>> {
        futures_util::stream::unfold(Some((self, end)), |state| async {
            let (mut work, end) = state?;
            match work.next().await {
                Step::Told(progress) => Some((Ok(line(&message(progress))), Some((work, end)))),
                Step::Ended(Ok(done)) => Some((Ok(lines(&end(done))), None)),
                Step::Ended(Err(why)) => Some((Ok(line(&failure(&why.to_string()))), None)),
            }
        })
    }
}

fn lines(messages: &[ProgressMessage]) -> Bytes {
    messages.iter().flat_map(|message| line(message).to_vec()).collect::<Vec<_>>().into()
}
