//! What the client promises, held against a scripted broker over loopback.

mod broker;
mod connection;
mod consume;
mod publish;
