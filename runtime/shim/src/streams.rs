//! What flows: output to the log and to peers, peers' input to processes.

use rustix::event::PollFlags;

use crate::peer::{Input, Peer, Role};
use crate::session::Read;
use crate::shim::Shim;
use crate::stdin::Stdin;

/// What is read of a stream whose process has ended, at most: as much as a pipe can hold.
const DRAINED: usize = 1 << 20;

impl Shim {
    /// Whether a peer of the session has so much unread that its output must wait.
    pub(crate) fn is_held_up(&mut self, session: usize) -> bool {
        let serial = self.sessions[session].serial;
        self.peers.iter_mut().filter(|peer| peer.is_attached_to(serial)).any(Peer::holds_up)
    }

    /// Reads once from a stream of a session.
    pub(crate) fn read_output(&mut self, session: usize, output: usize) {
        let Some(stream) = self.sessions.get(session).and_then(|s| s.outputs.get(output)) else { return };
        match stream.read(&mut self.buffer) {
            Read::Bytes(n) => self.pass_on(session, output, n),
            Read::Nothing => {}
            Read::End => self.end_output(session, output),
        }
    }

    /// Logs and sends the first `n` bytes of the buffer.
    fn pass_on(&mut self, session: usize, output: usize, n: usize) {
        let Self { sessions, peers, log, buffer, dir, .. } = self;
        let session = &mut sessions[session];
        let (serial, raw, bytes) = (session.serial, session.is_raw(), &buffer[..n]);
        let output = &mut session.outputs[output];
        if let Some(log) = log.as_mut().filter(|_| session.id.is_none()) {
            log.append(&mut output.lines, output.stream.name(), bytes);
        }
        for peer in peers.iter_mut().filter(|peer| peer.wants(serial, output.stream)) {
            if !raw {
                peer.push(&output.stream.header(n), dir);
            }
            peer.push(bytes, dir);
            peer.flush();
        }
    }

    fn end_output(&mut self, session: usize, output: usize) {
        let session = &mut self.sessions[session];
        let output = &mut session.outputs[output];
        output.fd = None;
        if let Some(log) = self.log.as_mut().filter(|_| session.id.is_none()) {
            log.finish(&mut output.lines, output.stream.name());
        }
    }

    /// A session's process has ended: what it has written is read, then its peers may go. A child of it may still hold
    /// the pipes; what such a child writes later is thrown away, but never answered by SIGPIPE.
    pub(crate) fn end_session(&mut self, session: usize) {
        if self.sessions[session].ended || self.sessions[session].waits_for_peer {
            return;
        }
        for output in 0..self.sessions[session].outputs.len() {
            self.drain(session, output);
        }
        let session = &mut self.sessions[session];
        session.ended = true;
        if session.is_raw() {
            session.close();
        }
        session.stdin = Stdin::new(None);
        let serial = session.serial;
        self.peers.iter_mut().filter(|peer| peer.is_attached_to(serial)).for_each(Peer::close);
    }

    fn drain(&mut self, session: usize, output: usize) {
        let mut total = 0;
        while total < DRAINED {
            match self.sessions[session].outputs[output].read(&mut self.buffer) {
                Read::Bytes(n) => {
                    total += n;
                    self.pass_on(session, output, n);
                }
                Read::Nothing => break,
                Read::End => return self.end_output(session, output),
            }
        }
        if let Some(log) = self.log.as_mut().filter(|_| self.sessions[session].id.is_none()) {
            let output = &mut self.sessions[session].outputs[output];
            log.finish(&mut output.lines, output.stream.name());
        }
    }

    /// Whether what a peer sends has a place to go.
    pub(crate) fn takes_input(&self, peer: &Peer) -> bool {
        match peer.role {
            Role::Asking | Role::Watching => true,
            Role::Attached { session, stdin, .. } => {
                !stdin
                    || self.sessions.iter().find(|s| s.serial == session).is_none_or(|s| s.stdin.has_room())
            }
        }
    }

    /// A peer can be read from or written to, or has gone.
    pub(crate) fn serve(&mut self, at: usize, flags: PollFlags) {
        let peer = &mut self.peers[at];
        if flags.contains(PollFlags::OUT) {
            peer.flush();
        }
        if flags.intersects(PollFlags::HUP | PollFlags::ERR) {
            peer.hung_up = true;
            peer.gone |= peer.input_ended;
        }
        if flags.contains(PollFlags::IN) && !peer.input_ended {
            match peer.read(&mut self.buffer) {
                Input::Bytes => self.take_input(at),
                Input::Nothing => {}
                Input::End => self.end_input(at),
            }
        }
    }

    /// What a peer has sent goes to a process, or is requests.
    pub(crate) fn take_input(&mut self, at: usize) {
        match self.peers[at].role {
            Role::Asking => self.answer_all(at),
            Role::Watching => self.peers[at].input.clear(),
            Role::Attached { session, stdin, .. } => {
                let bytes = std::mem::take(&mut self.peers[at].input);
                if let Some(session) = self.sessions.iter_mut().find(|s| stdin && s.serial == session) {
                    session.stdin.push(&bytes);
                }
            }
        }
    }

    fn end_input(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        peer.input_ended = true;
        match peer.role {
            Role::Attached { session, stdin: true, .. } => {
                peer.gone |= peer.hung_up;
                if let Some(session) = self.sessions.iter_mut().find(|s| s.serial == session) {
                    session.peer_ended_stdin();
                }
            }
            // An attached peer that only listens may end its own direction.
            Role::Attached { .. } => peer.gone |= peer.hung_up,
            // A half request is no request; an answer that is on its way still goes.
            Role::Asking | Role::Watching => peer.close(),
        }
    }
}
