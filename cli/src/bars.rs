//! The look of progress on stderr.

use std::fmt::Write;

use indicatif::{ProgressState, ProgressStyle};

/// A style whose `{rate}` is whole messages a second; `fallback` where the template is none.
pub(crate) fn style(template: &str, fallback: fn() -> ProgressStyle) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| fallback());
    style.with_key("rate", |state: &ProgressState, text: &mut dyn Write| {
        // A bar that cannot be drawn is not worth a word.
        write!(text, "{:.0}/s", state.per_sec()).ok();
    })
}
