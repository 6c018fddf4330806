//! Names for containers that nobody named.

use tare_model::Name;

use crate::Result;
use crate::error::Step;

const ADJECTIVES: [&str; 64] = [
    "agile", "amber", "ample", "bold", "brave", "bright", "brisk", "calm", "candid", "clear", "clever",
    "cosy", "crisp", "curious", "daring", "deft", "eager", "early", "fair", "fine", "fleet", "fond", "frank",
    "fresh", "gentle", "glad", "golden", "grand", "happy", "hardy", "honest", "humble", "jolly", "keen",
    "kind", "lean", "light", "lively", "loyal", "lucid", "mellow", "merry", "mild", "neat", "nimble",
    "noble", "patient", "plain", "polite", "proud", "quick", "quiet", "ready", "serene", "sharp", "silver",
    "smart", "steady", "sunny", "swift", "tidy", "warm", "wise", "zesty",
];

const NOUNS: [&str; 64] = [
    "acorn", "anchor", "anvil", "apple", "arrow", "barge", "barrel", "basket", "beacon", "birch", "bridge",
    "brook", "cable", "canoe", "cargo", "cedar", "compass", "cork", "crane", "crate", "dinghy", "dock",
    "falcon", "feather", "ferry", "finch", "flask", "gannet", "glider", "harbor", "hatch", "heron", "jetty",
    "kayak", "keel", "kettle", "lantern", "lark", "ledger", "maple", "mast", "mill", "oak", "otter",
    "packet", "paddle", "pallet", "parcel", "pier", "plover", "quay", "raft", "rudder", "sail", "scale",
    "sextant", "spar", "swallow", "tern", "tug", "vessel", "wharf", "willow", "wren",
];

/// A name such as `light_kettle`; with a number after it from the second attempt on, as names run out.
pub(crate) fn invent(attempt: u32) -> Result<Name> {
    let mut random = [0; 4];
    fill_random(&mut random)?;
    let (adjective, noun) = (ADJECTIVES[usize::from(random[0] % 64)], NOUNS[usize::from(random[1] % 64)]);
    let number =
        if attempt == 0 { String::new() } else { u16::from_be_bytes([random[2], random[3]]).to_string() };
    Ok(format!("{adjective}_{noun}{number}").parse().expect("the words above are letters only"))
}

/// Fills `bytes` from the kernel's generator.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<()> {
    rustix::rand::getrandom(bytes, rustix::rand::GetRandomFlags::empty())
        .step(|| "get random bytes".to_owned())?;
    Ok(())
}

/// A new random id.
pub(crate) fn new_id() -> Result<tare_model::Id> {
    let mut bytes = [0; 32];
    fill_random(&mut bytes)?;
    Ok(tare_model::Id::from_random(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_makes_a_valid_name() {
        for (adjective, noun) in ADJECTIVES.iter().zip(NOUNS) {
            assert!(format!("{adjective}_{noun}7").parse::<Name>().is_ok());
        }
        assert!(invent(3).unwrap().as_str().contains('_'));
    }
}
