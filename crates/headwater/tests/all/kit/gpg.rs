//! The real gpgv, which shows what those believe who check signatures.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// A folder with a keyring in it.
pub(crate) struct Gpgv {
    folder: TempDir,
}

impl Gpgv {
    /// With these keys, as `gpgv --keyring` takes them.
    pub(crate) fn new(keyring: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("keyring.gpg"), keyring).unwrap();
        Self { folder }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn run(&self, files: &[PathBuf]) -> Result<String, String> {
        let ran = Command::new("gpgv")
            .env("LC_ALL", "C")
            .arg("--homedir")
            .arg(self.folder.path())
            .arg("--keyring")
            .arg(self.folder.path().join("keyring.gpg"))
            .args(files)
            .output()
            .expect("gpgv is there: ./dev setup installs it");
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        if ran.status.success() { Ok(said) } else { Err(said) }
    }

    /// Checks a clear-signed text; what gpgv says of it.
    pub(crate) fn clear(&self, text: &[u8]) -> Result<String, String> {
        self.run(&[self.file("text.asc", text)])
    }

    /// Checks a signature beside a file.
    pub(crate) fn detached(&self, signature: &[u8], bytes: &[u8]) -> Result<String, String> {
        self.run(&[self.file("signature.gpg", signature), self.file("signed", bytes)])
    }
}

/// The text in a clear-signed one.
pub(crate) fn signed_text(clear: &[u8]) -> String {
    let clear = std::str::from_utf8(clear).unwrap();
    let (_, rest) = clear.split_once("\n\n").unwrap();
    rest.split_once("\n-----BEGIN PGP SIGNATURE-----\n").unwrap().0.to_owned()
}
