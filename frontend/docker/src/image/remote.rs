//! What registries have, asked without fetching anything.

use std::sync::Arc;

use tare_docker_api::{DistributionInspect, OciPlatform, SearchResult};
use tare_http::{Reply, Request, StatusCode};
use tare_model::{Platform, Reference};
use tare_registry::SearchHit;

use crate::filter::Filters;
use crate::{Error, Result, Rooms, auth, parameter};

/// Hits when nobody says how many.
const HITS: usize = 25;
const MOST_HITS: usize = 100;

/// `GET /distribution/{name}/json`.
pub(crate) async fn distribution(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let name = request.parameter("name");
    let reference: Reference =
        name.parse().map_err(|why: tare_model::ReferenceError| Error::invalid(why.to_string()))?;
    let found = rooms.images.distribution(&reference, auth::of_header(&request)?).await?;
    let platform = |Platform { os, architecture, variant }| OciPlatform {
        os,
        architecture,
        variant: variant.unwrap_or_default(),
    };
    let descriptor = super::progress::descriptor(found.descriptor);
    let platforms = found.platforms.into_iter().map(platform).collect();
    Ok(Reply::json(StatusCode::OK, &DistributionInspect { descriptor, platforms }))
}

/// `GET /images/search`.
pub(crate) async fn search(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let query = &request.query;
    let term =
        parameter::text(query, "term").ok_or_else(|| Error::invalid("the parameter term is missing"))?;
    let limit = parameter::number(query, "limit")?.filter(|limit| *limit > 0).unwrap_or(HITS);
    if limit > MOST_HITS {
        return Err(Error::invalid(format!("limit {limit} is outside the range of [1, {MOST_HITS}]")));
    }
    let wanted = Wanted::of(&Filters::of(query, &["is-automated", "is-official", "stars"])?)?;
    let credentials = auth::of_header(&request)?;
    let hits = rooms.registry.search(term, limit, credentials.as_ref()).await?;
    let fitting: Vec<_> = hits.into_iter().filter(|hit| wanted.fits(hit)).map(result).collect();
    Ok(Reply::json(StatusCode::OK, &fitting))
}

fn result(hit: SearchHit) -> SearchResult {
    let SearchHit { name, description, star_count, is_official, is_automated } = hit;
    SearchResult { name, description, star_count, is_official, is_automated }
}

/// What the filters leave.
struct Wanted {
    official: Option<bool>,
    automated: Option<bool>,
    stars: u64,
}

impl Wanted {
    fn of(filters: &Filters) -> Result<Self> {
        let star = |text: &str| {
            text.parse::<u64>().map_err(|_| Error::invalid(format!("invalid filter 'stars={text}'")))
        };
        let stars: Vec<u64> = filters.values("stars").map(star).collect::<Result<_>>()?;
        Ok(Self {
            official: filters.switch("is-official")?,
            automated: filters.switch("is-automated")?,
            stars: stars.into_iter().max().unwrap_or(0),
        })
    }

    fn fits(&self, hit: &SearchHit) -> bool {
        self.official.is_none_or(|wanted| wanted == hit.is_official)
            && self.automated.is_none_or(|wanted| wanted == hit.is_automated)
            && hit.star_count >= self.stars
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tare_http::Query;

    #[test]
    fn filters_leave_what_was_asked_for() {
        let wanted = |filters: &str| {
            let query = Query::parse(&format!("filters={filters}"));
            Filters::of(&query, &["is-automated", "is-official", "stars"]).and_then(|f| Wanted::of(&f))
        };
        let hit = SearchHit { star_count: 7, is_official: true, ..SearchHit::default() };
        assert!(wanted("").unwrap().fits(&hit));
        assert!(wanted(r#"{"stars":["7"],"is-official":["true"]}"#).unwrap().fits(&hit));
        assert!(!wanted(r#"{"stars":["8"]}"#).unwrap().fits(&hit));
        assert!(!wanted(r#"{"is-official":["false"]}"#).unwrap().fits(&hit));
        assert!(wanted(r#"{"stars":["many"]}"#).is_err() && wanted(r#"{"colour":["red"]}"#).is_err());
    }
}
