//! The tokio-util adapter over [`crate::frame`], nothing else.

use bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};

use crate::frame::{FrameError, Sender, decode, encode, missing, split};
use crate::limits::FRAME_BYTES_MAX;
use crate::wire;

/// Whole frames in and out of a byte stream.
#[derive(Clone, Copy, Debug)]
pub struct FrameCodec {
    peer: Sender,
    frame_bytes_max: usize,
}

/// A stream ends in an IO error, or in bytes that are no frame.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The bytes that came are not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl FrameCodec {
    /// For a stream whose other end is `peer`; frames up to [`FRAME_BYTES_MAX`].
    pub const fn new(peer: Sender) -> Self {
        Self {
            peer,
            frame_bytes_max: FRAME_BYTES_MAX,
        }
    }

    /// Sets the longest frame that is read from now on, in bytes.
    pub const fn set_frame_bytes_max(&mut self, bytes: usize) {
        self.frame_bytes_max = bytes;
    }
}

impl Decoder for FrameCodec {
    type Item = wire::Frame;
    type Error = CodecError;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<wire::Frame>, CodecError> {
        if let Some(payload) = split(buf, self.frame_bytes_max)? {
            return Ok(Some(decode(payload, self.peer)?));
        }
        buf.reserve(missing(buf));
        Ok(None)
    }
}

impl Encoder<(u64, wire::frame::Kind)> for FrameCodec {
    type Error = CodecError;

    fn encode(
        &mut self,
        (correlation, kind): (u64, wire::frame::Kind),
        out: &mut BytesMut,
    ) -> Result<(), CodecError> {
        encode(correlation, kind, out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::Kind;

    #[test]
    fn frames_come_out_as_they_went_in_whatever_pieces_the_stream_has() {
        let mut codec = FrameCodec::new(Sender::Broker);
        let mut bytes = BytesMut::new();
        for correlation in 0..3 {
            let kind = Kind::Pong(wire::Pong {});
            codec.encode((correlation, kind), &mut bytes).expect("room");
        }
        let mut arrived = BytesMut::new();
        let mut seen = Vec::new();
        for byte in bytes {
            arrived.extend_from_slice(&[byte]);
            if let Some(frame) = codec.decode(&mut arrived).expect("frames") {
                seen.push(frame.correlation);
            }
        }
        assert_eq!(seen, [0, 1, 2]);
        codec.set_frame_bytes_max(1);
        assert!(
            codec
                .decode(&mut BytesMut::from(&[0, 0, 0, 2][..]))
                .is_err()
        );
    }
}
