//! The work of the quickstart: take a URL apart, normalise it, hash it. Pure.

use serde_json::json;
use sha2::{Digest, Sha256};
use url::Url;

use crate::shown::hex;

/// The result of one input line, as one line of JSON. Every line has `position` and `url`; one that
/// is no URL has `error`, any other the parts.
pub(super) fn result_line(position: u64, line: &str) -> String {
    match Url::parse(line) {
        Err(error) => json!({ "position": position, "url": line, "error": error.to_string() }),
        Ok(url) => json!({
            "position": position,
            "url": line,
            "scheme": url.scheme(),
            "host": url.host_str(),
            "path": url.path(),
            "fragment": url.fragment(),
            "normalized": url.as_str(),
            "sha256": hex(&Sha256::digest(url.as_str())),
        }),
    }
    .to_string()
}

/// The lines that are work: trimmed, without the empty ones. Equal lines are separate work.
pub(super) fn input_lines(text: &str) -> Vec<&str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn result(line: &str) -> Value {
        serde_json::from_str(&result_line(3, line)).unwrap()
    }

    #[test]
    fn a_url_is_taken_apart_normalised_and_hashed() {
        let result = result("HTTPS://Example.COM:443/a/../b?q=1#Part");
        assert_eq!(result["position"], 3);
        assert_eq!(result["url"], "HTTPS://Example.COM:443/a/../b?q=1#Part");
        assert_eq!(result["scheme"], "https");
        assert_eq!(result["host"], "example.com");
        assert_eq!(result["path"], "/b");
        assert_eq!(result["fragment"], "Part");
        assert_eq!(result["normalized"], "https://example.com/b?q=1#Part");
        let expected = hex(&Sha256::digest("https://example.com/b?q=1#Part"));
        assert_eq!(result["sha256"], expected);
    }

    #[test]
    fn what_is_no_url_is_a_result_with_an_error() {
        let result = result("not a url");
        assert_eq!(result["url"], "not a url");
        assert!(result["error"].is_string());
        assert!(result.get("host").is_none());
    }

    #[test]
    fn lines_are_trimmed_and_empty_ones_are_no_work_but_equal_ones_are() {
        let text = "  http://a/ \r\n\n \nhttp://a/\nhttp://b/";
        assert_eq!(input_lines(text), ["http://a/", "http://a/", "http://b/"]);
    }
}
