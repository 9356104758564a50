//! P1 to P5, P9: a broker that is killed under load keeps its promises.

use std::ops::Range;

use anyhow::Result;
use siding_tests::killer::{self, Checkpoints, Plan};

use crate::limited;

fn kill(kills: u32, events_between: Range<u64>, small_files: bool) -> Result<Checkpoints> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let plan = Plan {
            kills,
            publishers: 3,
            consumers: 3,
            events_between,
            seed: fastrand::u64(..),
            small_files,
        };
        let outcome = killer::run(plan, dir.path(), drop).await?;
        let report = &outcome.report;
        eprintln!("{report}{:?}", outcome.checkpoints);
        assert!(outcome.is_clean(), "{report}{:?}", outcome.errors);
        assert_eq!(outcome.kills, kills);
        assert!(report.confirmed > 0);
        assert_eq!(
            (report.refused, report.unknown),
            (0, 0),
            "clients publish again until they know"
        );
        Ok(outcome.checkpoints)
    })
}

#[test]
fn kills_under_load_lose_nothing_store_nothing_twice_and_repeat_nothing_without_a_cause()
-> Result<()> {
    kill(8, 100..12_000, false)?;
    Ok(())
}

#[test]
fn kills_while_the_journal_is_cut_all_the_time_lose_nothing_and_every_start_succeeds() -> Result<()>
{
    let Checkpoints { cuts, .. } = kill(4, 40_000..80_000, true)?;
    assert!(cuts > 0, "the journal was never cut");
    Ok(())
}
