//! The default code table of RFC 3284, section 5.6: what each byte of the instructions section means.

/// What an instruction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: the second half of a code that holds one instruction.
    Noop,
    /// Bytes from the data section.
    Add,
    /// One byte from the data section, many times.
    Run,
    /// Bytes from the source segment or the target window; the mode says how the address is written.
    Copy(u8),
}

/// One half of a code. A size of 0 means that the size follows in the instructions section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Half {
    pub(crate) kind: Kind,
    pub(crate) size: u8,
}

const NOTHING: Half = Half { kind: Kind::Noop, size: 0 };

/// The meaning of all 256 codes.
pub(crate) static DEFAULT: [[Half; 2]; 256] = default_table();

/// The highest mode of the default table: two, four near and three same.
pub(crate) const MODES: u8 = 9;

/// Code of an ADD alone; those of more than 17 bytes write their size.
pub(crate) const fn add(size: usize) -> (u8, bool) {
    if size >= 1 && size <= 17 { (1 + size as u8, false) } else { (1, true) }
}

/// Code of a RUN, whose size is always written.
pub(crate) const RUN: u8 = 0;

/// Code of a COPY alone; those of less than 4 or more than 18 bytes write their size.
pub(crate) const fn copy(size: usize, mode: u8) -> (u8, bool) {
    let first = 19 + 16 * mode;
    if size >= 4 && size <= 18 { (first + size as u8 - 3, false) } else { (first, true) }
}

/// Code of an ADD with a COPY after it, when there is one.
pub(crate) const fn add_copy(add: usize, copy: usize, mode: u8) -> Option<u8> {
    if add < 1 || add > 4 || copy < 4 {
        return None;
    }
    let add = add as u8 - 1;
    match mode {
        0..=5 if copy <= 6 => Some(163 + 12 * mode + 3 * add + (copy as u8 - 4)),
        6..=8 if copy == 4 => Some(235 + 4 * (mode - 6) + add),
        _ => None,
    }
}

/// Code of a COPY with an ADD after it, when there is one.
pub(crate) const fn copy_add(copy: usize, mode: u8, add: usize) -> Option<u8> {
    if copy == 4 && add == 1 && mode < MODES { Some(247 + mode) } else { None }
}

const fn default_table() -> [[Half; 2]; 256] {
    let mut table = [[NOTHING; 2]; 256];
    table[RUN as usize][0] = Half { kind: Kind::Run, size: 0 };
    let mut size = 0;
    while size <= 17 {
        table[1 + size][0] = Half { kind: Kind::Add, size: size as u8 };
        size += 1;
    }
    let mut mode = 0;
    while mode < MODES {
        let kind = Kind::Copy(mode);
        table[copy(0, mode).0 as usize][0] = Half { kind, size: 0 };
        let mut size = 4;
        while size <= 18 {
            table[copy(size, mode).0 as usize][0] = Half { kind, size: size as u8 };
            size += 1;
        }
        let mut add = 1;
        while add <= 4 {
            let mut size = 4;
            while size <= 6 {
                if let Some(code) = add_copy(add, size, mode) {
                    table[code as usize] = [Half { kind: Kind::Add, size: add as u8 }, Half { kind, size: size as u8 }];
                }
                size += 1;
            }
            add += 1;
        }
        if let Some(code) = copy_add(4, mode, 1) {
            table[code as usize] = [Half { kind, size: 4 }, Half { kind: Kind::Add, size: 1 }];
        }
        mode += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(kind: Kind, size: u8) -> Half {
        Half { kind, size }
    }

    /// The lines of the RFC's table, at both ends of each.
    #[test]
    fn the_lines_of_the_rfc() {
        for (code, first, second) in [
            (0, half(Kind::Run, 0), NOTHING),
            (1, half(Kind::Add, 0), NOTHING),
            (2, half(Kind::Add, 1), NOTHING),
            (18, half(Kind::Add, 17), NOTHING),
            (19, half(Kind::Copy(0), 0), NOTHING),
            (20, half(Kind::Copy(0), 4), NOTHING),
            (34, half(Kind::Copy(0), 18), NOTHING),
            (35, half(Kind::Copy(1), 0), NOTHING),
            (147, half(Kind::Copy(8), 0), NOTHING),
            (162, half(Kind::Copy(8), 18), NOTHING),
            (163, half(Kind::Add, 1), half(Kind::Copy(0), 4)),
            (165, half(Kind::Add, 1), half(Kind::Copy(0), 6)),
            (174, half(Kind::Add, 4), half(Kind::Copy(0), 6)),
            (175, half(Kind::Add, 1), half(Kind::Copy(1), 4)),
            (234, half(Kind::Add, 4), half(Kind::Copy(5), 6)),
            (235, half(Kind::Add, 1), half(Kind::Copy(6), 4)),
            (238, half(Kind::Add, 4), half(Kind::Copy(6), 4)),
            (246, half(Kind::Add, 4), half(Kind::Copy(8), 4)),
            (247, half(Kind::Copy(0), 4), half(Kind::Add, 1)),
            (255, half(Kind::Copy(8), 4), half(Kind::Add, 1)),
        ] {
            assert_eq!(DEFAULT[code], [first, second], "code {code}");
        }
    }

    #[test]
    fn no_code_is_empty_and_none_is_twice() {
        for (code, entry) in DEFAULT.iter().enumerate() {
            assert_ne!(entry[0], NOTHING, "code {code}");
            assert_eq!(DEFAULT.iter().filter(|other| *other == entry).count(), 1, "code {code}");
        }
    }
}
