//! What a broker does not start with, and says so.

use anyhow::{Context, Result};
use siding_tests::broker::refused_start;

use crate::bad_input::Scene;
use crate::limited;

#[test]
fn a_second_broker_on_the_same_directory_is_refused_with_the_reason() -> Result<()> {
    limited(async {
        let scene = Scene::open().await?;
        let address = "127.0.0.1:0".parse()?;
        let second = refused_start(scene.broker.data_dir(), address, &[]).await?;
        assert_ne!(second.status.code(), Some(0));
        assert!(
            second.log.contains("in use") || second.log.contains("lock"),
            "{}",
            second.log
        );
        let directory = scene.broker.data_dir().to_str().context("UTF-8")?;
        assert!(second.log.contains(directory), "{}", second.log);
        scene.unharmed(0).await
    })
}

#[test]
fn an_address_that_others_can_reach_is_refused_without_insecure_remote() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        for address in ["0.0.0.0:0", "[::]:0"] {
            let refused = refused_start(dir.path(), address.parse()?, &[]).await?;
            assert_eq!(refused.status.code(), Some(78), "{}", refused.log);
            assert!(refused.log.contains("--insecure-remote"), "{}", refused.log);
        }
        assert_eq!(
            std::fs::read_dir(dir.path())?.count(),
            0,
            "nothing was begun"
        );
        let small = ["--max-body-bytes", "1B"];
        let refused = refused_start(dir.path(), "127.0.0.1:0".parse()?, &small).await?;
        assert_ne!(refused.status.code(), Some(0));
        Ok(())
    })
}
