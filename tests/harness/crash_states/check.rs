//! What must be found on an image of a power cut.

use anyhow::{Context, Result, ensure};
use siding_broker::storage::memory_fs::MemoryFs;
use siding_broker::storage::{Level, Snapshot};

use super::player::{Moment, engine, first_file, header_at, snapshots};
use super::shelf::Shelf;
use crate::journal::{Found, Rig, examine};

/// One image in so many is also written to after its recovery.
const CONTINUED: u64 = 4;

/// What recovery made of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// A torn tail was cut.
    pub torn: bool,
}

/// Recovers an image twice and holds it against the books of its moment.
///
/// # Errors
/// The promise that was not kept.
pub fn check(image: &MemoryFs, moment: &Moment, fingerprint: u64) -> Result<Checked> {
    let survivor = last_survivor(image, moment);
    let (passed, first) = start(image, moment, (&moment.lengths, moment.confirmed))?;
    let kept = usize::try_from(passed)? + first.records.len();
    let torn = first.report.torn;
    ensure!(
        torn.is_some() || survivor <= kept,
        "entry {survivor} was cut, yet nothing is reported"
    );
    drop(first.writer);

    // All that recovery answered with is durable, and so is the cut.
    let image = image.crash(&mut |_, _| 0);
    let kept_lengths = moment.lengths.get(..kept).unwrap_or(&moment.lengths);
    let second = start(&image, moment, (kept_lengths, kept));
    let (passed, second) = second.context("the second recovery")?;
    ensure!(
        second.records == first.records,
        "the second recovery differs"
    );
    let again = second.report.torn;
    ensure!(again.is_none(), "the second recovery cuts again: {again:?}");
    if fingerprint.is_multiple_of(CONTINUED) {
        let mut rig = Rig {
            fs: image,
            writer: second.writer,
            lengths: kept_lengths.to_vec(),
            confirmed: kept,
            passed,
            // This time all files are read.
            first_file: 0,
            places: Vec::new(),
        };
        // Without bodies, so that records may end where leftovers of a cut tail begin.
        for _ in 0..=fingerprint / CONTINUED % 9 {
            rig.append(&[0], Level::Synced).context("going on")?;
        }
        let after = rig
            .try_recover(&rig.fs.crash(&mut |_, _| 0))
            .context("going on")?;
        ensure!(after.lengths == rig.lengths, "entries that nobody wrote");
    }
    Ok(Checked {
        torn: torn.is_some(),
    })
}

/// Starts as a shard does and checks all that is found. Answers with the last index of the snapshot.
fn start(
    image: &MemoryFs,
    moment: &Moment,
    (lengths, confirmed): (&[usize], usize),
) -> Result<(u64, Found)> {
    let snapshot = check_snapshot(image, moment)?;
    let passed = snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
    let mut shelf = Shelf::open(image, snapshot.as_ref(), moment.floor)?;
    let first_file = snapshot.as_ref().map_or(0, first_file);
    let found = examine(image, (passed, first_file), lengths, confirmed)?;
    for record in &found.records {
        shelf.apply(record.index, record.at);
    }
    let kept = usize::try_from(passed)? + found.records.len();
    let kept = lengths.get(..kept).unwrap_or(lengths);
    shelf.check(found.writer.reader(), kept)?;
    Ok((passed, found))
}

/// The newest snapshot is one that may be there, and whole.
fn check_snapshot(image: &MemoryFs, moment: &Moment) -> Result<Option<Snapshot>> {
    let latest = snapshots(image).latest().context("the snapshot")?;
    let index = latest.as_ref().map_or(0, |latest| latest.index);
    ensure!(
        index == moment.passed || index == moment.passing,
        "snapshot {index}, where {} or {} is due",
        moment.passed,
        moment.passing
    );
    let held = latest.as_ref().map(|latest| latest.section("engine"));
    let is_whole = held.is_none_or(|held| held.is_some_and(|held| *held == engine(index)));
    ensure!(is_whole, "snapshot {index} does not hold what was written");
    Ok(latest)
}

/// The index of the last entry whose header reached the disk, if it was not confirmed: if it is
/// lost, a tail was torn.
fn last_survivor(image: &MemoryFs, moment: &Moment) -> usize {
    let Moment {
        lengths, places, ..
    } = moment;
    let unconfirmed = lengths.len().saturating_sub(moment.confirmed);
    let entries = (0..=lengths.len()).rev().zip(places.iter().rev());
    // Byte for byte: of a tail that was cut before, one of this index may be left in this place.
    let mut entries = entries.take(unconfirmed);
    let survivor = entries.find(|(_, (at, header))| header_at(image, *at) == Some(*header));
    survivor.map_or(0, |(index, _)| index)
}
