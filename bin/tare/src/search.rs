//! `search`.

use tare_docker_api::SearchResult;

use crate::call::Call;
use crate::credentials;
use crate::failure::{Failure, Result};
use crate::flags::{Flag, text};
use crate::listing::{FILTER, FORMAT, Format, JSON, Listing, NO_TRUNC, Row, filters};

pub(crate) const SEARCH: &[Flag] =
    &[FILTER, FORMAT, JSON, text("limit", "int", "Max number of search results"), NO_TRUNC];

const TITLES: &[(&str, &str)] = &[
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("StarCount", "STARS"),
    ("IsOfficial", "OFFICIAL"),
    ("IsAutomated", "AUTOMATED"),
];

/// Letters of a description that a line has room for.
const DESCRIBED: usize = 45;

/// `tare search`
pub(crate) async fn search(call: Call) -> Result<u8> {
    let given = &call.given;
    let format = Format::of(given)?;
    let term = &given.operands[0];
    let limit = given.text("limit").map(str::parse::<u32>).transpose();
    let limit = limit.map_err(|_| Failure::usage("--limit: a number is wanted"))?;
    let wanted = filters(&given.list("filter"))?;
    let login = credentials::for_registry(&call, registry(term))?;
    let hits = call.client.search(term, limit, wanted.as_deref(), login.as_ref()).await?;
    let full = given.on("no-trunc");
    let rows = hits.iter().map(|hit| row(hit, full)).collect();
    let columns = vec!["Name", "Description", "StarCount", "IsOfficial"];
    Listing { titles: TITLES, columns, rows }.print(&format)?;
    Ok(0)
}

/// Whose login is sent along: the registry that the term begins with, else Docker's.
fn registry(term: &str) -> &str {
    match term.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

fn row(hit: &SearchResult, full: bool) -> Row {
    let mark = |yes: bool| if yes { "[OK]".to_owned() } else { String::new() };
    let description = match hit.description.char_indices().nth(DESCRIBED) {
        Some((end, _)) if !full => format!("{}…", &hit.description[..end]),
        _ => hit.description.clone(),
    };
    Row::new([
        ("Name", hit.name.clone()),
        ("Description", description),
        ("StarCount", hit.star_count.to_string()),
        ("IsOfficial", mark(hit.is_official)),
        ("IsAutomated", mark(hit.is_automated)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_is_that_of_the_registry_that_is_searched() {
        assert_eq!(registry("nginx"), "docker.io");
        assert_eq!(registry("library/nginx"), "docker.io");
        assert_eq!(registry("127.0.0.1:5000/nginx"), "127.0.0.1:5000");
    }
}
