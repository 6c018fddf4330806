//! nf_tables: tables, chains, rules and maps, changed by transactions of which the kernel does all or nothing.
//!
//! Everything is of the `ip` family. A [`Batch`] collects changes of one table; [`commit`] carries them out.

mod dump;
mod expression;

pub use dump::{Rules, elements, generation, rules};
pub use expression::{Expression, Field, Key, Register, Verdict, link_name};

use crate::message::{Message, flag};
use crate::{Error, Socket};

const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const BATCH_GENERATION: u16 = 1;

const NEW_TABLE: u16 = SUBSYSTEM;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const GET_RULE: u16 = SUBSYSTEM | 7;
const NEW_SET: u16 = SUBSYSTEM | 9;
const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
const GET_ELEMENT: u16 = SUBSYSTEM | 13;
const DELETE_ELEMENT: u16 = SUBSYSTEM | 14;
const GET_GENERATION: u16 = SUBSYSTEM | 16;

const IPV4: u8 = 2;
/// `struct nfgenmsg` of everything in the `ip` family.
const HEADER: [u8; 4] = [IPV4, 0, 0, 0];

mod attribute {
    pub(super) const TABLE_NAME: u16 = 1;
    pub(super) const CHAIN_TABLE: u16 = 1;
    pub(super) const CHAIN_NAME: u16 = 3;
    pub(super) const CHAIN_HOOK: u16 = 4;
    pub(super) const CHAIN_POLICY: u16 = 5;
    pub(super) const CHAIN_TYPE: u16 = 7;
    pub(super) const HOOK_NUMBER: u16 = 1;
    pub(super) const HOOK_PRIORITY: u16 = 2;
    pub(super) const RULE_TABLE: u16 = 1;
    pub(super) const RULE_CHAIN: u16 = 2;
    pub(super) const RULE_EXPRESSIONS: u16 = 4;
    pub(super) const LIST_ITEM: u16 = 1;
    pub(super) const SET_TABLE: u16 = 1;
    pub(super) const SET_NAME: u16 = 2;
    pub(super) const SET_FLAGS: u16 = 3;
    pub(super) const SET_KEY_TYPE: u16 = 4;
    pub(super) const SET_KEY_LENGTH: u16 = 5;
    pub(super) const SET_DATA_TYPE: u16 = 6;
    pub(super) const SET_DATA_LENGTH: u16 = 7;
    pub(super) const SET_ID: u16 = 10;
    pub(super) const ELEMENTS_TABLE: u16 = 1;
    pub(super) const ELEMENTS_SET: u16 = 2;
    pub(super) const ELEMENTS_LIST: u16 = 3;
    pub(super) const ELEMENT_KEY: u16 = 1;
    pub(super) const ELEMENT_DATA: u16 = 2;
    pub(super) const DATA_VALUE: u16 = 1;
    pub(super) const GENERATION_ID: u16 = 1;
}

const SET_IS_MAP: u32 = 8;
const POLICY_ACCEPT: u32 = 1;
/// An attribute's length has 16 bits; this many elements of any kind fit into one message.
const ELEMENTS_A_MESSAGE: usize = 500;

/// Where a base chain sees packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// All that arrive, before routing.
    Prerouting = 0,
    /// Those that are routed through.
    Forward = 2,
    /// Those that the machine itself sends.
    Output = 3,
    /// All that leave, after routing.
    Postrouting = 4,
}

/// A chain of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain<'a> {
    /// Its name.
    pub name: &'a str,
    /// `filter` or `nat`, its hook and its priority; `None` for a chain that others jump to. The policy is always
    /// accept: a chain of ours drops only what a rule of ours names.
    pub base: Option<(&'static str, Hook, i32)>,
}

/// What a field of a map's keys or values is, for tools that print it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// An IPv4 address.
    Ipv4Address,
    /// A transport protocol's number.
    Protocol,
    /// A port.
    Port,
}

impl DataType {
    /// nftables' own numbering.
    fn number(self) -> u32 {
        match self {
            Self::Ipv4Address => 7,
            Self::Protocol => 12,
            Self::Port => 13,
        }
    }
}

/// A map from concatenated keys to concatenated values. Every field takes four bytes, padded with zeros behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map<'a> {
    /// Its name.
    pub name: &'a str,
    /// The fields of its keys.
    pub key: &'a [DataType],
    /// The fields of its values.
    pub value: &'a [DataType],
}

/// Tools read a concatenation's types from one number, six bits each.
fn concatenated(types: &[DataType]) -> (u32, u32) {
    let number = types.iter().fold(0, |number, part| number << 6 | part.number());
    (number, 4 * types.len() as u32)
}

/// Changes of one table that are to happen together.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    table: &'a str,
    messages: Vec<Message>,
    sets: u32,
}

impl<'a> Batch<'a> {
    /// No changes yet.
    pub fn new(table: &'a str) -> Self {
        Self { table, messages: Vec::new(), sets: 0 }
    }

    /// The messages so far, without those that begin and end the transaction.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn push(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Message)) -> &mut Self {
        let mut message = Message::new(kind, flags, &HEADER);
        fill(&mut message);
        self.messages.push(message);
        self
    }

    /// Makes the table, if it is not there.
    pub fn add_table(&mut self) -> &mut Self {
        let table = self.table;
        self.push(NEW_TABLE, flag::CREATE, |message| {
            message.text(attribute::TABLE_NAME, table);
        })
    }

    /// Deletes the table with all that is in it. It must be there; [`Batch::add_table`] before this sees to that.
    pub fn delete_table(&mut self) -> &mut Self {
        let table = self.table;
        self.push(DELETE_TABLE, 0, |message| {
            message.text(attribute::TABLE_NAME, table);
        })
    }

    /// Makes a chain.
    pub fn add_chain(&mut self, chain: &Chain<'_>) -> &mut Self {
        let table = self.table;
        self.push(NEW_CHAIN, flag::CREATE, |message| {
            message.text(attribute::CHAIN_TABLE, table).text(attribute::CHAIN_NAME, chain.name);
            if let Some((kind, hook, priority)) = chain.base {
                message.text(attribute::CHAIN_TYPE, kind).be32(attribute::CHAIN_POLICY, POLICY_ACCEPT);
                message.nest(attribute::CHAIN_HOOK, |nest| {
                    nest.be32(attribute::HOOK_NUMBER, hook as u32);
                    nest.be32(attribute::HOOK_PRIORITY, priority as u32);
                });
            }
        })
    }

    /// Appends a rule to a chain.
    pub fn add_rule(&mut self, chain: &str, expressions: &[Expression<'_>]) -> &mut Self {
        const APPEND: u16 = 0x800;
        let table = self.table;
        self.push(NEW_RULE, flag::CREATE | APPEND, |message| {
            message.text(attribute::RULE_TABLE, table).text(attribute::RULE_CHAIN, chain);
            message.nest(attribute::RULE_EXPRESSIONS, |list| {
                for expression in expressions {
                    list.nest(attribute::LIST_ITEM, |item| expression.write(item));
                }
            });
        })
    }

    /// Makes a map.
    pub fn add_map(&mut self, map: &Map<'_>) -> &mut Self {
        let table = self.table;
        self.sets += 1;
        let id = self.sets;
        let ((key, key_length), (value, value_length)) = (concatenated(map.key), concatenated(map.value));
        self.push(NEW_SET, flag::CREATE, |message| {
            message.text(attribute::SET_TABLE, table).text(attribute::SET_NAME, map.name);
            message.be32(attribute::SET_FLAGS, SET_IS_MAP).be32(attribute::SET_ID, id);
            message.be32(attribute::SET_KEY_TYPE, key).be32(attribute::SET_KEY_LENGTH, key_length);
            message.be32(attribute::SET_DATA_TYPE, value).be32(attribute::SET_DATA_LENGTH, value_length);
        })
    }

    /// Puts elements into a map. One that is there with another value fails the transaction.
    pub fn add_elements(&mut self, map: &str, elements: &[(Vec<u8>, Vec<u8>)]) -> &mut Self {
        for part in elements.chunks(ELEMENTS_A_MESSAGE) {
            let part = part.iter().map(|(key, value)| (key.as_slice(), Some(value.as_slice())));
            self.elements(NEW_ELEMENT, flag::CREATE, map, part);
        }
        self
    }

    /// Takes elements out of a map. One that is not there fails the transaction.
    pub fn delete_elements(&mut self, map: &str, keys: &[Vec<u8>]) -> &mut Self {
        for part in keys.chunks(ELEMENTS_A_MESSAGE) {
            self.elements(DELETE_ELEMENT, 0, map, part.iter().map(|key| (key.as_slice(), None)));
        }
        self
    }

    fn elements<'e>(
        &mut self,
        kind: u16,
        flags: u16,
        map: &str,
        elements: impl Iterator<Item = (&'e [u8], Option<&'e [u8]>)>,
    ) {
        let table = self.table;
        self.push(kind, flags, |message| {
            message.text(attribute::ELEMENTS_TABLE, table).text(attribute::ELEMENTS_SET, map);
            message.nest(attribute::ELEMENTS_LIST, |list| {
                for (key, value) in elements {
                    list.nest(attribute::LIST_ITEM, |item| write_element(item, key, value));
                }
            });
        });
    }
}

fn write_element(item: &mut Message, key: &[u8], value: Option<&[u8]>) {
    item.nest(attribute::ELEMENT_KEY, |data| {
        data.attribute(attribute::DATA_VALUE, key);
    });
    if let Some(value) = value {
        item.nest(attribute::ELEMENT_DATA, |data| {
            data.attribute(attribute::DATA_VALUE, value);
        });
    }
}

/// Carries the changes out: all of them, or none and an error. With `generation`, only if nobody has changed any table
/// since the ruleset had that number ([`generation`]); [`Error::errno`] is `ERESTART` otherwise. Returns the ruleset's
/// number after the change, if `generation` was given.
pub fn commit(socket: &mut Socket, batch: &Batch<'_>, generation: Option<u32>) -> Result<Option<u32>, Error> {
    let edge = |kind| Message::new(kind, 0, &[0, 0, 0, 10]);
    let mut begin = edge(BATCH_BEGIN);
    if let Some(generation) = generation {
        begin.be32(BATCH_GENERATION, generation);
    }
    let Some((last, others)) = batch.messages.split_last() else { return Ok(generation) };
    let mut messages = vec![begin];
    messages.extend_from_slice(others);
    messages.push(last.clone().acknowledged());
    messages.push(edge(BATCH_END));
    socket.transact(&messages)?;
    // The kernel counts on by one, and never says zero.
    Ok(generation.map(|before| before.checked_add(1).unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{find, read_be32, split};

    #[test]
    fn a_maps_types_are_told_in_one_number() {
        let mut batch = Batch::new("tare");
        batch.add_map(&Map {
            name: "ports",
            key: &[DataType::Ipv4Address, DataType::Protocol, DataType::Port],
            value: &[DataType::Ipv4Address, DataType::Port],
        });
        let bytes = batch.messages()[0].to_bytes();
        let rest = &split(&bytes).next().unwrap().unwrap().payload[4..];
        let number = |kind| read_be32(find(rest, kind).unwrap());
        assert_eq!((number(attribute::SET_KEY_TYPE), number(attribute::SET_KEY_LENGTH)), (0x730d, 12));
        assert_eq!((number(attribute::SET_DATA_TYPE), number(attribute::SET_DATA_LENGTH)), (0x01cd, 8));
    }

    #[test]
    fn an_element_has_the_bytes_that_nft_sends() {
        let mut batch = Batch::new("tare");
        let element = (vec![10, 0, 0, 1, 6, 0, 0, 0, 0, 80, 0, 0], vec![172, 30, 0, 2, 0, 80, 0, 0]);
        batch.add_elements("ports", &[element]);
        let bytes = batch.messages()[0].to_bytes();
        let wanted: &[u8] = &[
            88, 0, 0, 0, 12, 10, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, // new element, ip
            9, 0, 1, 0, b't', b'a', b'r', b'e', 0, 0, 0, 0, // table
            10, 0, 2, 0, b'p', b'o', b'r', b't', b's', 0, 0, 0, // set
            44, 0, 3, 0x80, 40, 0, 1, 0x80, // list, item
            20, 0, 1, 0x80, 16, 0, 1, 0, 10, 0, 0, 1, 6, 0, 0, 0, 0, 80, 0, 0, // key
            16, 0, 2, 0x80, 12, 0, 1, 0, 172, 30, 0, 2, 0, 80, 0, 0, // value
        ];
        assert_eq!(bytes, wanted);
    }

    #[test]
    fn many_elements_are_split_so_that_lengths_fit() {
        let mut batch = Batch::new("t");
        let elements: Vec<_> = (0..1201u32).map(|n| (n.to_be_bytes().repeat(3), vec![0; 8])).collect();
        batch.add_elements("m", &elements);
        assert_eq!(batch.messages().len(), 3);
        assert!(batch.messages().iter().all(|message| message.size() < usize::from(u16::MAX)));
    }
}
