use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_send_buffer_size_force, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink, recv, sendto,
    socket_with,
};

use crate::Error;
use crate::message::{Message, Received, attributes, read_text, read_u32, split};

const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Set in an error's flags: the request is quoted by its header alone; attributes explain it.
const CAPPED: u16 = 0x100;
const EXPLAINED: u16 = 0x200;
const EXPLANATION_TEXT: u16 = 1;
/// Set in a dump's flags: the objects changed while they were listed.
const INTERRUPTED: u16 = 0x10;

/// The kernel answers while it handles the request; this is for a kernel that never does.
const PATIENCE: Duration = Duration::from_secs(10);
/// The kernel fills at most 32 KiB of a dump a read.
const READ_SIZE: usize = 64 << 10;
/// A set of ten thousand elements is sent as one transaction.
const SEND_BUFFER: usize = 8 << 20;

/// A connection with one of the kernel's netlink families, in the network namespace of the thread that opened it.
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Links, addresses, routes: rtnetlink(7).
    pub fn route() -> Result<Self, Error> {
        Self::open(None)
    }

    /// nf_tables and connection tracking: nfnetlink.
    pub fn netfilter() -> Result<Self, Error> {
        let socket = Self::open(Some(netlink::NETFILTER))?;
        // Needs CAP_NET_ADMIN, as everything else here does; without it large transactions fail and say so.
        let _ = set_socket_send_buffer_size_force(&socket.fd, SEND_BUFFER);
        Ok(socket)
    }

    fn open(protocol: Option<Protocol>) -> Result<Self, Error> {
        let failed = |cause: Errno| Error::Socket { action: "open", cause: cause.into() };
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
            .map_err(failed)?;
        bind(&fd, &SocketAddrNetlink::new(0, 0)).map_err(failed)?;
        set_socket_timeout(&fd, Timeout::Recv, Some(PATIENCE)).map_err(failed)?;
        tare_sys::netlink::explain_errors(fd.as_fd())
            .map_err(|cause| Error::Socket { action: "open", cause })?;
        Ok(Self { fd, sequence: 0, buffer: vec![0; READ_SIZE] })
    }

    /// Sends the requests in one go and waits until the kernel has acknowledged each. The kernel does them in order and
    /// goes on after one that it refuses; the first refusal is returned.
    pub fn execute(&mut self, requests: &[Message]) -> Result<(), Error> {
        let requests: Vec<Message> = requests.iter().map(|request| request.clone().acknowledged()).collect();
        let first = self.send(&requests)?;
        let mut refusal = None;
        let mut left = requests.len();
        while left > 0 {
            self.read(|message| {
                if message.kind == ERROR && message.sequence.wrapping_sub(first) < requests.len() as u32 {
                    left -= 1;
                    if let Err(error) = verdict(message) {
                        refusal.get_or_insert(error);
                    }
                }
                Ok(())
            })?;
        }
        refusal.map_or(Ok(()), Err)
    }

    /// Sends the messages of one transaction, of which the kernel does all or none, and waits for its end: the
    /// acknowledgement of the message before the last, which closes the transaction. Returns at the first refusal.
    pub(crate) fn transact(&mut self, requests: &[Message]) -> Result<(), Error> {
        let first = self.send(requests)?;
        let last = first.wrapping_add(requests.len() as u32 - 2);
        let mut ended = false;
        while !ended {
            self.read(|message| {
                if message.kind == ERROR && message.sequence.wrapping_sub(first) < requests.len() as u32 {
                    verdict(message)?;
                    ended |= message.sequence == last;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Sends a request for one object and returns the payload of the kernel's answer.
    pub(crate) fn ask(&mut self, request: &Message) -> Result<Vec<u8>, Error> {
        let sequence = self.send(std::slice::from_ref(request))?;
        let mut answer = None;
        while answer.is_none() {
            self.read(|message| {
                if message.sequence == sequence {
                    if message.kind == ERROR {
                        verdict(message)?;
                    }
                    answer = Some(message.payload.to_vec());
                }
                Ok(())
            })?;
        }
        answer.ok_or(Error::Malformed("no answer"))
    }

    /// Sends a request for a list and returns the payload of each object; starts again where the objects changed
    /// meanwhile.
    pub(crate) fn dump(&mut self, request: &Message) -> Result<Vec<Vec<u8>>, Error> {
        loop {
            if let Some(objects) = self.dump_once(request)? {
                return Ok(objects);
            }
        }
    }

    fn dump_once(&mut self, request: &Message) -> Result<Option<Vec<Vec<u8>>>, Error> {
        let sequence = self.send(std::slice::from_ref(request))?;
        let mut objects = Vec::new();
        let (mut ended, mut torn) = (false, false);
        while !ended {
            self.read(|message| {
                if message.sequence != sequence {
                    return Ok(());
                }
                torn |= message.flags & INTERRUPTED != 0;
                match message.kind {
                    DONE => ended = true,
                    ERROR => verdict(message)?,
                    _ => objects.push(message.payload.to_vec()),
                }
                Ok(())
            })?;
        }
        Ok((!torn).then_some(objects))
    }

    /// Returns the sequence number of the first message; the others count on from it.
    fn send(&mut self, requests: &[Message]) -> Result<u32, Error> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::with_capacity(requests.iter().map(Message::size).sum());
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            request.write_to(&mut bytes, self.sequence);
        }
        let failed = |cause: Errno| Error::Socket { action: "send to", cause: cause.into() };
        sendto(&self.fd, &bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).map_err(failed)?;
        Ok(first)
    }

    /// Reads once, and hands every message to `each` until it fails.
    fn read(&mut self, mut each: impl FnMut(Received<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let length = loop {
            match recv(&self.fd, self.buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((length, _)) => break length,
                Err(Errno::INTR) => {}
                Err(cause) => return Err(Error::Socket { action: "receive from", cause: cause.into() }),
            }
        };
        for message in split(&self.buffer[..length]) {
            each(message?)?;
        }
        Ok(())
    }
}

/// What an error message says: 0 is an acknowledgement.
fn verdict(message: Received<'_>) -> Result<(), Error> {
    let code = read_u32(message.payload) as i32;
    if code == 0 {
        return Ok(());
    }
    Err(Error::Refused { code: -code, reason: explanation(message).unwrap_or_default() })
}

fn explanation(message: Received<'_>) -> Option<String> {
    if message.flags & EXPLAINED == 0 {
        return None;
    }
    let quoted = message.payload.get(4..)?;
    let length = if message.flags & CAPPED != 0 { crate::message::HEADER } else { read_u32(quoted) as usize };
    let explained = quoted.get(length.next_multiple_of(4)..)?;
    attributes(explained).find(|(kind, _)| *kind == EXPLANATION_TEXT).map(|(_, text)| read_text(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(flags: u16, payload: &[u8]) -> String {
        verdict(Received { kind: ERROR, flags, sequence: 1, payload }).unwrap_err().to_string()
    }

    #[test]
    fn refusals_carry_the_kernels_own_words() {
        let mut payload = (-17i32).to_ne_bytes().to_vec();
        payload.extend(Message::new(16, 0, &[]).to_bytes());
        assert_eq!(refusal(CAPPED, &payload), "File exists (os error 17)");
        payload.extend([9, 0, 1, 0, b't', b'a', b'k', b'e', 0, 0, 0, 0]);
        assert_eq!(refusal(CAPPED | EXPLAINED, &payload), "File exists (os error 17): take");
        assert_eq!(refusal(EXPLAINED, &payload), "File exists (os error 17): take");
        assert_eq!(refusal(EXPLAINED, &payload[..6]), "File exists (os error 17)");
    }
}
