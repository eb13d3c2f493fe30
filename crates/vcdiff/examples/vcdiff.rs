//! Makes and undoes deltas from the command line: `vcdiff encode BASE TARGET DELTA [MIB [THREADS]]`, `vcdiff decode BASE DELTA TARGET`.
//! For trying the crate beside `xdelta3`; Headwater itself does not use it.

use std::fs::File;
use std::io::BufWriter;
use std::num::NonZero;

use headwater_vcdiff::{Limits, Options, Rewindable, decode, encode};

#[allow(clippy::print_stderr, reason = "this is what it is for")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["encode", base, target, delta, ref rest @ ..] => {
            let mut options = Options::default();
            if let Some(memory) = rest.first() {
                options.memory = memory.parse::<u64>()? << 20;
            }
            if let Some(threads) = rest.get(1) {
                options.threads = NonZero::new(threads.parse()?).ok_or("at least one thread")?;
            }
            let delta = BufWriter::new(File::create(delta)?);
            eprintln!("{:?}", encode(&File::open(base)?, File::open(target)?, delta, &options)?);
        }
        ["decode", base, delta, target] => {
            let target = File::options().read(true).write(true).create(true).truncate(true).open(target)?;
            let (base, delta) = (File::open(base)?, File::open(delta)?);
            eprintln!("{:?}", decode(base, delta, &mut Rewindable(target), &Limits::default())?);
        }
        _ => return Err("say encode BASE TARGET DELTA [MIB [THREADS]], or decode BASE DELTA TARGET".into()),
    }
    Ok(())
}
