//! Connections: what is sent arrives later and in order, or not at all.

use std::collections::BTreeMap;

use siding_broker::engine::effect::SessionId;

/// Everybody's connections, also those that are no more.
#[derive(Debug, Default)]
pub struct Net {
    links: BTreeMap<SessionId, Link>,
    last: SessionId,
}

/// One connection.
#[derive(Debug)]
pub struct Link {
    /// Whose.
    pub client: usize,
    /// When the last word on its way arrives, in each direction.
    to_broker_us: u64,
    to_client_us: u64,
    /// What arrives at the broker after it is lost.
    pub ends_us: Option<u64>,
    /// What is on its way to the client never arrives.
    pub is_deaf: bool,
    /// The client knows that it is no more.
    pub is_over: bool,
}

impl Net {
    /// A new connection of a client.
    pub fn connect(&mut self, client: usize, now_us: u64) -> SessionId {
        self.last += 1;
        let link = Link {
            client,
            to_broker_us: now_us,
            to_client_us: now_us,
            ends_us: None,
            is_deaf: false,
            is_over: false,
        };
        self.links.insert(self.last, link);
        self.last
    }

    /// One of them.
    pub fn link(&mut self, session: SessionId) -> Option<&mut Link> {
        self.links.get_mut(&session)
    }

    /// Whom a word to this session reaches, if anybody.
    pub fn hearer(&self, session: SessionId) -> Option<usize> {
        let link = self.links.get(&session)?;
        (!link.is_over && !link.is_deaf).then_some(link.client)
    }

    /// Whose session it is, if the client thinks it open.
    pub fn listener(&self, session: SessionId) -> Option<usize> {
        let link = self.links.get(&session)?;
        (!link.is_over).then_some(link.client)
    }

    /// When a word that is sent now arrives at the broker.
    pub fn to_broker(&mut self, session: SessionId, at_us: u64) -> u64 {
        self.link(session).map_or(at_us, |link| {
            link.to_broker_us = link.to_broker_us.max(at_us);
            link.to_broker_us
        })
    }

    /// When a word that is sent now arrives at the client.
    pub fn to_client(&mut self, session: SessionId, at_us: u64) -> u64 {
        self.link(session).map_or(at_us, |link| {
            link.to_client_us = link.to_client_us.max(at_us);
            link.to_client_us
        })
    }

    /// Those whose clients think them open.
    pub fn open(&self) -> Vec<SessionId> {
        let open = self.links.iter().filter(|(_, link)| !link.is_over);
        open.map(|(session, _)| *session).collect()
    }

    /// Whether a word arrives that is due at this time.
    pub fn carries(&self, session: SessionId, at_us: u64) -> bool {
        let link = self.links.get(&session);
        link.is_some_and(|link| link.ends_us.is_none_or(|ends_us| at_us <= ends_us))
    }

    /// The client knows that it is no more.
    pub fn over(&mut self, session: SessionId) {
        if let Some(link) = self.links.get_mut(&session) {
            link.is_over = true;
        }
    }
}
