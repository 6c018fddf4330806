//! Whether an image that is here may be run, without asking anybody.

use tare_model::Reference;

use super::Verdict;
use super::signature::{name, refused};
use crate::records::{Record, Target, key};
use crate::{Error, Image, Images, Result};

impl Images {
    /// Whether the policy lets an image that is here be run under this name or id, by what was verified when it came and the keys
    /// of today; [`Error::Refused`] tells why not.
    pub fn permit(&self, name: &str, image: &Image) -> Result<()> {
        let policy = self.policy();
        let catalog = self.catalog();
        let Some(record) = catalog.records.get(&image.id) else { return Ok(()) };
        let by_name = name.parse::<Reference>().ok().map(|reference| key(&reference));
        let means = |target: &Target| catalog.behind(target).contains(&image.id);
        let named = by_name.filter(|name| catalog.references.get(name).is_some_and(means));
        let names: Vec<Reference> = match named {
            Some(name) => vec![name],
            // By its id it is what all of its names are.
            None => catalog.names(&image.id),
        };
        let Some(first) = names.first() else {
            return judged(record, policy.of_nameless(), None)
                .map_err(|why| Error::Refused { reference: image.id.short(), why });
        };
        let allowed =
            names.iter().any(|reference| judged(record, policy.of(reference), Some(reference)).is_ok());
        if allowed {
            return Ok(());
        }
        judged(record, policy.of(first), Some(first)).map_err(|why| refused(first, why))
    }
}

fn judged(
    record: &Record,
    verdict: &Verdict,
    reference: Option<&Reference>,
) -> std::result::Result<(), String> {
    let signed = match verdict {
        Verdict::Accept => return Ok(()),
        Verdict::Reject => return Err("it does not accept this repository".to_owned()),
        Verdict::Signed(signed) => signed,
    };
    let repository = reference.map(name).unwrap_or_default();
    let known = record.verified.iter().filter(|verified| verified.repository == repository);
    let mut known =
        known.filter(|verified| signed.keys.iter().any(|key| key.fingerprint() == verified.fingerprint));
    match known.next() {
        Some(_) => Ok(()),
        None => {
            Err("it wants a signature, and none was verified when this image came: pull it again".to_owned())
        }
    }
}
