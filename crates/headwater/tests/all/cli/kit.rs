//! A data directory of its own for each test, the program run on it, and small images that are real in form.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A home directory; the data is in `data` below it.
pub(crate) struct House {
    pub(crate) folder: TempDir,
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl House {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The program with a clean environment, in the home directory, on the data directory.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
        self.prepare(&mut command);
        command.args(arguments);
        command
    }

    /// Gives a command the clean environment, the home directory and the data directory.
    pub(crate) fn prepare(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("HEADWATER_DATA", self.data())
            .current_dir(self.folder.path());
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, b"")
    }

    /// With these bytes on standard input.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        run(self.command(arguments), input)
    }

    /// Makes a file in the home directory; gives back its name.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        name.to_owned()
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Publishes a unified image; gives back its fingerprint.
    pub(crate) fn publish(&self, image: &Sample, options: &[&str]) -> String {
        let name = self.file("image.tar", &image.unified());
        let mut arguments = vec!["publish", &name, "--format", "json"];
        arguments.extend(options);
        self.run(&arguments).json()["fingerprint"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn run(mut command: Command, input: &[u8]) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // The program may end without reading it all.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Ran {
    /// It went well.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// It went well, and printed this JSON.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let ran = self.ok();
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }

    /// It failed with this code and this error, and printed nothing.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, error: &str) {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{self:?}");
        assert_eq!(self.err, format!("Error: {error}\n"));
    }

    /// The text of each cell of a table, without its lines.
    pub(crate) fn cells(&self) -> Vec<Vec<&str>> {
        self.out
            .lines()
            .filter(|line| line.starts_with('|'))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect()
    }
}

/// An image to publish.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) os: &'static str,
    pub(crate) release: &'static str,
    pub(crate) variant: &'static str,
    pub(crate) serial: &'static str,
    pub(crate) architecture: &'static str,
}

impl Default for Sample {
    fn default() -> Self {
        Self { os: "Debian", release: "bookworm", variant: "default", serial: "20250101_07:42", architecture: "x86_64" }
    }
}

impl Sample {
    fn yaml(&self) -> Vec<u8> {
        let Self { os, release, variant, serial, architecture } = self;
        let mut yaml = format!("architecture: {architecture}\ncreation_date: 1735717320\nproperties:\n");
        if !os.is_empty() {
            yaml += &format!(
                "  description: \"{os} {release} ({serial})\"\n  os: {os}\n  release: {release}\n  \
                 variant: {variant}\n  serial: \"{serial}\"\n"
            );
        }
        yaml.into_bytes()
    }

    /// The metadata tarball of a split image.
    pub(crate) fn metadata(&self) -> Vec<u8> {
        tarball(&[("metadata.yaml", &self.yaml())])
    }

    /// A unified image: plain tar, so that its fingerprint is the same for ever.
    pub(crate) fn unified(&self) -> Vec<u8> {
        tarball(&[("metadata.yaml", &self.yaml()), ("rootfs/etc/issue", self.serial.as_bytes())])
    }
}

pub(crate) fn tarball(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A squashfs as far as its superblock tells; `seed` makes the bytes differ.
pub(crate) fn squashfs(seed: u8) -> Vec<u8> {
    const LENGTH: usize = 4096;
    let mut bytes = b"hsqs".to_vec();
    for number in [1u32, 0, 131_072, 0] {
        bytes.extend(number.to_le_bytes());
    }
    for number in [4u16, 17, 0, 1, 4, 0] {
        bytes.extend(number.to_le_bytes());
    }
    for number in [0u64, LENGTH as u64, 1000, u64::MAX, 200, 300, u64::MAX, u64::MAX] {
        bytes.extend(number.to_le_bytes());
    }
    assert_eq!(bytes.len(), 96);
    bytes.resize(LENGTH, seed);
    bytes
}

/// An empty qcow2 disk of one cluster.
pub(crate) fn qcow2() -> Vec<u8> {
    const CLUSTER: u64 = 65536;
    let mut bytes = b"QFI\xfb".to_vec();
    bytes.extend(3u32.to_be_bytes()); // version
    bytes.extend(0u64.to_be_bytes()); // backing file
    bytes.extend(0u32.to_be_bytes());
    bytes.extend(16u32.to_be_bytes()); // cluster bits
    bytes.extend(CLUSTER.to_be_bytes()); // size of the disk
    bytes.extend(0u32.to_be_bytes()); // encryption
    bytes.extend(1u32.to_be_bytes()); // L1 entries
    bytes.extend((CLUSTER * 3).to_be_bytes()); // L1 table
    bytes.extend(CLUSTER.to_be_bytes()); // refcount table
    bytes.extend(1u32.to_be_bytes());
    bytes.extend(0u32.to_be_bytes()); // snapshots
    bytes.extend(0u64.to_be_bytes());
    for _ in 0..3 {
        bytes.extend(0u64.to_be_bytes()); // features
    }
    bytes.extend(4u32.to_be_bytes()); // refcount order
    bytes.extend(104u32.to_be_bytes()); // length of the header
    assert_eq!(bytes.len(), 104);
    bytes.resize((CLUSTER * 4) as usize, 0);
    bytes
}

/// What an image made of these files is called by.
pub(crate) fn fingerprint(files: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for file in files {
        hasher.update(file);
    }
    data_encoding::HEXLOWER.encode(&hasher.finalize())
}
