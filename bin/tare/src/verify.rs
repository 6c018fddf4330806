//! `system verify`.

use tare_docker_api::Verdict;

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::flags::{Flag, switch};
use crate::output::line;

pub(crate) const VERIFY: &[Flag] = &[
    switch("quiet", "Print only what is damaged").short('q'),
    switch("repair", "Fetch damaged blobs again and restore damaged layers"),
];

/// `tare system verify`: 1 where something is damaged and stays so.
pub(crate) async fn verify(call: Call) -> Result<u8> {
    let (quiet, repair) = (call.given.on("quiet"), call.given.on("repair"));
    let mut verdicts = call.client.verify(repair).await?;
    let (mut blobs, mut layers, mut damaged, mut repaired) = (0, 0, 0, 0);
    while let Some(verdict) = verdicts.next::<Verdict>().await? {
        if !verdict.error.is_empty() {
            return Err(Failure::new(verdict.error));
        }
        let count = if verdict.kind == "blob" { &mut blobs } else { &mut layers };
        *count += 1;
        damaged += usize::from(!verdict.damage.is_empty());
        repaired += usize::from(verdict.repaired);
        if !verdict.damage.is_empty() {
            let end = if verdict.repaired { ": repaired" } else { "" };
            line(format!("{} {}: {}{end}", verdict.kind, verdict.id, verdict.damage))?;
        }
    }
    if !quiet {
        line(format!("{blobs} blobs, {layers} layers: {damaged} damaged, {repaired} repaired"))?;
    }
    Ok(u8::from(damaged > repaired))
}
