//! Builds Avro's bytes by hand, as an oracle would. The tests of all packages have it from here.

/// Bytes of values, one after the other.
#[derive(Default, Clone)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    pub fn long(mut self, n: i64) -> Self {
        let mut rest = ((n << 1) ^ (n >> 63)) as u64;
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn double(self, x: f64) -> Self {
        self.raw(&x.to_le_bytes())
    }

    pub fn text(self, text: &str) -> Self {
        self.sized(text.as_bytes())
    }

    pub fn sized(self, bytes: &[u8]) -> Self {
        self.long(bytes.len() as i64).raw(bytes)
    }

    /// With Confluent's framing.
    pub fn framed(self, id: u32) -> Vec<u8> {
        [&[0], &id.to_be_bytes()[..], &self.0].concat()
    }
}
