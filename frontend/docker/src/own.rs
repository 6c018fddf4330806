//! What Tare answers beyond the Engine API, below `/tare/` ([`tare_docker_api`] describes it).

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use tare_docker_api::{ImageLayer, IndexMade, TreeDifference, Verdict};
use tare_http::{Reply, Request, StatusCode};
use tare_image::{IndexRequest, Verified, What};
use tare_model::{Digest, Reference};
use tokio::sync::mpsc;

use crate::{Error, Result, Rooms, image, parameter};

/// `GET /tare/images/{name}/layers`.
pub(crate) async fn layers(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let image = rooms.images.resolve(request.parameter("name"))?;
    let name = |id: &Digest| {
        let known = rooms.images.resolve(&id.to_string()).ok();
        let tag = known.and_then(|image| image.tags.first().map(|tag| tag.familiar()));
        tag.unwrap_or_else(|| id.short())
    };
    let layers = rooms.images.stack(&image)?;
    let wire = layers.iter().map(|layer| ImageLayer {
        diff_id: layer.diff.to_string(),
        chain_id: layer.chain.to_string(),
        size: signed(layer.size),
        blob: layer.blob.as_ref().map(|blob| blob.digest.to_string()).unwrap_or_default(),
        blob_size: layer.blob.as_ref().map_or(0, |blob| signed(blob.size)),
        path: layer.tree.as_ref().map(|tree| tree.display().to_string()).unwrap_or_default(),
        shared: layer.shared.iter().map(name).collect(),
    });
    Ok(Reply::json(StatusCode::OK, &wire.collect::<Vec<_>>()))
}

/// `GET /tare/images/{name}/manifest`.
pub(crate) async fn manifest(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let (_, document) = rooms.images.document(request.parameter("name"))?;
    Ok(Reply::bytes(StatusCode::OK, "application/json", document))
}

/// `POST /tare/manifests/create`: images that are here become one index.
pub(crate) async fn index(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let name = parameter::text(&request.query, "name");
    let name = name.ok_or_else(|| Error::invalid("the parameter name is missing"))?;
    let name: Reference =
        name.parse().map_err(|why: tare_model::ReferenceError| Error::invalid(why.to_string()))?;
    let mut images = Vec::new();
    for given in request.query.all("image") {
        images.extend(rooms.images.platforms(given)?);
    }
    let name = name.or_latest();
    let made = rooms.images.make_index(IndexRequest { images, names: vec![name.clone()] }).await?;
    image::publish(&rooms, "create", &made.digest.to_string(), &name.familiar());
    Ok(Reply::json(StatusCode::CREATED, &IndexMade { digest: made.digest.to_string(), size: made.size }))
}

/// `POST /tare/images/{name}/untag`: takes the name `repo` (with `tag`) from an image, or all its names where there is
/// no `repo`. The image stays.
pub(crate) async fn untag(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let name = parameter::text(&request.query, "repo").map(|_| image::target(&request)).transpose()?;
    let wanted = request.parameter("name");
    let id = rooms.images.resolve(wanted)?.id.to_string();
    for gone in rooms.images.untag(wanted, name.as_ref()).await? {
        image::publish(&rooms, "untag", &id, &gone.familiar());
    }
    Ok(Reply::empty(StatusCode::OK))
}

/// `GET /tare/diff`.
pub(crate) async fn difference(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let image = |name: &str| {
        let given = parameter::text(&request.query, name);
        let given = given.ok_or_else(|| Error::invalid(format!("the parameter {name} is missing")))?;
        Ok::<_, Error>(rooms.images.resolve(given)?)
    };
    let (from, to) = (image("from")?, image("to")?);
    let found = rooms.images.compare(&from, &to).await?;
    let wire = found.iter().map(|one| TreeDifference {
        path: one.path.to_string_lossy().into_owned(),
        kind: one.kind as u8,
        before: one.before,
        after: one.after,
    });
    Ok(Reply::json(StatusCode::OK, &wire.collect::<Vec<_>>()))
}

/// `POST /tare/images/{name}/hold`.
pub(crate) async fn hold(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let image = rooms.images.resolve(request.parameter("name"))?;
    rooms.images.hold(&image, &holder(&request)?).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// `DELETE /tare/hold`.
pub(crate) async fn release(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    rooms.images.release(&holder(&request)?).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// Apart from the holders that the daemon itself knows.
fn holder(request: &Request) -> Result<String> {
    let by = parameter::text(&request.query, "by").filter(|by| !by.contains('\0'));
    by.map(|by| format!("mount/{by}")).ok_or_else(|| Error::invalid("the parameter by is missing"))
}

/// `POST /tare/verify`: one line for each blob and layer.
pub(crate) async fn verify(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let repair = parameter::flag(&request.query, "repair");
    let (tell, told) = mpsc::unbounded_channel();
    let images = Arc::clone(&rooms.images);
    tokio::spawn(async move {
        let lines = tell.clone();
        // Nobody listens any more: what is repaired stays repaired.
        let verified = images.verify(repair, move |verified| drop(lines.send(verdict(verified))));
        if let Err(error) = verified.await {
            let _ = tell.send(Verdict { error: error.to_string(), ..Verdict::default() });
        }
    });
    let lines = futures_util::stream::unfold(told, |mut told| async move {
        let mut line = serde_json::to_vec(&told.recv().await?).unwrap_or_default();
        line.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(line)), told))
    });
    Ok(Reply::stream(StatusCode::OK, "application/json", lines))
}

fn verdict(verified: Verified) -> Verdict {
    let (what, damage, repaired) = match verified {
        Verified::Sound(what) => (what, String::new(), false),
        Verified::Damaged { what, how, repaired } => (what, how, repaired),
    };
    let (kind, id) = match what {
        What::Blob(digest) => ("blob", digest),
        What::Layer(chain) => ("layer", chain),
    };
    Verdict { kind: kind.to_owned(), id: id.to_string(), damage, repaired, error: String::new() }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
