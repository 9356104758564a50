//! Input splitting: blocks of bytes in, bodies out, without an allocation per body.

use std::io::BufRead;

/// Cuts a stream of blocks at a delimiter. What a block leaves unfinished is carried into the next.
pub(crate) struct Splitter {
    delimiter: u8,
    carry: Vec<u8>,
    carry_taken: bool,
}

impl Splitter {
    pub(crate) fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            carry: Vec::new(),
            carry_taken: false,
        }
    }

    /// The next whole body of `block`, which moves past it. `None`: the block is used up.
    pub(crate) fn next<'a, 'b: 'a>(&'a mut self, block: &mut &'b [u8]) -> Option<&'a [u8]> {
        if self.carry_taken {
            self.carry.clear();
            self.carry_taken = false;
        }
        let start = *block;
        let used = block.skip_until(self.delimiter).unwrap_or(0);
        let (piece, _) = start.split_at(used);
        match piece.strip_suffix(&[self.delimiter]) {
            None => {
                self.carry.extend_from_slice(piece);
                None
            }
            Some(body) if self.carry.is_empty() => Some(body),
            Some(body) => {
                self.carry.extend_from_slice(body);
                self.carry_taken = true;
                Some(&self.carry)
            }
        }
    }

    /// What stands behind the last delimiter; `None` if the input ended with one.
    pub(crate) fn rest(&self) -> Option<&[u8]> {
        (!self.carry_taken && !self.carry.is_empty()).then_some(&self.carry)
    }

    /// Bytes of an unfinished body, for refusing one that can never be sent.
    pub(crate) fn unfinished(&self) -> usize {
        if self.carry_taken {
            0
        } else {
            self.carry.len()
        }
    }
}

/// A delimiter as typed: one byte, or one of `\n`, `\t`, `\r`, `\0`, `\\`.
pub(crate) fn parse_delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [byte] => Ok(*byte),
        [b'\\', letter] => escaped(*letter)
            .ok_or_else(|| format!("{text:?} is not an escape: \\n \\t \\r \\0 \\\\")),
        _ => Err("a delimiter is one byte or an escape such as \\t".to_owned()),
    }
}

/// The byte behind a backslash and this letter.
pub(crate) fn escaped(letter: u8) -> Option<u8> {
    Some(match letter {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'0' => 0,
        b'\\' => b'\\',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(blocks: &[&str], delimiter: u8) -> Vec<String> {
        let mut splitter = Splitter::new(delimiter);
        let mut bodies = Vec::new();
        for block in blocks {
            let mut rest = block.as_bytes();
            while let Some(body) = splitter.next(&mut rest) {
                bodies.push(String::from_utf8(body.to_vec()).unwrap());
            }
        }
        if let Some(rest) = splitter.rest() {
            bodies.push(String::from_utf8(rest.to_vec()).unwrap());
        }
        bodies
    }

    #[test]
    fn a_body_is_the_same_wherever_the_blocks_are_cut() {
        let input = "one\ntwo\n\nfour\nfive";
        let whole = split(&[input], b'\n');
        assert_eq!(whole, ["one", "two", "", "four", "five"]);
        for cut in 0..=input.len() {
            let (left, right) = input.split_at(cut);
            assert_eq!(split(&[left, right], b'\n'), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_final_delimiter_ends_the_last_body_and_begins_none() {
        assert_eq!(split(&["a\nb\n"], b'\n'), ["a", "b"]);
        assert_eq!(split(&["a", "\n"], b'\n'), ["a"]);
        assert!(split(&[""], b'\n').is_empty());
    }

    #[test]
    fn nul_and_any_other_byte_can_delimit() {
        assert_eq!(split(&["a\nb\0c"], 0), ["a\nb", "c"]);
        assert_eq!(parse_delimiter("\\0"), Ok(0));
        assert_eq!(parse_delimiter(";"), Ok(b';'));
        assert!(parse_delimiter("ab").is_err());
        assert!(parse_delimiter("\\q").is_err());
    }
}
