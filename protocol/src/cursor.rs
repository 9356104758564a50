//! A reader of protobuf bytes that cannot panic and accepts one spelling only.

use crate::run::ScanReason;

/// The highest field number protobuf knows.
const FIELD_NUMBER_MAX: u32 = (1 << 29) - 1;

/// What is left to read, and where it ends in the whole.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    end: usize,
}

/// One field's value; fixed-width ones are only ever carried, so their bytes are not kept.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed,
    Bytes(Cursor<'a>),
}

/// Why reading stopped, and at which byte of the whole.
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) position: usize,
    pub(crate) reason: ScanReason,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            end: bytes.len(),
        }
    }

    /// A cursor over `rest`, the last bytes of a whole of `end` bytes.
    pub(crate) const fn at_end_of(rest: &'a [u8], end: usize) -> Self {
        Self { rest, end }
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) const fn position(&self) -> usize {
        self.end.saturating_sub(self.rest.len())
    }

    pub(crate) const fn fault(&self, reason: ScanReason) -> Fault {
        Fault {
            position: self.position(),
            reason,
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| self.fault(ScanReason::Cut))?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let (byte, rest) = self
            .rest
            .split_first()
            .ok_or_else(|| self.fault(ScanReason::Cut))?;
        self.rest = rest;
        Ok(*byte)
    }

    /// A varint in its shortest spelling: ten bytes at most, the last one not zero.
    pub(crate) fn varint(&mut self) -> Result<u64, Fault> {
        let start = *self;
        let mut value = 0_u64;
        for shift in (0_u32..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits.wrapping_shl(shift);
            if byte < 0x80 {
                return if byte == 0 && shift > 0 {
                    Err(start.fault(ScanReason::Varint))
                } else {
                    Ok(value)
                };
            }
        }
        Err(start.fault(ScanReason::Varint))
    }

    /// A length and that many bytes.
    pub(crate) fn delimited(&mut self) -> Result<Self, Fault> {
        let start = *self;
        let length = usize::try_from(self.varint()?).map_err(|_| start.fault(ScanReason::Cut))?;
        let end = self.position().saturating_add(length);
        let rest = self.take(length)?;
        Ok(Self { rest, end })
    }

    /// The next field: its number and its value. Groups do not exist here.
    pub(crate) fn field(&mut self) -> Result<(u32, Value<'a>), Fault> {
        let start = *self;
        let key = self.varint()?;
        let number = u32::try_from(key >> 3)
            .ok()
            .filter(|number| (1..=FIELD_NUMBER_MAX).contains(number))
            .ok_or_else(|| start.fault(ScanReason::FieldNumber))?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => Value::Bytes(self.delimited()?),
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(start.fault(ScanReason::WireType { field: number })),
        };
        Ok((number, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_has_one_spelling() {
        for value in [
            0,
            1,
            127,
            128,
            300,
            1 << 35,
            (1 << 63) - 1,
            1 << 63,
            u64::MAX,
        ] {
            let mut bytes = Vec::new();
            prost::encoding::encode_varint(value, &mut bytes);
            let mut cursor = Cursor::new(&bytes);
            assert_eq!(cursor.varint().ok(), Some(value));
            assert!(cursor.is_empty());
            for cut in 0..bytes.len() {
                assert!(Cursor::new(&bytes[..cut]).varint().is_err());
            }
            if bytes.len() < 10 {
                *bytes.last_mut().expect("not empty") |= 0x80;
                bytes.push(0);
                assert!(Cursor::new(&bytes).varint().is_err(), "padded {value}");
            }
        }
        let mut eleven = [0xFF; 11];
        eleven[10] = 1;
        assert!(Cursor::new(&eleven).varint().is_err());
        eleven[9] = 2;
        assert!(Cursor::new(&eleven).varint().is_err());
    }
}
