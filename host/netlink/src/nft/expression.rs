//! The steps that rules are made of. Within each kind of expression, attributes are numbered as linux/netfilter/nf_tables.h
//! has them: a register to load into is mostly 1 or 2.

use crate::message::Message;

const NAME: u16 = 1;
const DETAILS: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
const VERDICT_REGISTER: u32 = 0;

/// Four bytes in which a rule's expressions hand values to each other. Longer values run on into the next ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(pub u8);

impl Register {
    /// The kernel's `NFT_REG32_00` and on.
    fn number(self) -> u32 {
        8 + u32::from(self.0)
    }
}

/// A link's name as [`Key::ArrivalLink`] loads it: padded with zeros, cut after 15 bytes as the kernel cuts it.
pub fn link_name(name: &str) -> [u8; 16] {
    let mut padded = [0; 16];
    for (to, from) in padded.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    padded
}

/// Part of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The IPv4 header's source.
    Source,
    /// The IPv4 header's destination.
    Destination,
    /// The destination port, at the same place in tcp, udp, sctp and dccp.
    DestinationPort,
}

/// What the kernel knows of a packet besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The name of the link that it arrived by, in four registers ([`link_name`]).
    ArrivalLink,
    /// The name of the link that it leaves by, in four registers ([`link_name`]).
    DepartureLink,
    /// The transport protocol's number, one byte.
    TransportProtocol,
    /// The flow's state as bits: [`Key::ESTABLISHED`], [`Key::RELATED`].
    FlowState,
    /// The flow's status as bits: [`Key::DESTINATION_CHANGED`].
    FlowStatus,
    /// What routing says of the destination: [`Key::LOCAL`] and others.
    DestinationType,
}

impl Key {
    /// Of [`Key::FlowState`]: packets in both directions were seen.
    pub const ESTABLISHED: u32 = 2;
    /// Of [`Key::FlowState`]: belongs to another flow, such as an ICMP error.
    pub const RELATED: u32 = 4;
    /// Of [`Key::FlowStatus`]: the destination was translated.
    pub const DESTINATION_CHANGED: u32 = 0x20;
    /// Of [`Key::DestinationType`]: an address of this machine.
    pub const LOCAL: u32 = 2;
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// This base chain has nothing against it; others still may.
    Accept,
    /// It is gone, whatever others think of it.
    Drop,
    /// The chain that jumped here goes on.
    Return,
    /// The rules of another chain come first.
    Jump(&'a str),
}

/// One step of a rule. A step that does not match ends the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expression<'a> {
    /// Loads part of the packet.
    Load(Field, Register),
    /// Loads what the kernel knows.
    LoadKey(Key, Register),
    /// Loads a constant.
    Set(Register, [u8; 4]),
    /// Clears all bits of a register but these.
    Mask(Register, [u8; 4]),
    /// Matches a register that equals these bytes.
    Equal(Register, &'a [u8]),
    /// Matches a register that does not equal these bytes.
    Unequal(Register, &'a [u8]),
    /// Replaces the key that starts at a register by the map's value; matches if there is one.
    Lookup(&'a str, Register),
    /// Translates the destination to the address and the port in two registers.
    TranslateDestination(Register, Register),
    /// Translates the source to the address of the link that the packet leaves by.
    Masquerade,
    /// Counts packets and bytes.
    Count,
    /// Ends the rule.
    Verdict(Verdict<'a>),
}

impl Expression<'_> {
    /// Writes name and details into a rule's list.
    pub(super) fn write(&self, item: &mut Message) {
        match *self {
            Self::Load(field, to) => load(item, field, to),
            Self::LoadKey(key, to) => load_key(item, key, to),
            Self::Set(to, value) => named(item, "immediate", |details| {
                details.be32(1, to.number()).nest(2, |data| {
                    data.attribute(DATA_VALUE, &value);
                });
            }),
            Self::Mask(register, mask) => named(item, "bitwise", |details| {
                details.be32(1, register.number()).be32(2, register.number()).be32(3, 4);
                for (kind, value) in [(4, mask), (5, [0; 4])] {
                    details.nest(kind, |data| {
                        data.attribute(DATA_VALUE, &value);
                    });
                }
            }),
            Self::Equal(register, value) => compare(item, register, true, value),
            Self::Unequal(register, value) => compare(item, register, false, value),
            Self::Lookup(map, register) => named(item, "lookup", |details| {
                details.text(1, map).be32(2, register.number()).be32(3, register.number());
            }),
            Self::TranslateDestination(address, port) => named(item, "nat", |details| {
                const DESTINATION: u32 = 1;
                details.be32(1, DESTINATION).be32(2, u32::from(super::IPV4));
                details.be32(3, address.number()).be32(5, port.number());
            }),
            Self::Masquerade => named(item, "masq", |_| {}),
            Self::Count => named(item, "counter", |_| {}),
            Self::Verdict(verdict) => write_verdict(item, verdict),
        }
    }
}

fn named(item: &mut Message, name: &str, details: impl FnOnce(&mut Message)) {
    item.text(NAME, name).nest(DETAILS, details);
}

fn load(item: &mut Message, field: Field, to: Register) {
    const NETWORK_HEADER: u32 = 1;
    const TRANSPORT_HEADER: u32 = 2;
    let (base, offset, length) = match field {
        Field::Source => (NETWORK_HEADER, 12, 4),
        Field::Destination => (NETWORK_HEADER, 16, 4),
        Field::DestinationPort => (TRANSPORT_HEADER, 2, 2),
    };
    named(item, "payload", |details| {
        details.be32(1, to.number()).be32(2, base).be32(3, offset).be32(4, length);
    });
}

fn load_key(item: &mut Message, key: Key, to: Register) {
    match key {
        Key::ArrivalLink => numbered(item, "meta", 6, to),
        Key::DepartureLink => numbered(item, "meta", 7, to),
        Key::TransportProtocol => numbered(item, "meta", 16, to),
        Key::FlowState => numbered(item, "ct", 0, to),
        Key::FlowStatus => numbered(item, "ct", 2, to),
        Key::DestinationType => named(item, "fib", |details| {
            const ADDRESS_TYPE: u32 = 3;
            const BY_DESTINATION: u32 = 2;
            details.be32(1, to.number()).be32(2, ADDRESS_TYPE).be32(3, BY_DESTINATION);
        }),
    }
}

/// `meta` and `ct` are shaped alike: a register, and the number of what to load into it.
fn numbered(item: &mut Message, name: &str, key: u32, to: Register) {
    named(item, name, |details| {
        details.be32(1, to.number()).be32(2, key);
    });
}

fn compare(item: &mut Message, register: Register, equal: bool, value: &[u8]) {
    named(item, "cmp", |details| {
        details.be32(1, register.number()).be32(2, u32::from(!equal)).nest(3, |data| {
            data.attribute(DATA_VALUE, value);
        });
    });
}

fn write_verdict(item: &mut Message, verdict: Verdict<'_>) {
    let (code, chain) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Return => (-5, None),
    };
    named(item, "immediate", |details| {
        details.be32(1, VERDICT_REGISTER).nest(2, |data| {
            data.nest(DATA_VERDICT, |verdict| {
                verdict.be32(VERDICT_CODE, code as u32);
                if let Some(chain) = chain {
                    verdict.text(VERDICT_CHAIN, chain);
                }
            });
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(expression: Expression<'_>) -> Vec<u8> {
        let mut message = Message::new(0, 0, &[]);
        expression.write(&mut message);
        message.to_bytes()[16..].to_vec()
    }

    #[test]
    fn a_comparison_has_the_bytes_that_nft_sends() {
        let wanted: &[u8] = &[
            8, 0, 1, 0, b'c', b'm', b'p', 0, 44, 0, 2, 0x80, // name, details
            8, 0, 1, 0, 0, 0, 0, 8, 8, 0, 2, 0, 0, 0, 0, 0, // register, equal
            24, 0, 3, 0x80, 20, 0, 1, 0, b't', b'a', b'r', b'e', b'0', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(bytes(Expression::Equal(Register(0), &link_name("tare0"))), wanted);
    }

    #[test]
    fn a_return_has_the_bytes_that_nft_sends() {
        let wanted: &[u8] = &[
            14, 0, 1, 0, b'i', b'm', b'm', b'e', b'd', b'i', b'a', b't', b'e', 0, 0, 0, 28, 0, 2,
            0x80, // name, details
            8, 0, 1, 0, 0, 0, 0, 0, 16, 0, 2, 0x80, 12, 0, 2, 0x80, 8, 0, 1, 0, 0xff, 0xff, 0xff, 0xfb,
        ];
        assert_eq!(bytes(Expression::Verdict(Verdict::Return)), wanted);
    }

    #[test]
    fn long_link_names_are_cut_and_never_run_over() {
        assert_eq!(link_name("a-name-of-17-long"), *b"a-name-of-17-lo\0");
    }
}
