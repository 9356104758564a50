//! Live connections, counted against their limits; readable from other threads.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

use crate::engine::effect::SessionId;

/// Most connections at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Of all.
    pub total: usize,
    /// Of one address.
    pub per_ip: usize,
    /// Whose hello was not heard yet.
    pub unwelcome: usize,
}

/// Why a connection was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// All connections together.
    #[error("too many connections")]
    Total,
    /// Those of its address.
    #[error("too many connections from one address")]
    PerIp,
    /// Those that said no hello yet.
    #[error("too many connections without a hello")]
    Unwelcome,
}

/// One live connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Where from.
    pub peer: SocketAddr,
    /// The client instance; empty before its hello.
    pub holder: String,
}

/// The live connections. Clones share it.
#[derive(Clone, Debug)]
pub struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: ConnectionLimits,
    sessions: DashMap<SessionId, SessionInfo>,
    per_ip: DashMap<IpAddr, usize>,
    unwelcome: AtomicUsize,
}

/// A place among the live connections; dropping it gives it back.
#[derive(Debug)]
pub struct Seat {
    registry: Registry,
    session: SessionId,
    ip: IpAddr,
    is_welcome: bool,
}

impl Registry {
    /// Nobody is here yet.
    pub fn new(limits: ConnectionLimits) -> Self {
        Self(Arc::new(Inner {
            limits,
            sessions: DashMap::new(),
            per_ip: DashMap::new(),
            unwelcome: AtomicUsize::new(0),
        }))
    }

    /// Takes a connection in.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn enter(&self, session: SessionId, peer: SocketAddr) -> Result<Seat, Full> {
        let Inner {
            limits,
            sessions,
            per_ip,
            unwelcome,
        } = &*self.0;
        if sessions.len() >= limits.total {
            return Err(Full::Total);
        }
        if unwelcome.load(Ordering::Relaxed) >= limits.unwelcome {
            return Err(Full::Unwelcome);
        }
        let ip = peer.ip();
        let mut of_ip = per_ip.entry(ip).or_default();
        if *of_ip >= limits.per_ip {
            return Err(Full::PerIp);
        }
        *of_ip += 1;
        drop(of_ip);
        unwelcome.fetch_add(1, Ordering::Relaxed);
        sessions.insert(
            session,
            SessionInfo {
                peer,
                holder: String::new(),
            },
        );
        Ok(Seat {
            registry: self.clone(),
            session,
            ip,
            is_welcome: false,
        })
    }

    /// How many are here.
    pub fn len(&self) -> usize {
        self.0.sessions.len()
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.0.sessions.is_empty()
    }

    /// Every live connection, by number.
    pub fn sessions(&self) -> Vec<(SessionId, SessionInfo)> {
        let sessions = self.0.sessions.iter();
        let mut sessions: Vec<_> = sessions
            .map(|entry| (*entry.key(), entry.value().clone()))
            .collect();
        sessions.sort_by_key(|(session, _)| *session);
        sessions
    }
}

impl Seat {
    /// Its hello was heard.
    pub fn welcome(&mut self, holder: &str) {
        self.is_welcome = true;
        self.registry.0.unwelcome.fetch_sub(1, Ordering::Relaxed);
        if let Some(mut info) = self.registry.0.sessions.get_mut(&self.session) {
            holder.clone_into(&mut info.holder);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Inner {
            sessions,
            per_ip,
            unwelcome,
            ..
        } = &*self.registry.0;
        sessions.remove(&self.session);
        if !self.is_welcome {
            unwelcome.fetch_sub(1, Ordering::Relaxed);
        }
        per_ip.remove_if_mut(&self.ip, |_, count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_in_all_by_address_and_before_their_hello() {
        let limits = ConnectionLimits {
            total: 3,
            per_ip: 2,
            unwelcome: 2,
        };
        let registry = Registry::new(limits);
        let peer = |last: u8| SocketAddr::from(([127, 0, 0, last], 1));
        let mut first = registry.enter(1, peer(1)).expect("room");
        let second = registry.enter(2, peer(1)).expect("room");
        assert_eq!(registry.enter(3, peer(2)).err(), Some(Full::Unwelcome));
        first.welcome("me");
        assert_eq!(registry.enter(3, peer(1)).err(), Some(Full::PerIp));
        let mut third = registry.enter(3, peer(2)).expect("room");
        third.welcome("you");
        assert_eq!(registry.enter(4, peer(3)).err(), Some(Full::Total));
        assert_eq!(registry.sessions()[0].1.holder, "me");
        drop((first, second, third));
        assert!(registry.is_empty() && registry.0.per_ip.is_empty());
        registry.enter(5, peer(1)).expect("room again");
    }
}
