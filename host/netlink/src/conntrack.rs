//! ctnetlink: forgetting flows. A flow of datagrams keeps the translation of its first packet for as long as it goes on,
//! so that it would go on to an address that nobody has any more, or past a port that was published meanwhile.

use std::net::Ipv4Addr;

use crate::message::{Message, attributes, find, flag, read_be16};
use crate::{Error, Socket};

const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
const INET: u8 = 2;

const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IP_SOURCE: u16 = 1;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_DESTINATION: u16 = 3;

/// Which flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flows {
    /// The protocol's number in the IP header.
    pub protocol: u8,
    /// Only those that this address answers, after translation.
    pub answered_by: Option<Ipv4Addr>,
    /// Only those whose first packet went to this port, before translation.
    pub to_port: Option<u16>,
}

/// Makes the kernel forget the flows: the next packet of each is translated afresh. Returns how many there were.
pub fn forget(socket: &mut Socket, flows: &Flows) -> Result<usize, Error> {
    let objects = socket.dump(&Message::new(GET, flag::DUMP, &header()))?;
    let requests: Vec<Message> =
        objects.iter().filter_map(|object| deletion(object.get(4..)?, flows)).collect();
    for request in &requests {
        match socket.execute(std::slice::from_ref(request)) {
            Err(error) if !error.is_missing() => return Err(error),
            _ => {}
        }
    }
    Ok(requests.len())
}

/// `struct nfgenmsg`.
fn header() -> [u8; 4] {
    [INET, 0, 0, 0]
}

/// The request that deletes this entry, if it is one of `flows`.
fn deletion(entry: &[u8], flows: &Flows) -> Option<Message> {
    let original = find(entry, ORIGINAL)?;
    if !matches(original, find(entry, REPLY)?, flows)? {
        return None;
    }
    let mut request = Message::new(DELETE, 0, &header());
    request.nest(ORIGINAL, |tuple| {
        tuple.raw(original);
    });
    for (kind, value) in attributes(entry).filter(|(kind, _)| matches!(*kind, ID | ZONE)) {
        request.attribute(kind, value);
    }
    Some(request)
}

fn matches(original: &[u8], reply: &[u8], flows: &Flows) -> Option<bool> {
    let protocol = find(original, TUPLE_PROTOCOL)?;
    if find(protocol, PROTOCOL_NUMBER)? != [flows.protocol] {
        return Some(false);
    }
    let port = find(protocol, PROTOCOL_DESTINATION).map(read_be16);
    let answerer = find(find(reply, TUPLE_IP)?, IP_SOURCE)?;
    let to_port = flows.to_port.is_none_or(|wanted| port == Some(wanted));
    Some(to_port && flows.answered_by.is_none_or(|wanted| answerer == wanted.octets()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::split;

    fn tuple(message: &mut Message, kind: u16, source: [u8; 4], to: u16) {
        message.nest(kind, |tuple| {
            tuple.nest(TUPLE_IP, |ip| {
                ip.attribute(IP_SOURCE, &source);
            });
            tuple.nest(TUPLE_PROTOCOL, |protocol| {
                protocol.attribute(PROTOCOL_NUMBER, &[17]).attribute(PROTOCOL_DESTINATION, &to.to_be_bytes());
            });
        });
    }

    #[test]
    fn only_the_flows_asked_for_are_deleted() {
        let mut entry = Message::new(GET, 0, &header());
        tuple(&mut entry, ORIGINAL, [10, 0, 0, 1], 5353);
        tuple(&mut entry, REPLY, [172, 30, 0, 2], 40000);
        entry.be32(ID, 9);
        let bytes = entry.to_bytes();
        let entry = &split(&bytes).next().unwrap().unwrap().payload[4..];
        let container = Ipv4Addr::new(172, 30, 0, 2);
        let flows = Flows { protocol: 17, answered_by: Some(container), to_port: Some(5353) };
        let request = deletion(entry, &flows).unwrap().to_bytes();
        let request = split(&request).next().unwrap().unwrap();
        assert_eq!(find(&request.payload[4..], ORIGINAL), find(entry, ORIGINAL));
        for other in [
            Flows { protocol: 6, ..flows },
            Flows { to_port: Some(53), ..flows },
            Flows { answered_by: Some(Ipv4Addr::new(172, 30, 0, 3)), ..flows },
        ] {
            assert_eq!(deletion(entry, &other), None);
        }
    }
}
