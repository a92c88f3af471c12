//! gzip of large payloads, with a limit on the size of the decompressed text.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// A blob that is not a payload.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadPayload {
    #[error("not gzip: {0}")]
    NotGzip(#[from] std::io::Error),
    #[error("it expands to more than {0} bytes")]
    TooLarge(usize),
}

/// Compresses a text.
pub(crate) fn compress(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail")
}

/// Expands to at most `max` bytes of text; a byte order mark is dropped, and bytes that are no UTF-8 are replaced, as .NET does.
pub(crate) fn decompress(bytes: &[u8], max: usize) -> Result<String, BadPayload> {
    let mut text = Vec::new();
    text.reserve_exact(expected_length(bytes).min(max).saturating_add(1));
    // One byte more than allowed tells "exactly full" from "too large".
    MultiGzDecoder::new(bytes).take(max as u64 + 1).read_to_end(&mut text)?;
    if text.len() > max {
        return Err(BadPayload::TooLarge(max));
    }
    let mut text = String::from_utf8(text).or_else(|e| repaired(e.as_bytes(), max))?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// The length of the text according to the trailer, so that the buffer need not grow. A forged trailer must not allocate memory: the
/// estimate is capped by gzip's best compression ratio.
fn expected_length(bytes: &[u8]) -> usize {
    const RATIO_MAX: usize = 1032;
    let trailer = bytes.last_chunk().map_or(0, |length| u32::from_le_bytes(*length));
    usize::try_from(trailer).unwrap_or(usize::MAX).min(bytes.len().saturating_mul(RATIO_MAX))
}

/// Replaces bytes that are not UTF-8. Each can become three.
fn repaired(bytes: &[u8], max: usize) -> Result<String, BadPayload> {
    let replaced = |invalid: &[u8]| if invalid.is_empty() { 0 } else { char::REPLACEMENT_CHARACTER.len_utf8() };
    let length: usize = bytes.utf8_chunks().map(|chunk| chunk.valid().len() + replaced(chunk.invalid())).sum();
    if length > max {
        return Err(BadPayload::TooLarge(max));
    }
    let mut text = String::with_capacity(length);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bomb_is_refused_and_a_full_payload_is_not() {
        let bomb = compress(&"0".repeat(1_000_000));
        assert!(bomb.len() < 10_000);
        assert!(matches!(decompress(&bomb, 999_999), Err(BadPayload::TooLarge(_))));
        assert_eq!(decompress(&bomb, 1_000_000).unwrap().len(), 1_000_000);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_and_what_that_makes_too_large_is_refused() {
        let packed = |bytes: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(decompress(&packed(b"a\xff\xffb\xf0\x9f"), 100).unwrap(), String::from_utf8_lossy(b"a\xff\xffb\xf0\x9f"));
        assert_eq!(decompress(&packed(&[0xff; 100]), 300).unwrap().len(), 300);
        assert!(matches!(decompress(&packed(&[0xff; 100]), 299), Err(BadPayload::TooLarge(299))));
        // The trailer of a text is not believed beyond what can be.
        let mut lying = compress("short");
        let length = lying.len();
        lying[length - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(expected_length(&lying) < 100_000);
        assert!(decompress(&lying, 1 << 29).is_err());
    }

    #[test]
    fn a_byte_order_mark_is_dropped() {
        assert_eq!(decompress(&compress("\u{feff}{}"), 100).unwrap(), "{}");
        assert!(decompress(b"{}", 100).is_err());
    }

    proptest! {
        #[test]
        fn every_text_survives(text in ".*") {
            prop_assume!(!text.starts_with('\u{feff}'));
            prop_assert_eq!(decompress(&compress(&text), 1 << 20).unwrap(), text);
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..100), cut in 0_usize..60) {
            let _ = decompress(&bytes, 1000);
            let mut valid = compress("a payload");
            valid.truncate(cut);
            valid.append(&mut bytes);
            let _ = decompress(&valid, 1000);
        }
    }
}
