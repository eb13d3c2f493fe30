//! A window's copies as instructions: the codes that say them shortest.

use crate::address_cache::AddressCache;
use crate::code_table;
use crate::varint;

/// The three sections of a window.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    pub(crate) data: Vec<u8>,
    pub(crate) instructions: Vec<u8>,
    pub(crate) addresses: Vec<u8>,
}

/// An instruction that waits for the next one, with which it may share a code.
#[derive(Debug, Clone, Copy)]
enum Waiting {
    Nothing,
    Add(usize),
    Copy(usize, u8),
}

/// Writes instructions into sections.
pub(crate) struct Writer {
    sections: Sections,
    cache: AddressCache,
    waiting: Waiting,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { sections: Sections::default(), cache: AddressCache::new(), waiting: Waiting::Nothing }
    }

    /// Adds bytes that are not copied.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.sections.data.extend_from_slice(bytes);
        if let Waiting::Copy(len, mode) = self.waiting
            && let Some(code) = code_table::copy_add(len, mode, bytes.len())
        {
            self.sections.instructions.push(code);
            self.waiting = Waiting::Nothing;
        } else {
            self.flush();
            self.waiting = Waiting::Add(bytes.len());
        }
    }

    /// Copies `len` bytes from `address`, where the next byte that is made has the address `here`.
    pub(crate) fn copy(&mut self, address: u64, len: usize, here: u64) {
        let written = self.cache.shortest(address, here);
        self.cache.put(address, written, &mut self.sections.addresses);
        if let Waiting::Add(add) = self.waiting
            && let Some(code) = code_table::add_copy(add, len, written.mode)
        {
            self.sections.instructions.push(code);
            self.waiting = Waiting::Nothing;
        } else {
            self.flush();
            self.waiting = Waiting::Copy(len, written.mode);
        }
    }

    fn flush(&mut self) {
        let ((code, sized), len) = match std::mem::replace(&mut self.waiting, Waiting::Nothing) {
            Waiting::Nothing => return,
            Waiting::Add(len) => (code_table::add(len), len),
            Waiting::Copy(len, mode) => (code_table::copy(len, mode), len),
        };
        self.sections.instructions.push(code);
        if sized {
            varint::put(&mut self.sections.instructions, len as u64);
        }
    }

    pub(crate) fn finish(mut self) -> Sections {
        self.flush();
        self.sections
    }
}
