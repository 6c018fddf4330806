use http::Method;
use tare_docker_api::{FileChange, IdResponse};

use crate::address::Address;
use crate::error::Result;
use crate::transport::{Answer, Client};

/// How a container becomes an image.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// Which container.
    pub container: String,
    /// The image's name without the tag; may be empty.
    pub repository: String,
    /// Its tag; may be empty.
    pub tag: String,
    /// Who made it.
    pub author: String,
    /// A remark.
    pub comment: String,
    /// Whether the container stands still meanwhile.
    pub pause: bool,
    /// Instructions of a Dockerfile.
    pub changes: Vec<String>,
}

impl Client {
    /// `POST /commit`: the new image's id.
    pub async fn commit(&self, options: &CommitOptions) -> Result<String> {
        let address = Address::new("commit")
            .query("container", &options.container)
            .query("repo", &options.repository)
            .query("tag", &options.tag)
            .query("author", &options.author)
            .query("comment", &options.comment)
            .query("pause", if options.pause { "1" } else { "0" });
        let address =
            options.changes.iter().fold(address, |address, change| address.query("changes", change));
        let made: IdResponse = self.send(Method::POST, &address).await?.json().await?;
        Ok(made.id)
    }

    /// `GET /containers/{id}/changes`
    pub async fn container_changes(&self, id: &str) -> Result<Vec<FileChange>> {
        let changes: Option<Vec<FileChange>> =
            self.get(&Address::new("containers").name(id).word("changes")).await?;
        Ok(changes.unwrap_or_default())
    }

    /// `GET /containers/{id}/export`: the archive, to be read piece by piece.
    pub async fn export(&self, id: &str) -> Result<Answer> {
        self.send(Method::GET, &Address::new("containers").name(id).word("export")).await
    }
}
