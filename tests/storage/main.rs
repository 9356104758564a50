//! The journal, its recovery and its snapshots on a disk that loses, tears and refuses.

mod crash;
mod damage;
mod faults;
mod files;
mod rig;
mod snapshot;
