//! The XML of queues, listings and errors: small trees, exact text.

use std::borrow::Cow;

use quick_xml::events::{BytesStart, Event};

/// Deeper trees are none of the service's.
const DEPTH_MAX: usize = 16;

/// An element; attributes are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    name: String,
    text: String,
    children: Vec<Self>,
}

impl Element {
    /// The first child of that name (ASCII case does not matter, prefixes are cut).
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name.eq_ignore_ascii_case(name))
    }

    /// All children of that name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name.eq_ignore_ascii_case(name))
    }

    /// The text of the first child of that name, exactly as it was sent.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }
}

/// The root element, `None` if this is no well-formed XML in UTF-8.
pub(super) fn parse(bytes: &[u8]) -> Option<Element> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut reader = quick_xml::Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut open: Vec<Element> = vec![Element::default()];
    loop {
        let depth = open.len();
        let element = open.last_mut()?;
        match reader.read_event().ok()? {
            Event::Start(start) if depth <= DEPTH_MAX => open.push(named(&start)),
            Event::Start(_) => return None,
            Event::Empty(start) => element.children.push(named(&start)),
            Event::End(_) => {
                let done = open.pop()?;
                open.last_mut()?.children.push(done);
            }
            Event::Text(part) => element.text.push_str(&part),
            Event::CData(part) => element.text.push_str(&part),
            Event::GeneralRef(reference) => element.text.push(match reference.resolve_char_ref().ok()? {
                Some(char) => char,
                None => predefined(&reference)?,
            }),
            Event::Eof if depth == 1 => return open.pop()?.children.pop(),
            Event::Eof => return None,
            Event::Decl(_) | Event::PI(_) | Event::DocType(_) | Event::Comment(_) => {}
        }
    }
}

fn named(start: &BytesStart<'_>) -> Element {
    let name = start.local_name().as_ref().to_owned();
    Element { name, ..Element::default() }
}

fn predefined(name: &str) -> Option<char> {
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "apos" => '\'',
        "quot" => '"',
        _ => return None,
    })
}

/// Text as element content; `None` if it holds a character that XML cannot carry.
///
/// A carriage return is written as a reference, because every reader turns a bare one into a line feed.
pub(super) fn escape(text: &str) -> Option<Cow<'_, str>> {
    let plain = |c: char| c >= ' ' && !matches!(c, '<' | '>' | '&' | '\u{fffe}' | '\u{ffff}') || matches!(c, '\t' | '\n');
    if text.chars().all(plain) {
        return Some(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for char in text.chars() {
        match char {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\r' => out.push_str("&#xD;"),
            char if plain(char) => out.push(char),
            _ => return None,
        }
    }
    Some(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tree_is_read() {
        let root = parse(b"\xef\xbb\xbf<?xml version=\"1.0\"?><a><b>1</b><c/><b> 2&#32;</b></a>").unwrap();
        assert_eq!(root.text_of("b"), Some("1"));
        assert_eq!(root.all("b").last().unwrap().text, " 2 ");
        assert_eq!(root.text_of("c"), Some(""));
        assert!(parse(b"<a><b></a>").is_none());
        assert!(parse(b"<a>").is_none());
        assert!(parse(b"<a>&evil;</a>").is_none());
        assert!(parse("<a>".repeat(100).as_bytes()).is_none());
    }

    #[test]
    fn a_control_character_is_refused() {
        assert!(escape("a\u{1}").is_none());
        assert!(escape("\u{ffff}").is_none());
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in "[ -~\\n\\r\\té€😀<>&'\"]{0,40}") {
            let xml = format!("<m><t>{}</t></m>", escape(&text).unwrap());
            let root = parse(xml.as_bytes()).unwrap();
            prop_assert_eq!(root.text_of("t"), Some(text.as_str()));
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
