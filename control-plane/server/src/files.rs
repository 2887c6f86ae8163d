//! Reads files that people name: configuration, policy, signatures, certificates, secrets.
//!
//! The only place that opens such files. Each is opened once, and the open file is checked, so that it cannot be replaced between check and
//! read. Only regular files are read, up to a limit: a FIFO would block for ever, and a device has no end. Links are followed;
//! [`crate::sources`] refuses those that leave a policy folder.

use std::fs::{File, Metadata};
use std::io::{Error, Read as _, Result};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use zeroize::{Zeroize as _, Zeroizing};

/// The largest secret, in bytes. The JSON key files of cloud accounts have some 2,400.
const LARGEST_SECRET: usize = 64 << 10;

/// The mode bits for reading or writing by group or others.
const SHARED: u32 = 0o066;

/// Reads a text of at most `limit` bytes.
pub(crate) fn text(path: &Path, limit: usize) -> Result<String> {
    let (file, _) = open(path)?;
    let mut bytes = Vec::new();
    read(file, &mut bytes, limit)?;
    String::from_utf8(bytes).map_err(|_| Error::other("it is no text in UTF-8"))
}

/// Refuses a file that anybody but its owner can read or write, or whose owner is neither root nor the user of this process.
pub(crate) fn secret(path: &Path) -> Result<Zeroizing<String>> {
    let (file, metadata) = open(path)?;
    private(path, metadata.mode(), metadata.uid(), rustix::process::geteuid().as_raw())?;
    wiped(file)
}

/// Reads a token that a platform keeps renewing. Its owner and mode are the platform's choice: Kubernetes lets every user of the pod read it.
pub(crate) fn token(path: &Path) -> Result<Zeroizing<String>> {
    let (file, _) = open(path)?;
    wiped(file)
}

fn wiped(file: File) -> Result<Zeroizing<String>> {
    // Allocated once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST_SECRET + 1));
    read(file, &mut bytes, LARGEST_SECRET)?;
    String::from_utf8(std::mem::take(&mut *bytes)).map(Zeroizing::new).map_err(|error| {
        error.into_bytes().zeroize();
        Error::other("it is no text in UTF-8")
    })
}

fn open(path: &Path) -> Result<(File, Metadata)> {
    // Without NONBLOCK, opening a FIFO waits for a writer. Without NOCTTY, a terminal could become this process's own.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Error::other("it is no regular file"));
    }
    Ok((file, metadata))
}

/// Reads to the end. The file's size is not used: it can grow, and it is 0 for files of the kernel.
fn read(file: File, bytes: &mut Vec<u8>, limit: usize) -> Result<()> {
    file.take(limit as u64 + 1).read_to_end(bytes)?;
    if bytes.len() > limit {
        return Err(Error::other(format!("it has more than {limit} bytes")));
    }
    Ok(())
}

fn private(path: &Path, mode: u32, owner: u32, user: u32) -> Result<()> {
    let name = path.display();
    if owner != 0 && owner != user {
        return Err(Error::other(format!(
            "it belongs to user {owner}, not to root or to user {user}, who runs this: `chown {user} {name}`, then `chmod 600 {name}`"
        )));
    }
    if mode & SHARED != 0 {
        let mode = mode & 0o777;
        return Err(Error::other(format!("its mode is {mode:03o}, so others than its owner can read or write it: `chmod 600 {name}`")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn folder(files: &[(&str, &str, u32)]) -> tempfile::TempDir {
        let folder = tempfile::TempDir::new().unwrap();
        for (name, text, mode) in files {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).unwrap();
        }
        folder
    }

    fn told<T: std::fmt::Debug>(result: Result<T>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_file_of_the_largest_size_is_read_and_one_byte_more_is_refused() {
        let folder = folder(&[("file", "12345678", 0o644)]);
        assert_eq!(text(&folder.path().join("file"), 8).unwrap(), "12345678");
        assert_eq!(told(text(&folder.path().join("file"), 7)), "it has more than 7 bytes");
        let whole = "x".repeat(LARGEST_SECRET);
        let secrets = self::folder(&[("whole", &whole, 0o600), ("more", &format!("{whole}x"), 0o600)]);
        for read in [secret, token] {
            assert_eq!(*read(&secrets.path().join("whole")).unwrap(), whole);
            assert_eq!(told(read(&secrets.path().join("more"))), "it has more than 65536 bytes");
        }
    }

    /// If this fails, it hangs: nobody writes into the FIFO, and the device never ends.
    #[test]
    fn what_is_no_regular_file_is_refused_and_not_waited_for() {
        let folder = folder(&[]);
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        symlink(&fifo, folder.path().join("link")).unwrap();
        for path in [fifo.as_path(), &folder.path().join("link"), folder.path(), Path::new("/dev/zero")] {
            assert_eq!(told(text(path, 100)), "it is no regular file", "{}", path.display());
            assert_eq!(told(secret(path)), "it is no regular file", "{}", path.display());
            assert_eq!(told(token(path)), "it is no regular file", "{}", path.display());
        }
    }

    #[test]
    fn a_secret_that_others_can_read_or_write_is_refused() {
        let names = ["600", "400", "700", "640", "620", "604", "602", "666"];
        let folder = folder(&names.map(|name| (name, "secret", u32::from_str_radix(name, 8).unwrap())));
        for name in names {
            let path = folder.path().join(name);
            let result = secret(&path);
            if ["600", "400", "700"].contains(&name) {
                assert_eq!(result.unwrap().as_str(), "secret");
            } else {
                let right = format!("its mode is {name}, so others than its owner can read or write it: `chmod 600 {}`", path.display());
                assert_eq!(told(result), right);
            }
            assert_eq!(text(&path, 100).unwrap(), "secret", "what is no secret may be shared");
            assert_eq!(token(&path).unwrap().as_str(), "secret", "how a token is shared is its platform's choice");
        }
    }

    /// Kubernetes provides a secret as a link into a folder that is replaced as a whole.
    #[test]
    fn a_link_to_a_secret_is_judged_by_the_file_behind_it() {
        let folder = folder(&[("good", "secret", 0o600), ("bad", "secret", 0o644)]);
        for name in ["good", "bad"] {
            symlink(name, folder.path().join(format!("to-{name}"))).unwrap();
        }
        assert_eq!(secret(&folder.path().join("to-good")).unwrap().as_str(), "secret");
        assert!(told(secret(&folder.path().join("to-bad"))).contains("chmod 600"));
    }

    #[test]
    fn a_secret_belongs_to_root_or_to_who_runs_this() {
        let of = |owner, user| private(Path::new("pin"), 0o600, owner, user);
        assert!(of(0, 0).is_ok() && of(0, 7).is_ok() && of(7, 7).is_ok());
        let right = "it belongs to user 8, not to root or to user 7, who runs this: `chown 7 pin`, then `chmod 600 pin`";
        assert_eq!(told(of(8, 7)), right);
        assert!(of(8, 0).is_err());
    }

    #[test]
    fn nothing_of_what_is_no_text_is_quoted() {
        let folder = folder(&[]);
        let path = folder.path().join("bytes");
        std::fs::write(&path, b"secret\xff").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(told(text(&path, 100)), "it is no text in UTF-8");
        assert_eq!(told(secret(&path)), "it is no text in UTF-8");
    }
}
