//! A link that goes to another network namespace, and what the kernel takes from it on the way: its addresses.

use std::os::fd::BorrowedFd;

use crate::message::{Message, attributes, flag, read_u32};
use crate::route::{self, ADDRESS_HEADER};
use crate::{Error, Socket};

/// `IFA_F_PERMANENT`: nobody takes it away after a time.
const PERMANENT: u8 = 0x80;
/// Routable everywhere.
const UNIVERSE: u8 = 0;
/// `IFA_LABEL`, `IFA_CACHEINFO` and `IFA_FLAGS`: the name is another one there, and the rest is the kernel's to count.
const LEFT: [u16; 3] = [3, 6, 8];

/// An address of either family, to be given again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAddress {
    family: u8,
    prefix: u8,
    attributes: Vec<(u16, Vec<u8>)>,
}

impl KeptAddress {
    /// Gives it to a link.
    pub fn give(&self, index: u32) -> Message {
        let mut header = [self.family, self.prefix, PERMANENT, UNIVERSE, 0, 0, 0, 0];
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        let mut message = Message::new(route::NEW_ADDRESS, flag::CREATE | flag::EXCLUSIVE, &header);
        for (kind, value) in &self.attributes {
            message.attribute(*kind, value);
        }
        message
    }
}

/// The addresses of a link that somebody has given to it and that hold beyond it: link-local ones come again by themselves.
///
/// # Errors
/// The kernel's.
pub fn kept_addresses(socket: &mut Socket, index: u32) -> Result<Vec<KeptAddress>, Error> {
    let all = socket.dump(&Message::new(route::GET_ADDRESS, flag::DUMP, &[0; ADDRESS_HEADER]))?;
    Ok(all.iter().filter_map(|object| parse(object, index)).collect())
}

fn parse(object: &[u8], index: u32) -> Option<KeptAddress> {
    let [family, prefix, flags, scope] = *object.first_chunk::<4>()?;
    if read_u32(object.get(4..8)?) != index || flags & PERMANENT == 0 || scope != UNIVERSE {
        return None;
    }
    let attributes = attributes(object.get(ADDRESS_HEADER..)?)
        .filter(|(kind, _)| !LEFT.contains(kind))
        .map(|(kind, value)| (kind, value.to_owned()))
        .collect();
    Some(KeptAddress { family, prefix, attributes })
}

/// Moves a link into a network namespace and names it there. It is switched off by that.
pub fn move_link(index: u32, namespace: BorrowedFd<'_>, name: &str) -> Message {
    let mut message = Message::new(route::SET_LINK, 0, &route::link_header(index, 0, 0));
    message.descriptor(route::link::NAMESPACE_FD, namespace).text(route::link::NAME, name);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lasting_addresses_of_the_link_are_kept() {
        let object = |flags: u8, scope: u8, index: u8| {
            [
                &[2, 24, flags, scope, index, 0, 0, 0][..],
                &[8, 0, 2, 0, 10, 0, 0, 1],
                &[8, 0, 8, 0, 0x80, 0, 0, 0],
            ]
            .concat()
        };
        let kept = parse(&object(PERMANENT, 0, 7), 7).unwrap();
        assert_eq!(kept, KeptAddress { family: 2, prefix: 24, attributes: vec![(2, vec![10, 0, 0, 1])] });
        assert_eq!(parse(&object(PERMANENT, 0, 7), 8), None);
        assert_eq!(parse(&object(0, 0, 7), 7), None);
        assert_eq!(parse(&object(PERMANENT, 253, 7), 7), None);
        (0..24).for_each(|length| drop(parse(&object(PERMANENT, 0, 7)[..length], 7)));
        let again = kept.give(9).to_bytes();
        assert_eq!(again[16..], [2, 24, 0x80, 0, 9, 0, 0, 0, 8, 0, 2, 0, 10, 0, 0, 1]);
    }
}
