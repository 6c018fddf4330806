use http::Method;
use tare_docker_api::{ImageLayer, IndexMade, TreeDifference};

use crate::address::Address;
use crate::error::Result;
use crate::transport::{Client, Messages};

/// What Tare's daemon answers beyond the Engine API.
impl Client {
    /// The layers of an image, the lowest first.
    pub async fn image_layers(&self, name: &str) -> Result<Vec<ImageLayer>> {
        self.get(&Address::new("tare").word("images").name(name).word("layers")).await
    }

    /// The index or manifest that an image's name stands for, as it is kept.
    pub async fn image_manifest(&self, name: &str) -> Result<String> {
        self.text(&Address::new("tare").word("images").name(name).word("manifest")).await
    }

    /// Makes an index of images that are here, under a name.
    pub async fn create_index(&self, name: &str, images: &[String]) -> Result<IndexMade> {
        let address = Address::new("tare").word("manifests").word("create").query("name", name);
        let address = images.iter().fold(address, |address, image| address.query("image", image));
        self.send(Method::POST, &address).await?.json().await
    }

    /// What becomes of one image's files to be the other's.
    pub async fn compare_images(&self, from: &str, to: &str) -> Result<Vec<TreeDifference>> {
        self.get(&Address::new("tare").word("diff").query("from", from).query("to", to)).await
    }

    /// Takes a name (repository and tag) from an image, all of its names where none is given; the image stays.
    pub async fn untag_image(&self, image: &str, name: Option<(&str, &str)>) -> Result<()> {
        let address = Address::new("tare").word("images").name(image).word("untag");
        let address = address.query_some("repo", name.map(|(repository, _)| repository));
        self.post(&address.query_some("tag", name.map(|(_, tag)| tag))).await
    }

    /// Keeps an image for somebody until [`Client::release`].
    pub async fn hold_image(&self, name: &str, by: &str) -> Result<()> {
        let address = Address::new("tare").word("images").name(name).word("hold").query("by", by);
        self.post(&address).await
    }

    /// Ends that.
    pub async fn release(&self, by: &str) -> Result<()> {
        self.delete(&Address::new("tare").word("hold").query("by", by)).await.map(drop)
    }

    /// Rereads everything; one `Verdict` a line.
    pub async fn verify(&self, repair: bool) -> Result<Messages> {
        let address = Address::new("tare").word("verify").flag("repair", repair);
        Ok(self.send(Method::POST, &address).await?.messages())
    }
}
