//! A virtual machine's disk, as a qcow2 whose clusters are not compressed and lie in the order of the disk: what is the same in the next
//! version is the same bytes there (QEMU `docs/interop/qcow2.txt`). The file becomes several times as large.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use sha2::Sha256;

use super::child::{INPUT, OUTPUT, Tool};
use super::{Outcome, RepackError, Stop};
use crate::blobs::{BlobError, Blobs, Staged};

const QEMU_IMG: Tool = Tool {
    program: "qemu-img",
    advice: "packing a virtual machine's disk anew needs it: on Debian and Ubuntu, `apt install qemu-utils`",
};

/// Bit of an entry that says that its cluster is compressed.
const COMPRESSED: u64 = 1 << 62;
/// Where an entry of the first table leads.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// A bit of the incompatible features: entries of the second tables are twice as long.
const LONG_ENTRIES: u64 = 1 << 4;

pub(super) fn repack(
    blobs: &Blobs,
    root: &Staged,
    also: &mut Sha256,
    limit: u64,
    stop: &Stop,
) -> Result<Outcome, RepackError> {
    let about = About::read(&mut root.reader()).map_err(BlobError::from)?;
    if about.snapshots > 0 {
        return Ok(Outcome::Left("it has snapshots in it, which qemu-img would leave out".to_owned()));
    }
    if !about.compressed {
        return Ok(Outcome::Left(
            "its clusters are not compressed, which makes deltas as small as they get".to_owned(),
        ));
    }
    // qemu-img looks at the whole of it, and a staged file may have room behind its end.
    let copy = blobs.scratch().map_err(BlobError::from)?;
    io::copy(&mut root.reader(), &mut &copy).map_err(BlobError::from)?;
    let again = || copy.try_clone().map_err(BlobError::from);
    let mut staged = blobs.stage()?;
    staged.fill(also, |file: &File| -> Result<(), RepackError> {
        let options = "compat=1.1,cluster_size=65536,lazy_refcounts=off,refcount_bits=16";
        let words = ["convert", "-q", "-f", "qcow2", "-O", "qcow2", "-o", options, INPUT, OUTPUT];
        QEMU_IMG.convert(&words, again()?, file, stop)?;
        // Silent, since what it says would get into the file; its exit code tells.
        let words = ["compare", "-q", "-f", "qcow2", "-F", "qcow2", INPUT, OUTPUT];
        QEMU_IMG.convert(&words, again()?, file, stop)
    })?;
    if staged.size() > limit {
        return Err(RepackError::Cannot("not compressed, it has more bytes than the server allows".to_owned()));
    }
    Ok(Outcome::New(staged, headwater_formats::image::FileFormat::Qcow2))
}

/// What decides. The header was checked when the file was taken in.
struct About {
    snapshots: u32,
    compressed: bool,
}

impl About {
    fn read(file: &mut (impl Read + Seek)) -> io::Result<Self> {
        let mut header = [0; 104];
        file.read_exact(&mut header)?;
        let u32_at = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap_or_default());
        let u64_at = |at: usize| u64::from_be_bytes(header[at..at + 8].try_into().unwrap_or_default());
        let (version, cluster_bits, entries, snapshots) = (u32_at(4), u32_at(20), u32_at(36), u32_at(60));
        let entry = if version > 2 && u64_at(72) & LONG_ENTRIES != 0 { 16 } else { 8 };
        let mut compressed = false;
        let mut table = vec![0; 1 << cluster_bits.min(21)];
        for number in 0..u64::from(entries) {
            let mut first = [0; 8];
            file.seek(SeekFrom::Start(u64_at(40).saturating_add(number * 8)))?;
            file.read_exact(&mut first)?;
            let place = u64::from_be_bytes(first) & OFFSET;
            if place == 0 {
                continue;
            }
            file.seek(SeekFrom::Start(place))?;
            file.read_exact(&mut table)?;
            let mut words = table.chunks_exact(entry).filter_map(|entry| entry.first_chunk::<8>());
            if words.any(|word| u64::from_be_bytes(*word) & COMPRESSED != 0) {
                compressed = true;
                break;
            }
        }
        Ok(Self { snapshots, compressed })
    }
}
