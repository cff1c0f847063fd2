//! Bytes that are read as a script: every string of them is one.
//!
//! Nothing is refused. A number is taken modulo the number of its values, and what is missing at
//! the end reads as zero. So a fuzzer's changes always mean something, and small changes mostly
//! something similar.

/// What is left to read.
#[derive(Clone, Debug)]
pub(crate) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Bytes(bytes)
    }

    /// The next operation, if there is one: only its first byte must be there.
    pub(crate) fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u8) -> u8 {
        self.byte() % n
    }

    pub(crate) fn index(&mut self, n: u8) -> usize {
        usize::from(self.below(n))
    }
}
