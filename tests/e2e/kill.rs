//! P1 to P5, P9: a broker that is killed under load keeps its promises.

use anyhow::Result;
use siding_tests::killer::{self, Plan};

use crate::limited;

#[test]
fn kills_under_load_lose_nothing_store_nothing_twice_and_repeat_nothing_without_a_cause()
-> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let plan = Plan {
            kills: 8,
            publishers: 3,
            consumers: 3,
            events_between: 100..12_000,
            seed: fastrand::u64(..),
        };
        let outcome = killer::run(plan, dir.path(), drop).await?;
        let report = &outcome.report;
        println!("{report}");
        assert!(outcome.is_clean(), "{report}{:?}", outcome.errors);
        assert_eq!(outcome.kills, 8);
        assert!(report.confirmed > 0);
        assert_eq!(
            (report.refused, report.unknown),
            (0, 0),
            "clients publish again until they know"
        );
        Ok(())
    })
}
