//! What a link must not forget: [`FileStore`], and how drivers hand it over.

mod keeper;
mod log;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fs4::{FileExt, TryLockError};
use keepbeat_core::session::{Change, SessionStore, StoreError, StoreKey};

pub use self::keeper::{Keeper, keep, send};
use self::log::{Entries, Salt, batch, head, read};

/// A log is written anew when it is more than twice what lives in it and this.
const SLACK: u64 = 64 << 10;

const MAX_BYTES: u64 = 64 << 20;

const LOCK: &str = "lock";
const LOG: &str = "log";
/// A log that is being written anew; not there yet.
const NEXT: &str = "log.new";

/// When changes are safe from a loss of power. They are safe from the end of the process in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fsync {
    /// Before they count as made: a write to the disk for every message. Default.
    #[default]
    Always,
    /// When the operating system gets round to it. A loss of power may lose the last changes, or damage the log so that it is not
    /// taken any more.
    Never,
}

/// How a [`FileStore`] is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct FileStoreOptions {
    fsync: Fsync,
    max_bytes: u64,
}

impl FileStoreOptions {
    /// Starts from the defaults.
    pub const fn new() -> Self {
        Self { fsync: Fsync::Always, max_bytes: MAX_BYTES }
    }

    /// When changes are safe from a loss of power. Default: [`Fsync::Always`].
    pub const fn fsync(mut self, fsync: Fsync) -> Self {
        self.fsync = fsync;
        self
    }

    /// How much may live in the store, in bytes of its log: every entry takes 26 beside its value. What would be more is refused;
    /// give it more than the outbox may hold. Default: 64 MiB.
    ///
    /// The files take up to twice as much and 64 KiB, and while a log is written anew, once more.
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Opens the store in this directory, and makes it if there is none. What was written last and not as a whole, because the
    /// process or the machine ended in the middle, is cut off.
    ///
    /// # Errors
    /// The operating system's; another store has it open, in this process or another; or its log is damaged, or of another version.
    pub fn open(self, directory: impl Into<PathBuf>) -> Result<FileStore, StoreError> {
        let directory = directory.into();
        let files = Files { fsync: self.fsync, directory };
        create(&files.directory).map_err(|error| files.problem("", "made", &error))?;
        let lock = files.lock()?;
        files.remove_next()?;
        if !files.path(LOG).try_exists().map_err(|error| files.problem(LOG, "found", &error))? {
            files.replace(&Entries::default())?.settled.map_err(|error| files.problem("", "synced", &error))?;
        }
        let (mut file, bytes) = files.read().map_err(|error| files.problem(LOG, "read", &error))?;
        let log = read(&bytes).map_err(|damage| files.problem(LOG, "used", &damage))?;
        let cut = (bytes.len() - log.whole) as u64;
        cut_to(&mut file, log.whole as u64).map_err(|error| files.problem(LOG, "cut", &error))?;
        // What is built upon is on the disk before.
        files.sync(&file).map_err(|error| files.problem(LOG, "synced", &error))?;
        Ok(FileStore {
            files,
            _lock: lock,
            max_bytes: self.max_bytes,
            file,
            salt: log.salt,
            length: log.whole as u64,
            entries: log.entries,
            cut,
            broken: None,
        })
    }
}

impl Default for FileStoreOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Keeps what a link must not forget in a directory of its own, for
/// [`LinkBuilder::store`](crate::link::LinkBuilder::store). One link has it open at a time.
///
/// Every change is appended to a log before it counts as made. The log is written anew when most of it is out of date. A process that
/// is killed loses nothing; neither does a machine that loses power, under [`Fsync::Always`].
///
/// ```no_run
/// use keepbeat_adapter::store::FileStore;
///
/// let store = FileStore::open("/var/lib/pump-7/session")?;
/// if store.cut() > 0 {
///     eprintln!("the last {} bytes were not written as a whole, and are cut off", store.cut());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FileStore {
    files: Files,
    /// Held by nobody else while it is open.
    _lock: File,
    max_bytes: u64,
    file: File,
    salt: Salt,
    /// The length of the log.
    length: u64,
    entries: Entries,
    cut: u64,
    /// After this, nobody knows what is on the disk.
    broken: Option<StoreError>,
}

impl FileStore {
    /// Opens the store in this directory with the defaults: see [`FileStoreOptions::open`].
    ///
    /// # Errors
    /// Those of [`FileStoreOptions::open`].
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, StoreError> {
        FileStoreOptions::new().open(directory)
    }

    /// How many bytes were cut off when it was opened, because they had not been written as a whole. What was said to be safe is not
    /// among them.
    #[must_use]
    pub const fn cut(&self) -> u64 {
        self.cut
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.map.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.map.is_empty()
    }

    /// What lives in it, in bytes of its log: what [`FileStoreOptions::max_bytes`] bounds.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.entries.bytes
    }

    /// Writes what lives to a new log, if the old one has too much beside it.
    fn compact(&mut self) -> Result<(), StoreError> {
        if self.length <= 2 * self.entries.bytes + SLACK {
            return Ok(());
        }
        let replaced = self.files.replace(&self.entries)?;
        (self.file, self.salt, self.length) = (replaced.file, replaced.salt, replaced.length);
        if let Err(error) = replaced.settled {
            return Err(self.give_up(self.files.problem("", "synced", &error)));
        }
        Ok(())
    }

    fn append(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let Some(bytes) = batch(changes, self.salt, self.length) else {
            return Err(self.files.problem(LOG, "written", &"one batch has more than 4 GiB"));
        };
        if let Err(error) = self.file.write_all(&bytes) {
            let problem = self.files.problem(LOG, "written", &error);
            // What was written of it must not stand before the next.
            return Err(if cut_to(&mut self.file, self.length).is_err() { self.give_up(problem) } else { problem });
        }
        // Whether it is on the disk now, nobody knows.
        if let Err(error) = self.files.sync(&self.file) {
            return Err(self.give_up(self.files.problem(LOG, "synced", &error)));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn give_up(&mut self, problem: StoreError) -> StoreError {
        self.broken = Some(problem.clone());
        problem
    }
}

impl SessionStore for FileStore {
    fn load(&mut self) -> Result<Vec<(StoreKey, Bytes)>, StoreError> {
        Ok(self.entries.map.iter().map(|(key, value)| (*key, value.clone())).collect())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        if let Some(problem) = &self.broken {
            return Err(problem.clone());
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.compact()?;
        let before = self.entries.bytes;
        let undo = self.entries.apply(changes);
        let bytes = self.entries.bytes;
        let done = if bytes > self.max_bytes && bytes > before {
            let problem = format!("{bytes} bytes would live in it, and max_bytes is {}; raise it", self.max_bytes);
            Err(self.files.problem(LOG, "written", &problem))
        } else {
            self.append(changes)
        };
        if done.is_err() {
            self.entries.take_back(undo);
        }
        done
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("files", &self.files)
            .field("entries", &self.len())
            .field("length", &self.length)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

/// The files of a store.
#[derive(Debug)]
struct Files {
    directory: PathBuf,
    fsync: Fsync,
}

/// A log that was written anew.
struct Replaced {
    file: File,
    salt: Salt,
    length: u64,
    /// Whether the directory has it for good.
    settled: io::Result<()>,
}

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn problem(&self, name: &str, verb: &str, why: &dyn fmt::Display) -> StoreError {
        StoreError::new(format!("the store {} cannot be {verb}: {why}", self.path(name).display()))
    }

    fn lock(&self) -> Result<File, StoreError> {
        let file = ours().create(true).open(self.path(LOCK)).map_err(|error| self.problem(LOCK, "opened", &error))?;
        match FileExt::try_lock(&file) {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                let problem =
                    "another link has it open, in this process or another; give each link a directory of its own";
                Err(self.problem("", "opened", &problem))
            }
            Err(TryLockError::Error(error)) => Err(self.problem(LOCK, "locked", &error)),
        }
    }

    fn read(&self) -> io::Result<(File, Vec<u8>)> {
        let mut file = ours().open(self.path(LOG))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok((file, bytes))
    }

    /// Writes a log with these entries and nothing else, and puts it in the place of the old one. Whenever it is interrupted, there
    /// is either the one or the other.
    fn replace(&self, entries: &Entries) -> Result<Replaced, StoreError> {
        self.remove_next()?;
        let salt = crate::random::seed().to_le_bytes();
        let written = self.write_next(entries, salt).and_then(|done| {
            fs::rename(self.path(NEXT), self.path(LOG))?;
            Ok(done)
        });
        match written {
            Ok((file, length)) => Ok(Replaced { file, salt, length, settled: sync_directory(&self.directory) }),
            Err(error) => {
                // It may be what fills the disk.
                drop(self.remove_next());
                Err(self.problem(NEXT, "written", &error))
            }
        }
    }

    fn write_next(&self, entries: &Entries, salt: Salt) -> io::Result<(File, u64)> {
        let mut file = ours().create_new(true).open(self.path(NEXT))?;
        let mut bytes = head(salt);
        let mut length = 0;
        for (key, value) in &entries.map {
            let put = Change::Put { key: *key, value: value.clone() };
            bytes.extend(batch(&[put], salt, length + bytes.len() as u64).ok_or(ErrorKind::FileTooLarge)?);
            if bytes.len() as u64 > SLACK {
                length += bytes.len() as u64;
                file.write_all(&bytes)?;
                bytes.clear();
            }
        }
        file.write_all(&bytes)?;
        // Whatever the policy: what was safe before stays so.
        file.sync_all()?;
        Ok((file, length + bytes.len() as u64))
    }

    /// Removes a new log that was not finished.
    fn remove_next(&self) -> Result<(), StoreError> {
        match fs::remove_file(self.path(NEXT)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.problem(NEXT, "removed", &error)),
            _ => Ok(()),
        }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        match self.fsync {
            Fsync::Always => file.sync_data(),
            Fsync::Never => Ok(()),
        }
    }
}

/// Cuts a log down to so many bytes, and goes on writing there.
fn cut_to(file: &mut File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length)).map(drop)
}

/// For files that only their owner reads: there are messages in them.
fn ours() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes a directory that outlives a loss of power.
fn create(directory: &Path) -> io::Result<()> {
    let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let made: Vec<&Path> = directory.ancestors().take_while(missing).collect();
    fs::create_dir_all(directory)?;
    for path in made {
        if let Some(parent) = path.parent() {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            sync_directory(parent)?;
        }
    }
    Ok(())
}

/// Only Unix can.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}
