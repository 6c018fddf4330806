use std::collections::BTreeMap;

use super::{GET_ELEMENT, GET_GENERATION, GET_RULE, HEADER, attribute};
use crate::message::{Message, attributes, find, flag, read_be32, read_text};
use crate::{Error, Socket};

/// How many rules each chain of a table has; chains without a rule are not listed.
pub type Rules = BTreeMap<String, usize>;

/// The ruleset's number, which goes up by one with every transaction, whoever made it.
pub fn generation(socket: &mut Socket) -> Result<u32, Error> {
    let answer = socket.ask(&Message::new(GET_GENERATION, 0, &HEADER))?;
    let rest = answer.get(HEADER.len()..).unwrap_or(&[]);
    find(rest, attribute::GENERATION_ID)
        .map(read_be32)
        .ok_or(Error::Malformed("a generation without its number"))
}

/// What a table has by way of rules; nothing if there is no such table.
pub fn rules(socket: &mut Socket, table: &str) -> Result<Rules, Error> {
    let mut request = Message::new(GET_RULE, flag::DUMP, &HEADER);
    request.text(attribute::RULE_TABLE, table);
    let mut rules = Rules::new();
    for object in socket.dump(&request)? {
        let rest = object.get(HEADER.len()..).unwrap_or(&[]);
        let is_ours = find(rest, attribute::RULE_TABLE).map(read_text).is_some_and(|name| name == table);
        if is_ours && let Some(chain) = find(rest, attribute::RULE_CHAIN) {
            *rules.entry(read_text(chain)).or_default() += 1;
        }
    }
    Ok(rules)
}

/// What is in a map, value by key; nothing if there is no such map.
pub fn elements(socket: &mut Socket, table: &str, map: &str) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Error> {
    let mut request = Message::new(GET_ELEMENT, flag::DUMP, &HEADER);
    request.text(attribute::ELEMENTS_TABLE, table).text(attribute::ELEMENTS_SET, map);
    let objects = match socket.dump(&request) {
        Err(error) if error.is_missing() => return Ok(BTreeMap::new()),
        objects => objects?,
    };
    let lists =
        objects.iter().filter_map(|object| find(object.get(HEADER.len()..)?, attribute::ELEMENTS_LIST));
    Ok(lists.flat_map(attributes).filter_map(|(_, item)| read_element(item)).collect())
}

fn read_element(item: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let value = |kind| find(find(item, kind)?, attribute::DATA_VALUE).map(<[u8]>::to_vec);
    Some((value(attribute::ELEMENT_KEY)?, value(attribute::ELEMENT_DATA)?))
}
