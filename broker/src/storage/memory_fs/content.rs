//! The bytes of a file, in pages that copies share until one of them writes.
//!
//! A crash is tried on a copy of the disk, a hundred thousand times in one test run: a copy costs
//! one count per page, and so does a page of zeros.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock, OnceLock};

const PAGE_BYTES: usize = 4096;

/// Every page that nothing but zeros was written to.
static ZEROS: LazyLock<Arc<Page>> = LazyLock::new(|| {
    Arc::new(Page {
        bytes: [0; PAGE_BYTES],
        hash: OnceLock::new(),
    })
});

#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pages: Vec<Arc<Page>>,
    length: usize,
}

#[derive(Debug)]
struct Page {
    bytes: [u8; PAGE_BYTES],
    /// Reckoned when it is first asked for, and thrown away by every write.
    hash: OnceLock<u64>,
}

impl Clone for Page {
    fn clone(&self) -> Self {
        Self {
            bytes: self.bytes,
            hash: OnceLock::new(),
        }
    }
}

impl Page {
    fn hash(&self) -> u64 {
        *self.hash.get_or_init(|| {
            let mut hasher = DefaultHasher::new();
            hasher.write(&self.bytes);
            hasher.finish()
        })
    }
}

impl Content {
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Writes at any offset; what lies between the old end and there is zeros.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.length = self.length.max(offset + bytes.len());
        let pages = self.length.div_ceil(PAGE_BYTES);
        self.pages.resize_with(pages, || Arc::clone(&ZEROS));
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let from = at % PAGE_BYTES;
            let (now, later) = rest.split_at(rest.len().min(PAGE_BYTES - from));
            if let Some(page) = self.pages.get_mut(at / PAGE_BYTES) {
                write_page(page, from, now);
            }
            (at, rest) = (at + now.len(), later);
        }
    }

    /// Fills the buffer as far as the file reaches; answers how far that is.
    pub(super) fn read(&self, offset: usize, buffer: &mut [u8]) -> usize {
        let length = self.length.saturating_sub(offset).min(buffer.len());
        let (mut at, mut rest) = (offset, buffer.get_mut(..length).unwrap_or_default());
        while !rest.is_empty() {
            let from = at % PAGE_BYTES;
            let (now, later) = rest.split_at_mut(rest.len().min(PAGE_BYTES - from));
            let page = self.pages.get(at / PAGE_BYTES);
            if let Some(bytes) = page.and_then(|page| page.bytes.get(from..from + now.len())) {
                now.copy_from_slice(bytes);
            }
            (at, rest) = (at + now.len(), later);
        }
        length
    }

    /// The bytes of a range, as far as the file reaches.
    pub(super) fn bytes(&self, offset: usize, length: usize) -> Vec<u8> {
        let length = self.length.saturating_sub(offset).min(length);
        let mut bytes = vec![0; length];
        self.read(offset, &mut bytes);
        bytes
    }

    /// Tells a hasher all that is not zero. Trailing zeros say nothing: what is missing reads alike.
    pub(super) fn hash(&self, hasher: &mut DefaultHasher) {
        let zero = ZEROS.hash();
        for (number, page) in self.pages.iter().enumerate() {
            let hash = page.hash();
            if hash != zero {
                (number, hash).hash(hasher);
            }
        }
    }
}

fn write_page(page: &mut Arc<Page>, from: usize, bytes: &[u8]) {
    if bytes.len() == PAGE_BYTES && *bytes == ZEROS.bytes {
        *page = Arc::clone(&ZEROS);
        return;
    }
    let page = Arc::make_mut(page);
    page.hash = OnceLock::new();
    if let Some(place) = page.bytes.get_mut(from..from + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(content: &Content) -> u64 {
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn copies_read_as_plain_bytes_do_and_never_see_each_others_writes() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut content, mut plain) = (Content::default(), Vec::new());
        let mut before = (content.clone(), plain.clone());
        for round in 0..400 {
            let offset = random.usize(..20_000);
            let byte = random.u8(..2);
            let bytes = vec![byte; random.usize(..10_000)];
            if plain.len() < offset + bytes.len() {
                plain.resize(offset + bytes.len(), 0);
            }
            plain[offset..offset + bytes.len()].copy_from_slice(&bytes);
            content.write(offset, &bytes);
            assert_eq!(content.length(), plain.len());
            assert_eq!(content.bytes(0, usize::MAX), plain);
            assert_eq!(
                content.bytes(offset, 700),
                plain[offset..][..700.min(plain.len() - offset)]
            );
            assert_eq!(before.0.bytes(0, usize::MAX), before.1);
            let mut written_once = Content::default();
            written_once.write(0, &plain);
            assert_eq!(hash(&content), hash(&written_once));
            if round % 7 == 0 {
                before = (content.clone(), plain.clone());
            }
        }
    }

    #[test]
    fn one_bit_changes_the_hash_and_trailing_zeros_do_not() {
        let mut content = Content::default();
        content.write(0, &[7; 9000]);
        let whole = hash(&content);
        content.write(20_000, &[0; 9000]);
        assert_eq!(hash(&content), whole);
        content.write(8191, &[6]);
        assert_ne!(hash(&content), whole);
    }
}
