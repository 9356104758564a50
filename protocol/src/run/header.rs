//! A header's value: a type byte, then the value.

/// A typed header value, borrowed from the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HeaderValue<'a> {
    /// Type 0: any bytes.
    Bytes(&'a [u8]),
    /// Type 1: UTF-8.
    Text(&'a str),
    /// Type 2: signed, 8 bytes big-endian.
    Int(i64),
    /// Type 3: IEEE 754, 8 bytes big-endian.
    Float(f64),
    /// Type 4: one byte, 0 or 1.
    Bool(bool),
}

impl<'a> HeaderValue<'a> {
    /// Reads a type byte and the value after it. `None`: no such type, or a value that does not fit it.
    pub fn decode(encoded: &'a [u8]) -> Option<Self> {
        let (kind, value) = encoded.split_first()?;
        match (kind, value) {
            (0, bytes) => Some(Self::Bytes(bytes)),
            (1, bytes) => std::str::from_utf8(bytes).ok().map(Self::Text),
            (2, bytes) => Some(Self::Int(i64::from_be_bytes(bytes.try_into().ok()?))),
            (3, bytes) => Some(Self::Float(f64::from_be_bytes(bytes.try_into().ok()?))),
            (4, [0]) => Some(Self::Bool(false)),
            (4, [1]) => Some(Self::Bool(true)),
            _ => None,
        }
    }

    /// Bytes of the encoded value, its type byte counted.
    pub fn encoded_len(&self) -> usize {
        let value = match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
            Self::Int(_) | Self::Float(_) => 8,
            Self::Bool(_) => 1,
        };
        value.saturating_add(1)
    }

    /// Appends the type byte and the value.
    pub fn encode(&self, out: &mut impl bytes::BufMut) {
        match self {
            Self::Bytes(bytes) => {
                out.put_u8(0);
                out.put_slice(bytes);
            }
            Self::Text(text) => {
                out.put_u8(1);
                out.put_slice(text.as_bytes());
            }
            Self::Int(value) => {
                out.put_u8(2);
                out.put_i64(*value);
            }
            Self::Float(value) => {
                out.put_u8(3);
                out.put_f64(*value);
            }
            Self::Bool(value) => {
                out.put_u8(4);
                out.put_u8(u8::from(*value));
            }
        }
    }
}
