use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use tare_docker_api::{AuthConfig, ImageDeleted, ImageHistoryItem, ImageSummary, SearchResult};
use tokio::sync::mpsc::Receiver;

use crate::address::Address;
use crate::error::{Error, Result};
use crate::transport::{Answer, Client, Messages};

/// Which image a pull fetches.
#[derive(Clone, Debug, Default)]
pub struct PullOptions {
    /// The name without tag and digest.
    pub image: String,
    /// The tag or digest; empty for all tags.
    pub tag: String,
    /// `os/architecture[/variant]`
    pub platform: Option<String>,
    /// Instead of one platform all that there are; an extension of Tare's daemon.
    pub all_platforms: bool,
    /// For the registry; absent for anonymous pulls.
    pub credentials: Option<AuthConfig>,
}

/// How an archive of a tree becomes an image.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// `-` where the archive is sent, or a URL that the daemon fetches.
    pub source: String,
    /// The image's name without the tag; may be empty.
    pub repository: String,
    /// Its tag; may be empty.
    pub tag: String,
    /// A remark for the history.
    pub message: String,
    /// Instructions of a Dockerfile.
    pub changes: Vec<String>,
    /// `os/architecture[/variant]`
    pub platform: Option<String>,
}

const REGISTRY_AUTH: HeaderName = HeaderName::from_static("x-registry-auth");

fn image(name: &str, verb: &str) -> Address {
    Address::new("images").name(name).word(verb)
}

impl Client {
    /// `POST /images/create`: the stream of progress messages.
    pub async fn pull(&self, options: &PullOptions) -> Result<Messages> {
        let address = Address::new("images")
            .word("create")
            .query("fromImage", &options.image)
            .query("tag", &options.tag)
            .query_some("platform", options.platform.as_deref())
            .flag("allplatforms", options.all_platforms);
        let headers = options.credentials.as_ref().map(registry_auth).transpose()?;
        let headers: Vec<_> = headers.into_iter().map(|value| (REGISTRY_AUTH, value)).collect();
        Ok(self.send_with(Method::POST, &address, &headers).await?.messages())
    }

    /// `GET /images/search`
    pub async fn search(
        &self,
        term: &str,
        limit: Option<u32>,
        filters: Option<&str>,
        credentials: Option<&AuthConfig>,
    ) -> Result<Vec<SearchResult>> {
        let address = Address::new("images").word("search").query("term", term);
        let address = address.query_some("limit", limit.map(|limit| limit.to_string()).as_deref());
        let address = address.query_some("filters", filters);
        let headers = credentials.map(registry_auth).transpose()?;
        let headers: Vec<_> = headers.into_iter().map(|value| (REGISTRY_AUTH, value)).collect();
        self.send_with(Method::GET, &address, &headers).await?.json().await
    }

    /// `POST /images/{name}/push`: the stream of progress messages. Without a tag all tags of the repository are pushed.
    pub async fn push(
        &self,
        repository: &str,
        tag: Option<&str>,
        platform: Option<&str>,
        compression: Option<&str>,
        credentials: Option<&AuthConfig>,
    ) -> Result<Messages> {
        let address = image(repository, "push").query_some("tag", tag).query_some("platform", platform);
        let address = address.query_some("compression", compression);
        // The daemon of Docker wants the header, also when there is nothing to say.
        let header = registry_auth(credentials.unwrap_or(&AuthConfig::default()))?;
        Ok(self.send_with(Method::POST, &address, &[(REGISTRY_AUTH, header)]).await?.messages())
    }

    /// `GET /images/get`: the archive, to be read piece by piece.
    pub async fn save(&self, names: &[String], platform: Option<&str>) -> Result<Answer> {
        let address = Address::new("images").word("get").query_some("platform", platform);
        let address = names.iter().fold(address, |address, name| address.query("names", name));
        self.send(Method::GET, &address).await
    }

    /// `POST /images/load`: the stream of progress messages. The archive is what comes out of `pieces`.
    pub async fn load(
        &self,
        pieces: Receiver<io::Result<Bytes>>,
        quiet: bool,
        platform: Option<&str>,
    ) -> Result<Messages> {
        let address = Address::new("images").word("load").query("quiet", if quiet { "1" } else { "0" });
        let address = address.query_some("platform", platform);
        Ok(self.send_pieces(Method::POST, &address, &[], "application/x-tar", pieces).await?.messages())
    }

    /// `POST /images/create` with an archive: the stream of progress messages. The archive is what comes out of `pieces`,
    /// unless the daemon fetches it.
    pub async fn import(
        &self,
        options: &ImportOptions,
        pieces: Option<Receiver<io::Result<Bytes>>>,
    ) -> Result<Messages> {
        let address = Address::new("images")
            .word("create")
            .query("fromSrc", &options.source)
            .query("repo", &options.repository)
            .query("tag", &options.tag)
            .query("message", &options.message)
            .query_some("platform", options.platform.as_deref());
        let address =
            options.changes.iter().fold(address, |address, change| address.query("changes", change));
        let answer = match pieces {
            Some(pieces) => {
                self.send_pieces(Method::POST, &address, &[], "application/x-tar", pieces).await?
            }
            None => self.send(Method::POST, &address).await?,
        };
        Ok(answer.messages())
    }

    /// `GET /images/json`; with `manifests` also what each name stands for.
    pub async fn images(
        &self,
        all: bool,
        filters: Option<&str>,
        manifests: bool,
    ) -> Result<Vec<ImageSummary>> {
        let address = Address::new("images").word("json").flag("all", all).query_some("filters", filters);
        self.get(&address.flag("manifests", manifests)).await
    }

    /// `GET /images/{name}/json`, as the daemon wrote it.
    pub async fn inspect_image_raw(&self, name: &str, platform: Option<&str>) -> Result<String> {
        self.text(&image(name, "json").query_some("platform", platform)).await
    }

    /// `GET /images/{name}/history`
    pub async fn image_history(&self, name: &str, platform: Option<&str>) -> Result<Vec<ImageHistoryItem>> {
        self.get(&image(name, "history").query_some("platform", platform)).await
    }

    /// `POST /images/{name}/tag`
    pub async fn tag_image(&self, source: &str, repository: &str, tag: &str) -> Result<()> {
        self.post(&image(source, "tag").query("repo", repository).query("tag", tag)).await
    }

    /// `DELETE /images/{name}`
    pub async fn remove_image(
        &self,
        name: &str,
        force: bool,
        keep_parents: bool,
        platforms: &[String],
    ) -> Result<Vec<ImageDeleted>> {
        let address = Address::new("images").name(name).flag("force", force).flag("noprune", keep_parents);
        let address = platforms.iter().fold(address, |address, one| address.query("platforms", one));
        self.send(Method::DELETE, &address).await?.json().await
    }
}

fn registry_auth(credentials: &AuthConfig) -> Result<HeaderValue> {
    let json = serde_json::to_vec(credentials).map_err(|e| Error::answer("X-Registry-Auth", &e))?;
    let mut value =
        HeaderValue::from_str(&URL_SAFE.encode(json)).map_err(|e| Error::answer("X-Registry-Auth", &e))?;
    value.set_sensitive(true);
    Ok(value)
}
