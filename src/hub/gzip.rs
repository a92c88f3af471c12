//! gzip of large payloads, with a bound on what a blob may expand to.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// A blob that is no payload.
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
    // One byte more than allowed tells "exactly full" from "too large".
    MultiGzDecoder::new(bytes).take(max as u64 + 1).read_to_end(&mut text)?;
    if text.len() > max {
        return Err(BadPayload::TooLarge(max));
    }
    let text = String::from_utf8(text).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
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
