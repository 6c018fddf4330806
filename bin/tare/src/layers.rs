//! `image diff`, `image log`: an image as what it is made of.

use serde_json::json;
use tare_docker_api::{ImageHistoryItem, ImageLayer, TreeDifference};

use crate::call::Call;
use crate::failure::Result;
use crate::flags::{Flag, switch};
use crate::listing::{JSON, shortened, size_of};
use crate::output::{line, quote};
use crate::ps::id;

pub(crate) const DIFF: &[Flag] = &[JSON];
pub(crate) const LOG: &[Flag] = &[switch("no-trunc", "Don't truncate output")];

/// `tare image diff`
pub(crate) async fn diff(call: Call) -> Result<u8> {
    let [from, to] = &call.given.operands[..] else { return Ok(1) };
    let found = call.client.compare_images(from, to).await?;
    if call.given.on("json") {
        let kinds = ["changed", "added", "deleted"];
        let wire = |one: &TreeDifference| {
            let kind = kinds.get(usize::from(one.kind)).copied().unwrap_or_default();
            json!({"Path": one.path, "Kind": kind, "Before": one.before, "After": one.after})
        };
        found.iter().try_for_each(|one| line(wire(one).to_string()))?;
        return Ok(0);
    }
    found.iter().try_for_each(|one| quote(shown(one)))?;
    line(summary(&found))?;
    Ok(0)
}

fn shown(one: &TreeDifference) -> String {
    let size = |bytes: u64| size_of(i64::try_from(bytes).unwrap_or(i64::MAX));
    match one.kind {
        0 if one.before == one.after => format!("C {}", one.path),
        0 => format!("C {}  {} → {}", one.path, size(one.before), size(one.after)),
        1 => format!("A {}  {}", one.path, size(one.after)),
        _ => format!("D {}  {}", one.path, size(one.before)),
    }
}

fn summary(found: &[TreeDifference]) -> String {
    let count = |kind| found.iter().filter(|one| one.kind == kind).count();
    let bytes = |of: fn(&TreeDifference) -> u64| found.iter().map(of).sum::<u64>();
    let (before, after) = (bytes(|one| one.before), bytes(|one| one.after));
    let sign = if after < before { "-" } else { "+" };
    let by = size_of(i64::try_from(after.abs_diff(before)).unwrap_or(i64::MAX));
    format!("{} added, {} changed, {} deleted: {sign}{by}", count(1), count(0), count(2))
}

/// `tare image log`
pub(crate) async fn log(call: Call) -> Result<u8> {
    let name = &call.given.operands[0];
    let layers = call.client.image_layers(name).await?;
    let steps = call.client.image_history(name, None).await?;
    tree(name, &steps, &layers, call.given.on("no-trunc")).iter().try_for_each(quote)?;
    Ok(0)
}

/// The steps of an image, the last first, each with the layer that it made.
fn tree(name: &str, steps: &[ImageHistoryItem], layers: &[ImageLayer], full: bool) -> Vec<String> {
    let sum = |pick: &dyn Fn(&&ImageLayer) -> bool| {
        layers.iter().filter(|layer| pick(layer)).map(|layer| layer.size + layer.blob_size).sum::<i64>()
    };
    let own = sum(&|layer| layer.shared.is_empty());
    let mut lines =
        vec![format!("{name}  {} on disk, {} of it its own", size_of(sum(&|_| true)), size_of(own))];
    // A step without bytes made a layer only where no more layers would be left for the steps below it.
    let with_bytes = steps.iter().filter(|step| step.size > 0).count();
    let mut empty = layers.len().saturating_sub(with_bytes);
    let mut left = layers.iter().rev().peekable();
    for (at, step) in steps.iter().enumerate() {
        let mut layer = None;
        if left.peek().is_some_and(|next| next.size == step.size && (step.size > 0 || empty > 0)) {
            empty -= usize::from(step.size == 0);
            layer = left.next();
        }
        let branch = if at + 1 == steps.len() { "└─" } else { "├─" };
        let what = match layer {
            None => format!("{:>9}  {:<14}", "-", "configuration"),
            Some(layer) => {
                let chain = layer.chain_id.strip_prefix("sha256:").unwrap_or(&layer.chain_id);
                format!("{:>9}  {:<14}", size_of(layer.size + layer.blob_size), id(chain, false))
            }
        };
        let text = step.created_by.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = if text.is_empty() { step.comment.clone() } else { text };
        let text = if full { text } else { shortened(&text, 60) };
        lines.push(format!("{branch} {what} {text}").trim_end().to_owned());
        if let Some(layer) = layer.filter(|layer| !layer.shared.is_empty()) {
            let bar = if at + 1 == steps.len() { " " } else { "│" };
            lines.push(format!("{bar}             = also of {}", layer.shared.join(", ")));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(chain: char, size: i64, shared: &[&str]) -> ImageLayer {
        let shared = shared.iter().map(|name| (*name).to_owned()).collect();
        let chain_id = format!("sha256:{}", chain.to_string().repeat(64));
        ImageLayer { chain_id, size, blob_size: size / 10, shared, ..ImageLayer::default() }
    }

    fn step(created_by: &str, size: i64) -> ImageHistoryItem {
        ImageHistoryItem { created_by: created_by.to_owned(), size, ..ImageHistoryItem::default() }
    }

    #[test]
    fn a_log_shows_what_each_step_costs_and_who_shares_it() {
        let steps = [step("CMD [\"sh\"]", 0), step("RUN  make", 2000), step("ADD rootfs /", 100_000)];
        let layers = [layer('a', 100_000, &["base:1"]), layer('b', 2000, &[])];
        let expected = [
            "web:1  112kB on disk, 2.2kB of it its own",
            "├─         -  configuration  CMD [\"sh\"]",
            "├─     2.2kB  bbbbbbbbbbbb   RUN make",
            "└─     110kB  aaaaaaaaaaaa   ADD rootfs /",
            "              = also of base:1",
        ];
        assert_eq!(tree("web:1", &steps, &layers, false), expected);
    }

    #[test]
    fn a_difference_tells_kind_path_and_sizes() {
        let one = |kind, before, after| TreeDifference { path: "/a".into(), kind, before, after };
        assert_eq!(shown(&one(1, 0, 5)), "A /a  5B");
        assert_eq!(shown(&one(0, 5, 7000)), "C /a  5B → 7kB");
        assert_eq!(summary(&[one(1, 0, 5), one(2, 2005, 0)]), "1 added, 0 changed, 1 deleted: -2kB");
    }
}
