//! `manifest`: what a name stands for in a registry, and names that stand for several platforms.

use tare_model::Reference;

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::flags::{Flag, switch};
use crate::output::line;
use crate::progress::Shown;
use crate::pull::{Wanted, fetch};

pub(crate) const CREATE: &[Flag] = &[switch("quiet", "Suppress verbose output").short('q')];

/// `tare manifest create`: an image that is not here is fetched first, for all its platforms.
pub(crate) async fn create(call: Call) -> Result<u8> {
    let Some((name, images)) = call.given.operands.split_first() else { return Ok(1) };
    let reference = name.parse::<Reference>().map_err(|error| Failure::new(error.to_string()))?;
    let shown = if call.given.on("quiet") { Shown::Nothing } else { Shown::OnStderr };
    for image in images {
        match call.client.inspect_image_raw(image, None).await {
            Err(error) if error.status() == Some(404) => {
                fetch(&call, image, Wanted::Every, shown).await?;
            }
            found => drop(found?),
        }
    }
    let made = call.client.create_index(&reference.or_latest().to_string(), images).await?;
    line(made.digest)?;
    Ok(0)
}

/// `tare manifest inspect`
pub(crate) async fn inspect(call: Call) -> Result<u8> {
    let text = call.client.image_manifest(&call.given.operands[0]).await?;
    let pretty = serde_json::from_str::<serde_json::Value>(&text)
        .and_then(|document| serde_json::to_string_pretty(&document));
    line(pretty.unwrap_or(text))?;
    Ok(0)
}
