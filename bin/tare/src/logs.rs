//! `logs` and `top`.

use tare_client::LogOptions;

use crate::call::Call;
use crate::failure::Result;
use crate::flags::{Flag, switch, text};
use crate::listing::align_to;
use crate::output::line;
use crate::session::copy_log;
use crate::time::moment;

pub(crate) const LOGS: &[Flag] = &[
    switch("details", "Show extra details provided to logs"),
    switch("follow", "Follow log output").short('f'),
    text(
        "since",
        "string",
        "Show logs since timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)",
    ),
    text("tail", "string", "Number of lines to show from the end of the logs (default \"all\")").short('n'),
    switch("timestamps", "Show timestamps").short('t'),
    text(
        "until",
        "string",
        "Show logs before a timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)",
    ),
];

/// `tare logs`
pub(crate) async fn logs(call: Call) -> Result<u8> {
    let given = &call.given;
    let options = LogOptions {
        follow: given.on("follow"),
        since: given.text("since").map(moment).transpose()?,
        until: given.text("until").map(moment).transpose()?,
        timestamps: given.on("timestamps"),
        details: given.on("details"),
        tail: given.text("tail").map(str::to_owned),
    };
    let container = call.client.inspect_container(&given.operands[0]).await?;
    let answer = call.client.container_logs(&container.id, &options).await?;
    copy_log(answer, container.config.tty).await?;
    Ok(0)
}

/// How wide Docker makes the columns of `top` at least.
const TOP_COLUMN: usize = 20;

/// `tare top`
pub(crate) async fn top(call: Call) -> Result<u8> {
    let [name, arguments @ ..] = &call.given.operands[..] else { return Ok(1) };
    let arguments = (!arguments.is_empty()).then(|| arguments.join(" "));
    let top = call.client.top_container(name, arguments.as_deref()).await?;
    let lines = std::iter::once(&top.titles).chain(&top.processes).map(|cells| cells.join("\t"));
    line(align_to(&lines.collect::<Vec<_>>().join("\n"), TOP_COLUMN))?;
    Ok(0)
}
