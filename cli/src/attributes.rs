//! What a message says besides its body, as it is typed.

use std::time::Duration;

use clap::Args;
use siding::Message;

use crate::{args, times};

/// For publishes and schedules alike.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct AttributeArgs {
    /// A header NAME=VALUE for every message; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = args::header)]
    headers: Vec<(String, String)>,
    /// The key of every message: for order.
    #[arg(long)]
    key: Option<String>,
    /// The routing key of every message, such as eu.orders.new: for filters.
    #[arg(long)]
    routing_key: Option<String>,
    /// 9 goes first [default: 4].
    #[arg(long, value_name = "0..9", value_parser = clap::value_parser!(u32).range(0..=9))]
    priority: Option<u32>,
    /// Expires if nobody got it within so long [default: the queue's own].
    #[arg(long, value_parser = args::duration, value_name = "DURATION")]
    ttl: Option<Duration>,
}

/// For publishes.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct MessageArgs {
    #[command(flatten)]
    attributes: AttributeArgs,
    /// Not before so long from now, such as 10m.
    #[arg(long, value_parser = args::duration, value_name = "DURATION", conflicts_with = "at")]
    delay: Option<Duration>,
    /// Not before this time: 2026-11-21T09:00:00Z, "2026-11-21 09:00" or 09:00.
    #[arg(long, value_parser = times::coming, value_name = "TIME")]
    at: Option<u64>,
    /// The application's own name for the one message: within the queue's dedup window it is stored
    /// once.
    #[arg(long, value_name = "ID")]
    pub(crate) dedup: Option<String>,
}

impl AttributeArgs {
    /// The body with these attributes.
    pub(crate) fn message(&self, body: impl Into<Message>) -> Message {
        let mut message: Message = body.into();
        if let Some(key) = &self.key {
            message = message.key(key);
        }
        if let Some(routing_key) = &self.routing_key {
            message = message.routing_key(routing_key);
        }
        for (name, value) in &self.headers {
            message = message.header(name, value.as_str());
        }
        if let Some(priority) = self.priority {
            message = message.priority(priority);
        }
        if let Some(ttl) = self.ttl {
            message = message.ttl(ttl);
        }
        message
    }
}

impl MessageArgs {
    /// The body with these attributes.
    pub(crate) fn message(&self, body: impl Into<Message>) -> Message {
        let mut message = self.attributes.message(body);
        if let Some(delay) = self.delay {
            message = message.delay(delay);
        }
        if let Some(at) = self.at {
            message = message.deliver_at_ms(at);
        }
        if let Some(dedup) = &self.dedup {
            message = message.dedup_id(dedup);
        }
        message
    }

    /// Whether a message is its body alone.
    pub(crate) fn is_plain(&self) -> bool {
        self.message(&b""[..]) == Message::default()
    }
}
