//! `builder prune`.

use tare_model::{format_bytes, parse_bytes};

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::listing::filters;
use crate::output::{confirm, line};

/// `tare builder prune`
pub(crate) async fn prune(call: Call) -> Result<u8> {
    let given = &call.given;
    let what = if given.on("all") { "all build cache" } else { "all dangling build cache" };
    let question = format!("WARNING! This will remove {what}.\nAre you sure you want to continue?");
    if !given.on("force") && !confirm(&question)? {
        return Err(Failure::new("builder prune has been cancelled"));
    }
    let mut query = Vec::new();
    query.extend(given.on("all").then(|| ("all", "1".to_owned())));
    query.extend(filters(&given.list("filter"))?.map(|filters| ("filters", filters)));
    for flag in ["keep-storage", "max-used-space", "min-free-space", "reserved-space"] {
        query.extend(given.parsed(flag, parse_bytes)?.map(|bytes| (flag, bytes.to_string())));
    }
    let pruned = call.client.prune_builds(&query).await?;
    let deleted = pruned.caches_deleted.unwrap_or_default();
    if !deleted.is_empty() {
        line(format!("Deleted build cache objects:\n{}\n", deleted.join("\n")))?;
    }
    line(format!(
        "Total reclaimed space: {}",
        format_bytes(u64::try_from(pruned.space_reclaimed).unwrap_or(0))
    ))?;
    Ok(0)
}
