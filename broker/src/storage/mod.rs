//! Bytes and files: the journal, snapshots, the data directory. It knows no queue.
//!
//! Opaque bytes go in and come out. This room knows no message, no engine, no runtime and no
//! clock; its calls block, and whoever makes them decides on which thread.
//!
//! ```text
//!  group ─► Journal ──commit_here──► Writer ─► file in use ◄─ Spares (zero-filled ahead,
//!              └─────submit─► thread ─┘            │               recycled after)
//!                                                  ▼
//!  start ─► recover() ─► records past the snapshot, then the Writer     Reader ─► one record again
//! ```
//!
//! A record is 64 bytes of header and a payload, each with its checksum; `record.rs` has the byte
//! picture, `files.rs` that of a file, `snapshot.rs` that of a snapshot.
//!
//! What survives which crash:
//!
//! | | killed process | power cut |
//! |---|---|---|
//! | a group at [`Level::Synced`], once committed | all | all |
//! | a group at [`Level::Written`], once committed | all | what a later sync covered; else any part, of which recovery keeps the whole records up to the first torn one |
//! | a group not yet committed | whole records from its start | likewise |
//! | a snapshot, once written | all | all |
//!
//! Recovery ([`recover::recover`]) cuts a torn tail and reports it; it refuses damage, and names it.
//! After the first failed write or sync nothing more is written by the process.
//!
//! Start reading at `writer.rs` for the rules, then `recover.rs` for what they are good for.
//! `memory_fs.rs` is the disk of the tests and of the simulator.

pub mod bodies;
pub mod data_dir;
pub mod error;
pub mod files;
pub mod fs;
mod inventory;
pub mod journal;
mod making;
pub mod memory_fs;
pub mod mover;
pub mod reader;
pub mod record;
pub mod recover;
pub mod redo;
pub mod replay;
pub mod reserve;
mod scan;
mod segment;
pub mod segments;
pub mod snapshot;
pub mod spares;
pub mod survey;
pub mod threads;
pub mod writer;

pub use bodies::Bodies;
pub use data_dir::DataDir;
pub use error::{Damage, StorageError};
pub use files::{FileId, Filling, JournalOptions, RecordAt};
pub use journal::{Committed, Completion, Group, Journal};
pub use reader::{BodyReader, Files, Reader};
pub use record::Kind;
pub use recover::{Recovered, Report, Torn, recover, recover_behind};
pub use replay::Replay;
pub use reserve::Reserve;
pub use segments::{Segment, Segments};
pub use snapshot::{Section, Snapshot, Snapshots};
pub use threads::{ManualThreads, Threads};
pub use writer::{Append, Level, Writer};
