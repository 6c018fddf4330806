//! What a removal comes to by Docker's rules, or why it does not. Pure.

use std::collections::BTreeMap;

use tare_model::{Digest, Reference};

use super::Removed;
use crate::records::{Catalog, Change, Record, key};
use crate::{Error, Result};

/// Who keeps an image.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) name: String,
    pub(super) running: bool,
}

impl Holder {
    /// `container/<id>` as messages name it.
    fn short(&self) -> &str {
        let name = self.name.rsplit('/').next().unwrap_or(&self.name);
        name.get(..12).unwrap_or(name)
    }
}

pub(super) type Holders = BTreeMap<Digest, Vec<Holder>>;

pub(super) struct Request<'a> {
    pub(super) name: &'a str,
    pub(super) id: Digest,
    pub(super) force: bool,
}

/// What goes where nothing stands in the way.
pub(super) struct Doomed {
    /// Whether a name was asked for, and no id.
    by_name: bool,
    untag: Vec<Reference>,
    /// The images that have no name then, those for other platforms included.
    pub(super) images: Vec<Digest>,
}

impl Doomed {
    /// Asked for by name, that name goes, and the image when it was the last; asked for by id, all its names go with it. One
    /// that only has a name together with another platform's is taken out from under that name.
    pub(super) fn of(catalog: &Catalog, request: &Request<'_>) -> Self {
        let named = named(request, &catalog.own_names(&request.id));
        let by_name = named.is_some();
        let names = named.map_or_else(|| catalog.own_names(&request.id), |name| vec![name]);
        let untag = catalog.with_digests(names);
        let images = if untag.is_empty() { vec![request.id] } else { catalog.nameless_without(&untag) };
        let images = images.into_iter().filter(|id| !catalog.has_children(id)).collect();
        Self { by_name, untag, images }
    }
}

/// What a removal comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    untag: Vec<Reference>,
    pub(super) delete: Vec<Digest>,
    /// Images that go when their last lease ends.
    drop: Vec<Digest>,
}

impl Plan {
    pub(super) fn change(&self, catalog: &Catalog) -> Change {
        let dropped = |id: &Digest| {
            let record = catalog.records.get(id)?;
            Some((*id, Record { dropped: true, ..record.clone() }))
        };
        Change {
            unname: self.untag.clone(),
            delete: self.delete.clone(),
            put: self.drop.iter().filter_map(dropped).collect(),
            ..Change::default()
        }
    }

    pub(super) fn words(&self) -> Vec<Removed> {
        let untagged = self.untag.iter().map(|reference| Removed::Untagged(reference.familiar()));
        let gone = self.delete.iter().chain(&self.drop).map(|id| Removed::Deleted(id.to_string()));
        untagged.chain(gone).collect()
    }
}

/// Decides. Leases stand in the way of the last name, and only force gets past those of what is not running. An image that
/// others were made from only loses its names, and stays until the last of those is gone.
pub(super) fn plan(
    catalog: &Catalog,
    request: &Request<'_>,
    doomed: Doomed,
    holders: &Holders,
) -> Result<Plan> {
    let of = |id: &Digest| holders.get(id).map(Vec::as_slice).unwrap_or_default();
    let used: Vec<&Holder> = doomed.images.iter().flat_map(of).collect();
    check(catalog, request, &doomed, (used, of(&request.id)))?;
    let mut plan = Plan { untag: doomed.untag, ..Plan::default() };
    for id in doomed.images {
        match of(&id) {
            [] => plan.delete.push(id),
            // Without its name, and still listed as dangling.
            holders if holders.iter().any(|holder| holder.running) => {}
            _ => plan.drop.push(id),
        }
    }
    Ok(plan)
}

/// Whether something stands in the way: who uses what would go, and who the image that was named.
fn check(
    catalog: &Catalog,
    request: &Request<'_>,
    doomed: &Doomed,
    (used, own): (Vec<&Holder>, &[Holder]),
) -> Result<()> {
    if !doomed.by_name {
        if catalog.has_children(&request.id) {
            let why = "image has dependent child images".to_owned();
            return Err(Error::InUse { image: request.id.short(), force: "cannot be forced", why });
        }
        return check_by_id(request, &doomed.untag, &used.into_iter().chain(own).collect::<Vec<_>>());
    }
    let single = is_single(&catalog.names(&request.id));
    let holder = used.into_iter().next().or_else(|| own.first().filter(|_| single));
    match holder.filter(|_| !request.force) {
        None => Ok(()),
        Some(holder) => Err(Error::NameInUse {
            name: request.name.to_owned(),
            holder: holder.short().to_owned(),
            image: request.id.short(),
        }),
    }
}

/// The name that was asked for; `None` when it was an id.
fn named(request: &Request<'_>, names: &[Reference]) -> Option<Reference> {
    let reference = request.name.parse::<Reference>().ok()?;
    let wanted = key(&reference);
    names.contains(&wanted).then_some(wanted)
}

pub(super) fn check_by_id(request: &Request<'_>, names: &[Reference], holders: &[&Holder]) -> Result<()> {
    let refuse = |force, why| Err(Error::InUse { image: request.id.short(), force, why });
    if let Some(holder) = holders.iter().find(|holder| holder.running) {
        return refuse(
            "cannot be forced",
            format!("image is being used by running container {}", holder.short()),
        );
    }
    if request.force {
        return Ok(());
    }
    if !is_single(names) {
        return refuse("must be forced", "image is referenced in multiple repositories".to_owned());
    }
    match holders.first() {
        Some(holder) => {
            refuse("must be forced", format!("image is being used by stopped container {}", holder.short()))
        }
        None => Ok(()),
    }
}

/// Whether all names are one tag at most, and digests of the same repository.
fn is_single(names: &[Reference]) -> bool {
    let tags = names.iter().filter(|name| name.digest().is_none()).count();
    let one_repository = names.windows(2).all(|pair| pair[0].repository() == pair[1].repository());
    tags <= 1 && one_repository
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::{catalog, digest};
    use crate::records::{Source, Target};

    const STOPPED: (&str, bool) = ("container/0123456789abcdef", false);
    const RUNNING: (&str, bool) = ("container/fedcba9876543210", true);

    pub(super) fn of(
        catalog: &Catalog,
        name: &str,
        force: bool,
        held: &[(u8, (&str, bool))],
    ) -> Result<Vec<Removed>> {
        let mut holders = Holders::new();
        for (id, (name, running)) in held {
            let holder = Holder { name: (*name).to_owned(), running: *running };
            holders.entry(digest(*id)).or_default().push(holder);
        }
        let request = Request { name, id: catalog.find(name).unwrap(), force };
        plan(catalog, &request, Doomed::of(catalog, &request), &holders).map(|plan| plan.words())
    }

    fn planned(names: &[&str], name: &str, force: bool, holders: &[(&str, bool)]) -> Result<Vec<Removed>> {
        let names: Vec<_> = names.iter().map(|name| (*name, 0xab)).collect();
        let holders: Vec<_> = holders.iter().map(|holder| (0xab, *holder)).collect();
        of(&catalog(&names), name, force, &holders)
    }

    fn at(repository: &str) -> String {
        format!("{repository}@{}", digest(9))
    }

    fn untagged(name: &str) -> Removed {
        Removed::Untagged(name.to_owned())
    }

    fn deleted() -> Removed {
        Removed::Deleted(digest(0xab).to_string())
    }

    #[test]
    fn one_of_several_names_is_only_taken_away() {
        let removed = planned(&["web:1", "web:2", &at("web")], "web:1", false, &[RUNNING]).unwrap();
        assert_eq!(removed, [untagged("web:1")]);
    }

    #[test]
    fn the_last_name_takes_its_digest_and_the_image_along() {
        let removed = planned(&["web:1", &at("web")], "web:1", false, &[]).unwrap();
        assert_eq!(removed, [untagged("web:1"), untagged(&at("web")), deleted()]);
        let removed = planned(&["web:1", &at("web"), "other:1"], "web:1", false, &[]).unwrap();
        assert_eq!(removed, [untagged("web:1"), untagged(&at("web"))]);
    }

    #[test]
    fn the_last_name_of_an_image_in_use_is_kept_unless_forced() {
        let error = planned(&["web:1"], "web:1", false, &[STOPPED]).unwrap_err();
        let words = "conflict: unable to remove repository reference \"web:1\" (must force) - container 0123456789ab is using its referenced image abababababab";
        assert_eq!(error.to_string(), words);
        assert_eq!(planned(&["web:1"], "web:1", true, &[RUNNING]).unwrap(), [untagged("web:1")]);
        assert_eq!(planned(&["web:1"], "web:1", true, &[STOPPED]).unwrap(), [untagged("web:1"), deleted()]);
    }

    #[test]
    fn by_id_all_names_of_one_repository_go() {
        let removed = planned(&["web:1", &at("web")], "abab", false, &[]).unwrap();
        assert_eq!(removed, [untagged("web:1"), untagged(&at("web")), deleted()]);
        assert_eq!(planned(&[""], "abab", false, &[]).unwrap(), [deleted()]);
        let error = planned(&["web:1", "other:1"], "abab", false, &[]).unwrap_err();
        let words = "conflict: unable to delete abababababab (must be forced) - image is referenced in multiple repositories";
        assert_eq!(error.to_string(), words);
        let removed = planned(&["web:1", "other:1"], "abab", true, &[]).unwrap();
        assert_eq!(removed, [untagged("other:1"), untagged("web:1"), deleted()]);
    }

    #[test]
    fn an_image_that_another_was_made_from_stays_without_its_name() {
        let mut catalog = catalog(&[("base:1", 0xab), ("made:1", 0xcd)]);
        catalog.records.get_mut(&digest(0xcd)).unwrap().parent = Some(digest(0xab));
        let planned = |catalog: &Catalog, name: &str, force| of(catalog, name, force, &[]);
        let words =
            "conflict: unable to delete abababababab (cannot be forced) - image has dependent child images";
        for force in [false, true] {
            assert_eq!(planned(&catalog, "abab", force).unwrap_err().to_string(), words);
            assert_eq!(planned(&catalog, "base:1", force).unwrap(), [untagged("base:1")]);
        }
        catalog.records.get_mut(&digest(0xcd)).unwrap().dropped = true;
        assert_eq!(planned(&catalog, "abab", false).unwrap(), [untagged("base:1"), deleted()]);
    }

    /// `web:1` stands for an index, of which two images are here; the first has a name of its own as well where `own` says so.
    fn two_platforms(own: bool) -> Catalog {
        let mut catalog = catalog(&[("web:1", 0xab), ("", 0xcd)]);
        if own {
            catalog.references.insert("own:1".parse().unwrap(), Target::of(digest(0xab)));
        }
        for id in [0xab, 0xcd] {
            let source = Source { top: digest(9), manifest: digest(id - 1), blobs: Vec::new() };
            catalog.records.get_mut(&digest(id)).unwrap().sources = vec![source];
        }
        catalog.references.values_mut().next_back().unwrap().index = Some(digest(9));
        catalog
    }

    #[test]
    fn the_images_of_other_platforms_go_with_the_last_name() {
        let gone = |id: u8| Removed::Deleted(digest(id).to_string());
        let whole = [untagged("web:1"), gone(0xab), gone(0xcd)];
        for name in ["web:1", "abab"] {
            assert_eq!(of(&two_platforms(false), name, false, &[]).unwrap(), whole, "{name}");
        }
        // The one that has another name stays, and what is in use stays where nobody forces it.
        let catalog = two_platforms(true);
        assert_eq!(of(&catalog, "web:1", false, &[]).unwrap(), [untagged("web:1"), gone(0xcd)]);
        assert_eq!(of(&catalog, "own:1", false, &[]).unwrap(), [untagged("own:1")]);
        let error = of(&catalog, "web:1", false, &[(0xcd, STOPPED)]).unwrap_err();
        assert!(matches!(error, Error::NameInUse { .. }), "{error}");
        let catalog = two_platforms(false);
        let error = of(&catalog, "web:1", false, &[(0xcd, STOPPED)]).unwrap_err();
        assert!(matches!(error, Error::NameInUse { .. }), "{error}");
        assert_eq!(of(&catalog, "web:1", true, &[(0xcd, STOPPED)]).unwrap(), whole);
        let kept = [untagged("web:1"), gone(0xab)];
        assert_eq!(of(&catalog, "web:1", true, &[(0xcd, RUNNING)]).unwrap(), kept);
    }

    #[test]
    fn digests_go_with_the_last_tag_that_they_were_known_by() {
        // One platform was pushed alone, and the image that the name means has a tag beside it.
        let mut catalog = two_platforms(false);
        let part: Reference = format!("web@{}", digest(7)).parse().unwrap();
        catalog.references.insert(part.clone(), Target::of(digest(0xcd)));
        let whole: Reference = at("web").parse().unwrap();
        let of_index = Target { index: Some(digest(9)), ..Target::of(digest(0xab)) };
        catalog.references.insert(whole.clone(), of_index);
        let gone = of(&catalog, "web:1", false, &[]).unwrap();
        let all = [untagged("web:1"), untagged(&part.familiar()), untagged(&whole.familiar())];
        assert_eq!(gone[..3].iter().filter(|one| all.contains(one)).count(), 3, "{gone:?}");
        assert_eq!(gone.len(), 5);
        catalog.references.insert("web:amd64".parse().unwrap(), Target::of(digest(0xab)));
        let gone = of(&catalog, "web:1", false, &[]).unwrap();
        let deleted = Removed::Deleted(digest(0xcd).to_string());
        assert_eq!(gone.len(), 4, "{gone:?}");
        assert!(all.iter().chain([&deleted]).all(|one| gone.contains(one)), "{gone:?}");
    }

    #[test]
    fn by_its_id_the_image_of_another_platform_goes_alone() {
        let catalog = two_platforms(false);
        assert_eq!(of(&catalog, "cdcd", false, &[]).unwrap(), [Removed::Deleted(digest(0xcd).to_string())]);
        assert!(of(&catalog, "cdcd", false, &[(0xcd, STOPPED)]).is_err());
    }

    #[test]
    fn by_id_an_image_in_use_stays_as_docker_says() {
        let error = planned(&["web:1"], "abab", false, &[STOPPED]).unwrap_err();
        let words = "conflict: unable to delete abababababab (must be forced) - image is being used by stopped container 0123456789ab";
        assert_eq!(error.to_string(), words);
        let error = planned(&["web:1"], "abab", true, &[STOPPED, RUNNING]).unwrap_err();
        let words = "conflict: unable to delete abababababab (cannot be forced) - image is being used by running container fedcba987654";
        assert_eq!(error.to_string(), words);
        assert_eq!(planned(&["web:1"], "abab", true, &[STOPPED]).unwrap(), [untagged("web:1"), deleted()]);
    }
}
