//! Instance ids as partition keys: characters that the table service forbids are escaped (docs/storage-layout.md, Keys).

/// Control characters become the character that lies this far behind them.
const CONTROL_SHIFT: u32 = 0xC0;

/// The partition key of an instance. Escape exactly once: the escape character itself is escaped.
pub(crate) fn escape(instance_id: &str) -> String {
    if instance_id.chars().all(|c| escaped(c).is_none()) {
        return instance_id.to_owned();
    }
    let mut key = String::with_capacity(instance_id.len());
    for c in instance_id.chars() {
        match escaped(c) {
            Some(escaped) => key.extend(['^', escaped]),
            None => key.push(c),
        }
    }
    key
}

/// What stands behind the escape character for this one, if a key cannot hold it.
fn escaped(c: char) -> Option<char> {
    Some(match c {
        '^' => '^',
        '/' => '0',
        '\\' => '1',
        '#' => '2',
        '?' => '3',
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => shifted_up(c),
        _ => return None,
    })
}

/// The instance id of a partition key. Any key is accepted: one that `escape` does not produce is read as .NET reads it, and a lone `^`
/// at the end stands for itself.
pub(crate) fn unescape(key: &str) -> String {
    let mut id = String::with_capacity(key.len());
    let mut chars = key.chars();
    while let Some(c) = chars.next() {
        if c != '^' {
            id.push(c);
            continue;
        }
        id.push(match chars.next() {
            None | Some('^') => '^',
            Some('0') => '/',
            Some('1') => '\\',
            Some('2') => '#',
            Some('3') => '?',
            Some(other) => shifted_down(other),
        });
    }
    id
}

/// The first text after all that begin with a prefix, in the order of UTF-16 units, as .NET asks for them: the last unit plus one
/// (docs/storage-layout.md, Queries). `None` if there is none.
pub(crate) fn prefix_end(prefix: &str) -> Option<String> {
    let last = prefix.chars().next_back()?;
    let rest = prefix.strip_suffix(last)?;
    let next = match last {
        // Characters of two units lie between these two of one.
        '\u{d7ff}' => '\u{10000}',
        '\u{10ffff}' => '\u{e000}',
        '\u{ffff}' => return prefix_end(rest),
        other => char::from_u32(u32::from(other) + 1)?,
    };
    Some(format!("{rest}{next}"))
}

fn shifted_up(c: char) -> char {
    char::from_u32(u32::from(c) + CONTROL_SHIFT).expect("a shifted control character lies below the surrogates")
}

fn shifted_down(c: char) -> char {
    let unit = u32::from(c);
    // .NET works on UTF-16 units; a character outside the basic plane is never the work of an escape.
    if !(CONTROL_SHIFT..=0xFFFF).contains(&unit) {
        return c;
    }
    char::from_u32(unit - CONTROL_SHIFT).unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_those_of_dotnet() {
        for (id, key) in [
            ("abc", "abc"),
            ("@counter@k1", "@counter@k1"),
            ("日本語", "日本語"),
            ("", ""),
            ("a'b 50%+1\u{a0}", "a'b 50%+1\u{a0}"),
            ("a/b#c?", "a^0b^2c^3"),
            ("x^y", "x^^y"),
            ("a\\b", "a^1b"),
            ("tab\there", "tab^Éhere"),
            ("del\u{7f}x", "del^Ŀx"),
            ("\u{80}\u{9f}", "^ŀ^ş"),
        ] {
            assert_eq!(escape(id), key);
            assert_eq!(unescape(key), id);
        }
    }

    #[test]
    fn foreign_keys_are_read_too() {
        assert_eq!(unescape("a^"), "a^");
        assert_eq!(unescape("a^b"), "ab");
        assert_eq!(unescape("a^😀"), "a😀");
    }

    #[test]
    fn the_end_of_a_prefix_is_that_of_dotnet_where_dotnet_has_one() {
        let end = |prefix: &str| prefix_end(prefix);
        assert_eq!(
            (end("order-"), end("a^0"), end("z\u{7f}")),
            (Some("order.".into()), Some("a^1".into()), Some("z\u{80}".into()))
        );
        assert_eq!((end("a\u{d7ff}"), end("a\u{10ffff}")), (Some("a\u{10000}".into()), Some("a\u{e000}".into())));
        assert_eq!((end("a\u{ffff}\u{ffff}"), end("\u{ffff}"), end("")), (Some("b".into()), None, None));
    }

    fn units(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    proptest! {
        #[test]
        fn a_prefix_ends_right_behind_what_begins_with_it(prefix in "[a\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}]{1,4}", other: String, tail: String) {
            let (from, to) = (units(&prefix), prefix_end(&prefix).map(|end| units(&end)));
            for text in [other.clone(), format!("{prefix}{tail}"), format!("{}{other}", &prefix[..prefix.len() - prefix.chars().next_back().unwrap().len_utf8()])] {
                let is_between = units(&text) >= from && to.as_ref().is_none_or(|to| units(&text) < *to);
                prop_assert_eq!(is_between, text.starts_with(&prefix), "{:?}", text);
            }
        }

        #[test]
        fn every_id_survives(id in "\\PC*|[\\x00-\\xff]*") {
            let key = escape(&id);
            prop_assert!(!key.contains(['/', '\\', '#', '?']) && !key.chars().any(char::is_control));
            prop_assert_eq!(unescape(&key), id);
        }

        #[test]
        fn every_key_is_read(key in "[\\^a0-9À-ɏ\u{d700}-\u{e0bf}😀]*") {
            let _ = unescape(&key);
        }
    }
}
