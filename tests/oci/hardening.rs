//! Attacks that have worked on container runtimes, each tried on the runtime that is judged. A test passes where the
//! container is refused or stays confined; run on a peer of the time before a repair, it shows that it would have seen it.

pub(crate) mod confine;
pub(crate) mod entry;
pub(crate) mod leak;
pub(crate) mod race;
