//! How to reach a broker, and how a client behaves.

use std::time::Duration;

use crate::error::UrlError;

/// The port of the protocol where an address names none.
pub const PORT_DEFAULT: u16 = 7433;

/// What [`Client::connect_with`](crate::Client::connect_with) takes besides the address.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names this client instance, kept across reconnects: the holder of its leases. 1 to 64 bytes.
    /// `None`: 16 random hex digits.
    pub holder: Option<String>,
    /// Program and version, for people who look at the broker. At most 128 bytes.
    pub client: String,
    /// Who we are. `None`: the one in the address, if any.
    pub token: Option<String>,
    /// For one attempt to connect and be welcomed. Default 10 s.
    pub connect_timeout: Duration,
    /// What to do when the connection is lost.
    pub reconnect: Reconnect,
    /// Tells the broker of each delivery of a consumer when the application gets it: what was pushed
    /// and not begun when the connection is lost comes back uncharged. Default: no, and all that was
    /// pushed is charged with an attempt then.
    pub marks_started: bool,
}

/// What to do when the connection is lost. (The first connect fails at once in either case.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reconnect {
    /// Try for ever, after a random part of 50 ms, doubled up to 15 s.
    #[default]
    Forever,
    /// Close the client; everything unanswered fails.
    Never,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            holder: None,
            client: concat!("siding-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            token: None,
            connect_timeout: Duration::from_secs(10),
            reconnect: Reconnect::default(),
            marks_started: false,
        }
    }
}

/// An address taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) token: Option<String>,
    /// `host:port`; an IPv6 host in brackets.
    pub(crate) address: String,
}

impl Url {
    /// Parses `[siding://][token@]host[:port][/]`.
    pub(crate) fn parse(text: &str) -> Result<Self, UrlError> {
        let rest = match text.split_once("://") {
            None => text,
            Some(("siding", rest)) => rest,
            Some(_) => return Err(UrlError::Scheme),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (token, host_port) = match rest.rsplit_once('@') {
            None => (None, rest),
            Some((token, host_port)) => (Some(token.to_owned()), host_port),
        };
        if host_port.contains(['/', '?', '#']) {
            return Err(UrlError::Path);
        }
        let behind_bracket = host_port.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match host_port.rfind(':').filter(|at| *at >= behind_bracket) {
            None => (host_port, PORT_DEFAULT),
            Some(colon) => {
                let (host, port) = host_port.split_at(colon);
                let port = port.trim_start_matches(':').parse().ok();
                (host, port.filter(|port| *port > 0).ok_or(UrlError::Port)?)
            }
        };
        if host.is_empty() {
            return Err(UrlError::Host);
        }
        Ok(Self {
            token,
            address: format!("{host}:{port}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_with_an_optional_scheme_token_and_port() {
        for (text, token, address) in [
            ("localhost:7000", None, "localhost:7000"),
            ("localhost", None, "localhost:7433"),
            ("siding://127.0.0.1:1/", None, "127.0.0.1:1"),
            ("siding://s3cret@broker:7433", Some("s3cret"), "broker:7433"),
            ("siding://[::1]:99", None, "[::1]:99"),
            ("[::1]", None, "[::1]:7433"),
        ] {
            let token = token.map(str::to_owned);
            let address = address.to_owned();
            assert_eq!(Url::parse(text), Ok(Url { token, address }), "{text}");
        }
    }

    #[test]
    fn an_address_that_is_none_says_what_is_wrong() {
        for (text, error) in [
            ("http://host:1", UrlError::Scheme),
            ("siding://:7433", UrlError::Host),
            ("", UrlError::Host),
            ("host:port", UrlError::Port),
            ("host:0", UrlError::Port),
            ("host:70000", UrlError::Port),
            ("host:1/queue", UrlError::Path),
        ] {
            assert_eq!(Url::parse(text), Err(error), "{text}");
        }
    }
}
