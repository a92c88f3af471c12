//! Paths of URLs: cut where they have slashes, and each segment decoded exactly once.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Everything but the unreserved characters of RFC 3986.
const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A text as a segment of a path, or a value of a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, &RESERVED).to_string()
}

/// The segments of a path that begins with a slash, decoded; a slash at its end does not count. `None` if one is no UTF-8.
pub(super) fn segments(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let decoded = |segment| percent_decode_str(segment).decode_utf8().ok().map(|text| text.into_owned());
    path.split('/').map(decoded).collect()
}

/// The text behind a prefix of whole segments, in whatever case the prefix is written; with how long that was.
pub(super) fn behind<'p>(path: &'p str, prefix: &str) -> Option<(&'p str, &'p str)> {
    let (head, rest) = path.split_at_checked(prefix.len())?;
    (head.eq_ignore_ascii_case(prefix) && (rest.is_empty() || rest.starts_with('/'))).then_some((head, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_segment_is_decoded_once_and_a_slash_in_it_is_no_border() {
        let cut = |path| segments(path).unwrap();
        assert_eq!(cut("/instances/a%2520e/"), ["instances", "a%20e"]);
        assert_eq!(cut("/instances/a%2Fb+c"), ["instances", "a/b+c"]);
        assert_eq!(cut("/instances//a"), ["instances", "", "a"]);
        assert_eq!(segments("/%ff"), None);
        assert_eq!(behind("/API/x", "/api"), Some(("/API", "/x")));
        assert_eq!((behind("/apix", "/api"), behind("/ap", "/api")), (None, None));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(text in "\\PC{1,20}|[\\x00-\\xff]{1,8}") {
            let path = format!("/instances/{}", encoded(&text));
            prop_assert!(path.bytes().all(|b| b.is_ascii_graphic()));
            prop_assert_eq!(segments(&path), Some(vec!["instances".to_owned(), text]));
        }
    }
}
