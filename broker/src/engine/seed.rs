//! Keyed hashes: what strangers choose, as numbers that they cannot foresee.
//!
//! A log's seed stands in the command that made it, so every machine hashes alike; nobody outside
//! knows it, so nobody can choose dedup ids or keys that collide.

use prost::Message;
use siphasher::sip::SipHasher13;
use siphasher::sip128::SipHasher13 as SipHasher128;

/// The key of a log's hashes.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Seed {
    /// Half of it.
    #[prost(fixed64, tag = "1")]
    pub high: u64,
    /// The other half.
    #[prost(fixed64, tag = "2")]
    pub low: u64,
}

impl Seed {
    /// 128 bits: two different texts never meet.
    pub fn hash128(&self, text: &[u8]) -> [u64; 2] {
        let hash = SipHasher128::new_with_keys(self.high, self.low).hash(text);
        [hash.h1, hash.h2]
    }

    /// 64 bits, to compare two texts.
    pub fn hash64(&self, text: &[u8]) -> u64 {
        SipHasher13::new_with_keys(self.high, self.low).hash(text)
    }

    /// The seed of a log that is to be made, from the secret of this start.
    pub fn of_log(secret: Self, name: &str, last_id: u64) -> Self {
        let [high, low] = secret.hash128(format!("{last_id} {name}").as_bytes());
        Self { high, low }
    }
}
