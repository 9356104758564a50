//! The shell.

use std::sync::Arc;

use crate::error::Error;
use crate::options::{Options, Url};
use crate::shared::{CLOSED, Shared};

pub(crate) async fn start(url: &str, options: Options) -> Result<Arc<Shared>, Error> {
    let _url = Url::parse(url)?;
    let _ = options;
    tokio::task::yield_now().await;
    Err(CLOSED)
}
